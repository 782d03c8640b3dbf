"""Closed windows as a source: each window's final value, exactly once.

Declarations and the pure rules of one row; knows no store and no feed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from flowstream.processing.tables.inner import Fired, InnerSource, Keeper, Kept
from flowstream.processing.time.windows import split_window_key
from flowstream.state.overlay import DELETED
from flowstream.state.table_view import TableView

if TYPE_CHECKING:
    from flowstream.processing.tables.table import Table

K = TypeVar("K")
V = TypeVar("V")

START_HEADER = "window-start"
END_HEADER = "window-end"
FINAL_HEADER = "window-final"
"""Milliseconds as digits, and 0 or 1; they travel with a result that becomes a dead letter."""


@dataclass(frozen=True, slots=True)
class WindowResult(Generic[K, V]):
    """The value of one window of one key; `start` and `end` are in seconds, end exclusive.
    `is_final`: nothing will change it any more.
    """

    key: K
    start: float
    end: float
    value: V
    is_final: bool = True


def window_result(record: Any, value: Any, key: Any) -> WindowResult[Any, Any]:
    """The result that a record of a window stands for."""
    told = dict(record.headers)
    start, end = int(told[START_HEADER]) / 1000, int(told[END_HEADER]) / 1000
    return WindowResult(key, start, end, value, told[FINAL_HEADER] == b"1")


def span_headers(
    start_ms: int, end_ms: int, *, final: bool = True
) -> tuple[tuple[str, bytes | None], ...]:
    """The headers that say which window a result is of."""
    digits = ((START_HEADER, b"%d" % start_ms), (END_HEADER, b"%d" % end_ms))
    return (*digits, (FINAL_HEADER, b"1" if final else b"0"))


class OpenWindows(Keeper):
    """Which windows of a table have not closed yet, beside those that are kept for longer."""

    kind = "open windows"
    begin = None

    def __init__(self, of: Table[Any, Any]) -> None:
        self.key_codec = of.key_codec
        self._of = of

    def key_of(self, row: bytes) -> bytes | None:
        """See `Keeper.key_of`."""
        found = split_window_key(row)
        return None if found is None else found[0]

    def kept(self, row: bytes, value: Any) -> Iterable[Kept]:
        """The window; what is in it is in the table."""
        del value
        found, window = split_window_key(row), self._of.window
        assert found is not None
        assert window is not None
        return (Kept(None, (found[1], found[1] + window.size_ms)),)


class ClosedWindows(InnerSource[K, WindowResult[K, V]]):
    """The final values of a windowed table; see `WindowedTable.closed`.

    Rows that are kept after their window has closed (`expires`) are due by the rows of a table
    beside it, `open`; else closing a window deletes its row.
    """

    def __init__(self, table: Table[K, V], open_rows: Table[bytes, bytes] | None) -> None:
        self.name = f"{table.name}.closed"
        self.key_codec = table.key_codec
        self.value_codec = table.value_codec
        self.partitions = table.partitions
        self._table = table
        self._open = open_rows
        if open_rows is not None:
            open_rows.keeper = OpenWindows(table)

    def have_reader(self) -> None:
        """From here on it is kept which windows have not closed yet."""
        self._table.open_rows, self._table.ends_with_closing = self._open, self._open is None
        (self._table if self._open is None else self._open).comes_due = True

    @property
    def table(self) -> str:
        """Whose rows come due."""
        return self._table.name if self._open is None else self._open.name

    @property
    def hidden(self) -> tuple[Table[Any, Any], ...]:
        """Tables that nobody declared."""
        return () if self._open is None else (self._open,)

    @property
    def judges(self) -> str:
        """Late is what comes after its window, wherever is kept that it is open."""
        return self._table.name

    @property
    def span_ms(self) -> int:
        """The length of a window."""
        return 0 if self._table.window is None else self._table.window.size_ms

    @property
    def shape(self) -> Callable[[Any, Any], WindowResult[K, V]] | None:
        """A result with its key and window."""
        decode = self.key_codec.decode
        return lambda record, value: window_result(record, value, decode(record.key))

    def due_ms(self, row: bytes, value: Any, watermark_ms: int | None) -> int | None:
        """Its end and the grace after it."""
        del value, watermark_ms
        found = split_window_key(row)
        window = self._table.window
        return None if found is None or window is None else window.closes_ms(found[1])

    def fired(
        self, row: bytes, due_ms: int, views: Mapping[str, TableView], partition: int
    ) -> Fired | None:
        """The result, with the last instant of its window as event time."""
        value = views[self._table.name].get(row)
        found, window = split_window_key(row), self._table.window
        if found is None or window is None:
            return None
        mark = None if self._open is None else cast("bytes", views[self._open.name].get(row))
        if value is DELETED:
            return Fired(
                self.name, partition, due_ms, None, None, row, due_ms, is_silent=True, mark=mark
            )
        key, start_ms = found
        end_ms = start_ms + window.size_ms
        return Fired(
            self.name, partition, end_ms - 1, key, self.value_codec.encode(value), row, due_ms,
            headers=span_headers(start_ms, end_ms), mark=mark,
        )  # fmt: skip

    def settle(self, fired: Fired, views: Mapping[str, TableView], now_ms: int) -> None:
        """The window is closed for good, unless a late event opened it once more meanwhile."""
        del now_ms
        view = views[self.table]
        if self._open is None or view.get(fired.row) == fired.mark:
            view.delete(fired.row)
