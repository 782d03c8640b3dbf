"""Rows that live for a time: by event time, from their last write on.

Pure. A row carries the event time of its write. What is past its time reads as missing at once; a
sweep deletes such rows a slice per epoch, so that nothing waits for a large table. A slice is twice
the rows that the epoch wrote (a key that comes with every event is one), so that the table is never
more than about twice what lives. Event time is
the greatest of all units that wrote to the partition; it is a row of the table, so that a restart
sees what a survivor would.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Protocol

from flowstream.state.overlay import DELETED, MISSING, Absent
from flowstream.state.stream_time import StreamTime
from flowstream.state.table import Sealed, TablePartition, ValueCodec
from flowstream.state.table_view import TableView

TIME_ROW = b"\xff@time"
"""The row of the partition's event time. No encoded key looks like it; bytes are checked."""
_AFTER_TIME = TIME_ROW + b"\0"
SLICE_ROWS = 500
"""Rows that one slice looks at, at the least: well under a millisecond."""

_NEVER = float("inf")
_AT = struct.Struct(">q")


class UnitTime(Protocol):
    """What a view asks of its unit."""

    @property
    def timestamp_ms(self) -> int:
        """Event time of the unit."""

    def stream_time_ms(self, table: str) -> int:
        """The greatest event time that the table has seen, this unit included."""

    def late(self, table: str) -> None:
        """Count a write that is past its time already (S11)."""


class ExpiringCodec:
    """A row is eight bytes of event time, then the value; as an object, (milliseconds, value)."""

    __slots__ = ("_codec", "check", "immutable", "name")

    def __init__(self, codec: ValueCodec) -> None:
        self._codec = codec
        self.name = codec.name
        self.immutable = codec.immutable
        self.check: Callable[[Any], None] | None = None

    def encode(self, value: Any) -> bytes:
        """An (at, value) as a row."""
        at, inner = value
        return _AT.pack(at) + self._codec.encode(inner)

    def decode(self, data: bytes) -> Any:
        """A row as (at, value)."""
        return written_ms(data), self._codec.decode(data[_AT.size :])


def written_ms(row: bytes) -> int:
    """The event time of a row's write."""
    at: int = _AT.unpack_from(row)[0]
    return at


def split(row: bytes) -> tuple[int, bytes]:
    """The event time of a row's write, and the value's bytes."""
    return written_ms(row), row[_AT.size :]


class ExpiringView(TableView):
    """A unit's view of a partition whose rows expire: values in, values out."""

    __slots__ = ("_ttl_ms", "_unit")

    def __init__(self, partition: TablePartition, unit: UnitTime, ttl_ms: int) -> None:
        super().__init__(partition)
        self._unit = unit
        self._ttl_ms = ttl_ms

    def get(self, key: bytes) -> object | Absent:
        """The value, or DELETED when there is none or its time is over."""
        found: Any = super().get(key)
        if found is DELETED or self._is_over(found[0]):
            return DELETED
        value: object = found[1]
        return value

    def set(self, key: bytes, value: object) -> None:
        """Write in this unit. A unit so late that its row's time is over writes nothing."""
        if key == TIME_ROW:
            raise ValueError(f"table {self.partition.name!r} keeps its time in the row {key!r}")
        if value is None:
            super().set(key, value)
        at = self._unit.timestamp_ms
        if self._is_over(at):
            self._unit.late(self.partition.name)
        else:
            super().set(key, (at, value))

    def scan(
        self, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, object]]:
        """(key, value) of the rows whose time is not over."""
        before = (start, TIME_ROW if stop is None else min(stop, TIME_ROW))
        behind = (max(start, _AFTER_TIME), stop)
        for low, high in (behind, before) if reverse else (before, behind):
            for key, found in super().scan(low, high, reverse=reverse):
                written: Any = found
                if not self._is_over(written[0]):
                    yield key, written[1]

    def _is_over(self, at: int) -> bool:
        return at + self._ttl_ms <= self._unit.stream_time_ms(self.partition.name)


class ExpiringPartition(StreamTime):
    """Event time and the sweep beside a table partition."""

    __slots__ = ("_cursor", "_due_ms", "_later_ms", "_partition", "_recent_ms", "_ttl_ms",
                 "is_held")  # fmt: skip

    def __init__(self, partition: TablePartition, ttl_ms: int) -> None:
        super().__init__(TIME_ROW, partition.store.get(TIME_ROW))
        self._partition = partition
        self._ttl_ms = ttl_ms
        self.is_held: Callable[[bytes], bool] | None = None
        """Rows that must stay for now."""
        # Where the sweep goes on, None between two sweeps. No row of the store is over before
        # `_due_ms`; while a sweep runs, `_later_ms` is what it will know at its end. `_recent_ms`
        # is of rows that the store does not have yet.
        self._cursor: bytes | None = None
        self._due_ms: float = -1
        self._later_ms = self._recent_ms = _NEVER

    def observe(self, rows: Iterable[bytes], at_ms: int) -> None:
        """A unit at this event time wrote rows that may commit."""
        del rows
        over = at_ms + self._ttl_ms
        self._due_ms = min(self._due_ms, over)
        self._later_ms = min(self._later_ms, over)
        self._recent_ms = min(self._recent_ms, over)
        self.stream_time_ms = max(self.stream_time_ms, at_ms)

    def expire(self, most_ms: int | None = None) -> Mapping[bytes, int]:
        """Before the epoch closes: delete what one slice of the sweep finds over. Gives these rows
        with when it was.
        """
        del most_ms  # rows that expire close nothing
        recent, self._recent_ms = self._recent_ms, _NEVER
        if self._cursor is None:
            if self.stream_time_ms < self._due_ms:
                return {}
            self._cursor, self._later_ms = b"", recent
        over = self._slice(self._cursor, max(SLICE_ROWS, 2 * self._partition.dirty))
        if over:
            rows: dict[bytes, object] = dict.fromkeys(over, DELETED)
            self._partition.absorb(Sealed(self._partition, rows, rows))
        return over

    def _slice(self, start: bytes, most: int) -> dict[bytes, int]:
        """Rows that are over among the next few; moves the cursor."""
        over: dict[bytes, int] = {}
        overlay, is_held = self._partition.overlay, self.is_held
        looked = 0
        for key, row in islice(self._partition.store.scan(start), most):
            looked += 1
            self._cursor = key + b"\0"
            if key == TIME_ROW:
                continue
            end = written_ms(row) + self._ttl_ms
            if end > self.stream_time_ms or (is_held is not None and is_held(key)):
                self._later_ms = min(self._later_ms, end)
            elif overlay.find(key) is MISSING:  # else it was written or deleted since
                over[key] = end
        if looked < most:
            self._cursor, self._due_ms = None, self._later_ms
        return over
