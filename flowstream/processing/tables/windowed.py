"""One partition of a windowed table: its event time, and the rows that are past keeping.

Pure. Stream time is the greatest event time of all units that wrote to the partition and may
commit; it is a row of the table itself, so that a restart expires exactly what a survivor would.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from flowstream.processing.time.dues import SLICE, DuePartition, is_own
from flowstream.processing.time.windows import STREAM_TIME_KEY, Expiry, Window
from flowstream.state.overlay import DELETED, MISSING
from flowstream.state.stream_time import StreamTime
from flowstream.state.table import Sealed, TablePartition

LEAST_ROWS = 2_000
"""Rows that an epoch may delete, at the least: a few milliseconds. Else twice what it wrote."""


def is_beside(row: bytes) -> bool:
    """Whether a row is no window's but what the table keeps of time."""
    return row == STREAM_TIME_KEY or is_own(row)


class WindowedPartition(StreamTime):
    """Stream time and expiry beside a table partition (only for windows that expire)."""

    __slots__ = ("_expiry", "_partition", "closing", "window")

    def __init__(self, partition: TablePartition, window: Window) -> None:
        super().__init__(STREAM_TIME_KEY, partition.store.get(STREAM_TIME_KEY))
        self._partition = partition
        self.window = window
        self._expiry = Expiry(window)
        self.closing: DuePartition | None = None
        """The windows that were not told yet that they closed, where somebody is to be told."""

    def load(self) -> Iterator[None]:
        """Learn which rows the store holds, with a pause after each slice of them."""
        for number, (row, _) in enumerate(self._partition.store.scan(), 1):
            self._expiry.add(row)
            if number % SLICE == 0:
                yield

    def observe(self, rows: Iterable[bytes], at_ms: int) -> None:
        """A unit at this event time wrote rows that may commit."""
        for row in rows:
            self._expiry.add(row)
        if at_ms > self.stream_time_ms:
            self.stream_time_ms = at_ms

    def expire(self, most_ms: int | None) -> Mapping[bytes, int]:
        """Before the epoch closes: delete what is due, of windows that close (the watermark is
        `most_ms`) nothing that did not, or that was not told. None of it is a change of a key.

        What is due reads as missing already. Not all of it goes at once: a window may have millions
        of keys, which would be more than one transaction takes.
        """
        until = self.stream_time_ms if most_ms is None else min(self.stream_time_ms, most_ms)
        most = max(LEAST_ROWS, 2 * self._partition.dirty)
        due = self._expiry.due(min(until, self._told_ms()), most)
        held = [row for row in due if self._is_held(row)]
        for row in held:
            self._expiry.add(row)
        rows: dict[bytes, object] = dict.fromkeys(due, DELETED)
        for row in held:
            del rows[row]
        if rows:
            self._partition.absorb(Sealed(self._partition, rows, rows))
        return {}

    def _told_ms(self) -> int:
        """By when windows end to be kept if all that closed before the next one were told."""
        window, upcoming = self.window, None
        if self.closing is not None:
            upcoming = self.closing.agenda.next_ms
        if upcoming is None or window.expires_ms is None or window.grace_ms is None:
            return self.stream_time_ms
        return upcoming - 1 - window.grace_ms + window.expires_ms

    def _is_held(self, row: bytes) -> bool:
        """Whether somebody is still to be told of a window, or a unit that waits has changed it."""
        if row in self._partition.overlay.pending:
            return True
        if self.closing is None:
            return False
        part = self.closing.partition
        told = part.overlay.may_commit(row)
        return part.store.get(row) is not None if told is MISSING else told is not DELETED
