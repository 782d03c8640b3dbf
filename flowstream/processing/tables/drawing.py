"""Tables drawn as text, with borders, for people at a terminal.

Pure: lines are as long as they must be, whatever the terminal.
"""

from __future__ import annotations

import io
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TextIO

from flowstream.processing.events.current import readings

FIRST = itemgetter(0)
WIDEST = 10_000


class Drawn:
    """The part of a table that draws it."""

    if TYPE_CHECKING:  # an attribute of some tables, a property of others

        @property
        def name(self) -> str: ...

    @abstractmethod
    def _drawn_rows(self) -> Iterable[tuple[Any, ...]]:
        """What there is: the key, perhaps more, the value."""

    def _drawn_columns(self, key: str, value: str) -> Sequence[str]:
        return (key, value)

    def as_ansitable(
        self,
        title: str = "{table.name}",
        *,
        key: str = "Key",
        value: str = "Value",
        sort: bool = False,
        sortkey: Callable[[Any], Any] = FIRST,
        target: TextIO | None = None,
    ) -> str:
        """The table as text, as in Faust. Inside an agent: the rows of its event's partition; in
        tasks, timers, services and signals: the committed rows of all partitions worked on here.

        `key` and `value` are the columns' names, `sort` puts the rows in order (by `sortkey` of
        each, the key unless given). For a `target` (stdout) that is no terminal the borders are
        plain ASCII.
        """
        rows = [row for _ in readings(self.name) for row in self._drawn_rows()]
        if sort:
            rows.sort(key=sortkey)
        out = sys.stdout if target is None else target
        return drawn(
            title.format(table=self), self._drawn_columns(key, value), rows,
            ascii_only=not out.isatty(),
        )  # fmt: skip


def drawn(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, ascii_only: bool
) -> str:
    """Rows below the columns' names, with borders."""
    from rich import box  # whoever draws none does not pay for it
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        header_style="none", box=box.ASCII if ascii_only else box.SQUARE
    )  # fmt: skip
    for column in columns:
        table.add_column(Text(column.title()))
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    out = io.StringIO()
    Console(file=out, width=WIDEST, color_system=None, force_terminal=False).print(table)
    lines = out.getvalue().splitlines()
    return "\n".join([title.title().center(len(lines[0])).rstrip(), *lines])
