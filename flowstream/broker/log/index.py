"""The sparse indexes of one segment: `.index` (offset -> position) and `.timeindex` (timestamp ->
offset).

While a segment grows its entries are kept in memory, byte for byte as the files will hold them; a
closed segment's are looked up in the file. Indexes can always be rebuilt from the segment, so
nothing here is ever synced for safety.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Sequence
from typing import overload

from flowstream.broker.doors import Storage

NO_TIMESTAMP = -1


class Entries(Sequence[tuple[int, int]]):
    """Index entries of one fixed size, in memory (`resident`) or on disk."""

    __slots__ = ("_entry", "_storage", "filled", "path", "resident")

    def __init__(self, storage: Storage, path: str, entry: struct.Struct) -> None:
        """An empty resident list; `load` or `release` point it at the file."""
        self._storage = storage
        self._entry = entry
        self.path = path
        self.resident: bytearray | None = bytearray()
        self.filled = 0

    def __len__(self) -> int:
        return self.filled

    @overload
    def __getitem__(self, at: int) -> tuple[int, int]: ...
    @overload
    def __getitem__(self, at: slice) -> list[tuple[int, int]]: ...
    def __getitem__(self, at: int | slice) -> tuple[int, int] | list[tuple[int, int]]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(self.filled))]
        if at < 0:
            at += self.filled
        if not 0 <= at < self.filled:
            raise IndexError(at)
        size = self._entry.size
        if self.resident is not None:
            first, second = self._entry.unpack_from(self.resident, at * size)
        else:
            first, second = self._entry.unpack(self._storage.read(self.path, at * size, size))
        return first, second

    @property
    def size(self) -> int:
        """Bytes of all entries."""
        return self.filled * self._entry.size

    def add(self, first: int, second: int) -> None:
        """Append an entry; only while resident."""
        assert self.resident is not None, f"{self.path} is closed"
        self.resident += self._entry.pack(first, second)
        self.filled += 1

    def load(self, data: bytes | bytearray | memoryview) -> None:
        """Take the entries from a file's content."""
        self.filled = len(data) // self._entry.size
        self.resident = bytearray(data[: self.filled * self._entry.size])

    def release(self) -> None:
        """Look entries up in the file from now on."""
        self.resident = None

    def open_file(self, size: int) -> None:
        """The entries of a closed segment's file of `size` bytes."""
        self.filled = size // self._entry.size
        self.resident = None


class OffsetIndex:
    """Where in the segment an offset is found: entries (last offset of a batch - base, the batch's
    position).
    """

    __slots__ = ("base_offset", "entries")

    ENTRY = struct.Struct(">ii")

    def __init__(self, storage: Storage, path: str, base_offset: int) -> None:
        """The empty index of a new segment."""
        self.base_offset = base_offset
        self.entries = Entries(storage, path, self.ENTRY)

    def append(self, offset: int, position: int) -> None:
        """The batch at `position` ends with `offset`; both grow."""
        self.entries.add(offset - self.base_offset, position)

    def floor(self, offset: int) -> tuple[int, int] | None:
        """The last entry, as (last offset of a batch, its position), not beyond `offset`."""
        at = bisect_right(self.entries, offset - self.base_offset, key=_first)
        if not at:
            return None
        relative, position = self.entries[at - 1]
        return self.base_offset + relative, position

    def floor_position(self, position: int) -> tuple[int, int] | None:
        """The last entry, as `floor` gives it, whose position is not beyond `position`."""
        at = bisect_right(self.entries, position, key=_second)
        if not at:
            return None
        relative, found = self.entries[at - 1]
        return self.base_offset + relative, found

    def is_full(self, limit: int) -> bool:
        """Whether a file of at most `limit` bytes has no room for another entry."""
        return self.entries.filled >= limit // self.ENTRY.size


class TimeIndex:
    """Where a timestamp is first reached: entries (largest timestamp so far, offset - base of its
    batch's end).
    """

    __slots__ = ("base_offset", "entries")

    ENTRY = struct.Struct(">qi")

    def __init__(self, storage: Storage, path: str, base_offset: int) -> None:
        """The empty index of a new segment."""
        self.base_offset = base_offset
        self.entries = Entries(storage, path, self.ENTRY)

    def maybe_append(self, timestamp: int, offset: int) -> None:
        """An entry, unless the last one has that timestamp already."""
        if timestamp > self.last()[0]:
            self.entries.add(timestamp, offset - self.base_offset)

    def last(self) -> tuple[int, int]:
        """The largest timestamp indexed and its offset."""
        if not self.entries.filled:
            return NO_TIMESTAMP, self.base_offset
        timestamp, relative = self.entries[-1]
        return timestamp, self.base_offset + relative

    def floor(self, timestamp: int) -> tuple[int, int] | None:
        """The last entry, as (timestamp, offset), before which no batch reaches `timestamp`."""
        at = bisect_right(self.entries, timestamp - 1, key=_first)
        if not at:
            return None
        reached, relative = self.entries[at - 1]
        return reached, self.base_offset + relative

    def is_full(self, limit: int) -> bool:
        """Whether only the slot kept for the closing entry is left."""
        return self.entries.filled >= limit // self.ENTRY.size - 1


def _first(entry: tuple[int, int]) -> int:
    return entry[0]


def _second(entry: tuple[int, int]) -> int:
    return entry[1]
