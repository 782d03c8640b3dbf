"""A table as a web page reads it, or a task of the app that draws it: the committed rows of one
task, through the app's own tables.

Stands where an agent instance does (see `current`), and refuses whatever would change something.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from flowstream.processing.errors import AppError, NotInAgent, PartitionMismatch
from flowstream.processing.events.current import Destination, Headers
from flowstream.processing.events.event import Arrival, Event
from flowstream.processing.running.plan import TablePlan
from flowstream.processing.running.viewing import view_of
from flowstream.processing.tables.inner import Fired
from flowstream.processing.tables.windowed import is_beside
from flowstream.processing.time.dues import WATERMARK_KEY, is_own
from flowstream.processing.time.watermarks import UNKNOWN
from flowstream.processing.time.windows import STREAM_TIME_KEY
from flowstream.state.expiring import TIME_ROW
from flowstream.state.store import StateStore
from flowstream.state.table import TablePartition
from flowstream.state.table_view import TableView

READ_ONLY = "a web page reads tables; to change one, send to the topic of an agent that writes it"


class ReadOnlyView:
    """A view of committed rows that nobody can write."""

    def __init__(self, view: TableView) -> None:
        self._view = view
        self.writes: dict[bytes, object] = {}

    def get(self, row: bytes) -> object:
        """The value of a row."""
        return self._view.get(row)

    def scan(
        self, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, object]]:
        """Rows in order."""
        return self._view.scan(start, stop, reverse=reverse)

    def set(self, row: bytes, value: object) -> NoReturn:
        """Refused."""
        del row, value
        raise AppError(READ_ONLY)

    def delete(self, row: bytes) -> NoReturn:
        """Refused."""
        del row
        raise AppError(READ_ONLY)


class TableReader:
    """One task's tables for the length of a page."""

    shares_source = False

    def __init__(
        self,
        plans: list[TablePlan],
        stores: Mapping[str, StateStore],
        number: int,
        wall_ms: int,
    ) -> None:
        self.record: Arrival = Fired("a page", number, wall_ms, None, None, b"", wall_ms)
        self.label = f"a page at partition {number}"
        self.views: dict[str, Any] = {}
        self._stores = stores
        self._wall_ms = wall_ms
        for plan in plans:
            table = plan.table
            if table.name in stores:
                part = TablePartition(
                    table.name, number, stores[table.name], table.row_codec, mend=table.mend
                )
                if table.window is not None:
                    part.is_own = is_beside
                elif table.comes_due:
                    part.is_own = is_own
                self.views[table.name] = ReadOnlyView(view_of(table, part)(self))

    def view(self, table: str) -> Any:
        """The view of a table."""
        try:
            return self.views[table]
        except KeyError:
            raise PartitionMismatch(
                f"{self.label} has no rows of table {table!r}: read it with"
                f" `await app.query({table!r}).get(key)`"
            ) from None

    @property
    def timestamp_ms(self) -> int:
        """Now: a page has no event."""
        return self._wall_ms

    def wall_time_ms(self) -> int:
        """Now."""
        return self._wall_ms

    def stream_time_ms(self, table: str) -> int:
        """The greatest event time that is committed of a table whose rows end."""
        store = self._stores[table]
        row = store.get(TIME_ROW) or store.get(STREAM_TIME_KEY)
        return -1 if row is None else int(row)

    def watermark(self, table: str) -> int:
        """The watermark that is committed."""
        row = self._stores[table].get(WATERMARK_KEY)
        return UNKNOWN if row is None else int(row)

    def event(self) -> Event[Any]:
        """Refused."""
        raise NotInAgent("a web page has no event")

    def hand_over(self, channel: object, event: Event[Any]) -> NoReturn:
        """Refused: it would never be committed."""
        raise NotInAgent("a web page has no event with which a value could get into a channel")

    def emit(
        self,
        topic: Destination,
        key: object,
        value: object,
        partition: int | None,
        timestamp_ms: int | None,
        headers: Headers,
    ) -> tuple[str, int]:
        """Refused: a page's sends are plain ones."""
        raise NotInAgent("a web page has no event whose unit a record could join")

    def late(self, table: str) -> None:
        """Nothing is written."""

    def late_letter(self, table: str) -> None:
        """Nothing is written."""
