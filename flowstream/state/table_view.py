"""One agent instance's view of a table partition: its open unit above everything completed.

Pure. Values in as the table's user has them, rows out as the partition keeps them (`Sealed`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from flowstream.state.overlay import DELETED, MISSING, Absent
from flowstream.state.table import Sealed, TablePartition


class TableView:
    """What one agent instance reads and writes."""

    __slots__ = ("_copies", "_proof", "_shares", "partition", "writes")

    def __init__(self, partition: TablePartition) -> None:
        self.partition = partition
        self.writes: dict[bytes, object] = {}
        self._copies: dict[bytes, object] = {}
        self._shares = partition.codec.immutable
        self._proof = partition.codec.check

    def get(self, key: bytes) -> object | Absent:
        """The value as this unit sees it, or DELETED when there is none."""
        writes = self.writes
        if writes and key in writes:
            return writes[key]
        if self._shares:
            try:
                return self.partition.hot[key]
            except KeyError:
                return self.partition.read(key)
        return self._copy(key)

    def _copy(self, key: bytes) -> object:
        value = self._copies.get(key, MISSING)
        if value is MISSING:
            value = self.partition.read(key)
            if value is not DELETED:
                value = self.partition.decoded(key, cast("bytes", value))
                self._copies[key] = value
        return value

    def set(self, key: bytes, value: object) -> None:
        """Write in this unit; ownership of a mutable value passes to the table."""
        if value is None:
            raise TypeError(
                f"table {self.partition.name!r} cannot hold None: delete the key instead"
            )
        check = self._proof
        if check is not None:
            try:
                check(value)
            except (TypeError, ValueError) as error:
                raise self.partition.unfit(key, value, error) from None
            if value.__class__ is bytes:
                self.partition.check_sizes({key: value})
        self.writes[key] = value

    def delete(self, key: bytes) -> None:
        """Delete in this unit."""
        self.writes[key] = DELETED

    def scan(
        self, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, object]]:
        """(key, value) with start <= key < stop in key order; mutable values are fresh copies."""
        # As they are now: a row that is written during the walk is not the unit's own in it.
        partition, writes = self.partition, dict(self.writes)
        for key, value in partition.rows(writes, start, stop, reverse=reverse):
            if not self._shares and key not in writes:
                value = partition.decoded(key, cast("bytes", value))
            yield key, value

    def seal(self) -> Sealed:
        """Encode what must be encoded now. Raises what the codec raises; changes nothing."""
        partition, writes = self.partition, self.writes
        codec = partition.codec
        if codec.check is not None:
            return Sealed(partition, writes, writes)
        rows = partition.encoded(writes)
        return Sealed(partition, rows, writes if codec.immutable else rows)

    def publish(self) -> None:
        """Seal and absorb in one go, for a unit that wrote to this table only."""
        writes, partition = self.writes, self.partition
        cached = rows = writes
        if self._proof is None:
            rows = partition.encoded(writes)
            cached = writes if self._shares else rows
        # As `update` does, in half its time: there is one row in most units.
        partition.overlay.open |= rows
        if len(partition.hot) < partition.limit:
            partition.hot |= cached
        else:
            partition.remember(cached)
        writes.clear()
        if self._copies:
            self._copies.clear()

    def clear(self) -> None:
        """Begin the next unit. The sealed writes belong to whoever sealed them."""
        self.writes = {}
        if self._copies:
            self._copies = {}
