"""One partition of a windowed table: its event time, and the rows that are past keeping.

Pure. Stream time is the greatest event time of all completed units that wrote to the partition;
it is a row of the table itself, so that a restart expires exactly what a survivor would.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flowstream.processing.time.dues import SLICE
from flowstream.processing.time.windows import STREAM_TIME_KEY, Expiry, Window
from flowstream.state.overlay import DELETED
from flowstream.state.table import Sealed, TablePartition


class WindowedPartition:
    """Stream time and expiry beside a table partition (only for windows that expire)."""

    __slots__ = ("_expiry", "_partition", "_recorded_ms", "stream_time_ms", "window")

    def __init__(self, partition: TablePartition, window: Window) -> None:
        self._partition = partition
        self.window = window
        self._expiry = Expiry(window)
        self.stream_time_ms = -1
        self._recorded_ms = -1

    def load(self) -> Iterator[None]:
        """Learn what the store holds, with a pause after each slice of rows."""
        for number, (row, value) in enumerate(self._partition.store.scan(), 1):
            if row == STREAM_TIME_KEY:
                self.stream_time_ms = self._recorded_ms = int(value)
            else:
                self._expiry.add(row)
            if number % SLICE == 0:
                yield

    def observe(self, rows: Iterable[bytes], at_ms: int) -> None:
        """A unit at this event time wrote rows."""
        for row in rows:
            self._expiry.add(row)
        if at_ms > self.stream_time_ms:
            self.stream_time_ms = at_ms

    def expire(self, most_ms: int | None) -> None:
        """Before the epoch closes: delete what is due, of windows that close (the watermark is
        `most_ms`) nothing that did not.
        """
        until = self.stream_time_ms if most_ms is None else min(self.stream_time_ms, most_ms)
        due: dict[bytes, object] = dict.fromkeys(self._expiry.due(until), DELETED)
        if due:
            self._partition.absorb(Sealed(self._partition, due, due))

    def record_time(self, rows: dict[bytes, bytes | None]) -> None:
        """Add the stream time to the epoch's rows when it has moved."""
        if self.stream_time_ms > self._recorded_ms:
            rows[STREAM_TIME_KEY] = b"%d" % self.stream_time_ms
            self._recorded_ms = self.stream_time_ms
