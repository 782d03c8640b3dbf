"""A table on a store in memory, and units that use it: no worker, no cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from flowstream.processing.events.current import CURRENT, Current
from flowstream.processing.events.event import Arrival
from flowstream.processing.running.viewing import view_of
from flowstream.processing.tables.table import Table
from flowstream.state.expiring import ExpiringPartition
from flowstream.state.memory import MemoryStore
from flowstream.state.table import TablePartition
from flowstream.state.table_view import TableView


class Bench:
    """One table partition and the one instance that uses it; `drop` is a crash."""

    def __init__(self, table: Table[Any, Any], store: MemoryStore | None = None) -> None:
        self.table = table
        self.store = store or MemoryStore()
        self.changelog: list[tuple[bytes, bytes | None]] = []
        self.lates = 0
        self.label = "the bench"
        self.record: Arrival | None = None
        self.timestamp_ms = 0
        self.open()

    def open(self) -> None:
        """Begin over the committed rows, as after a crash."""
        table = self.table
        self.part = TablePartition(table.name, 0, self.store, table.row_codec, mend=table.mend)
        self.timed = None if table.ttl_ms is None else ExpiringPartition(self.part, table.ttl_ms)
        self.views: Mapping[str, TableView] = {table.name: view_of(table, self.part)(self)}

    @contextmanager
    def unit(self, at_ms: int = 0) -> Iterator[None]:
        """What happens in the block is one unit; when it raises it leaves no trace."""
        self.record, self.timestamp_ms = cast("Arrival", object()), at_ms
        token = CURRENT.set(cast("Current", self))
        view = self.view("")
        try:
            yield
            sealed = view.seal()
            if view.writes and self.timed is not None:
                self.timed.observe(view.writes, at_ms)
            self.part.absorb(sealed)
        finally:
            view.clear()
            self.record = None
            CURRENT.reset(token)

    def commit(self) -> dict[bytes, bytes | None]:
        """An epoch; gives its rows."""
        if self.timed is not None:
            self.timed.expire()
        if not self.part.dirty:
            return {}
        rows = self.part.close()
        if self.timed is not None:
            self.timed.record_time(rows)
        self.changelog += rows.items()
        self.part.committed(rows, len(self.changelog), None)
        return rows

    # -- what tables and views ask --------------------------------------------------------------

    def view(self, table: str) -> TableView:
        """The one view."""
        return self.views.get(table) or next(iter(self.views.values()))

    def stream_time_ms(self, table: str) -> int:
        """As a feed has it."""
        del table
        return max(self.timestamp_ms, -1 if self.timed is None else self.timed.stream_time_ms)

    def late(self, table: str) -> None:
        """Count."""
        del table
        self.lates += 1
