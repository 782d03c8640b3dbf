"""A directory as the next start has it before it reads any log: with what the journal holds written
to its files. In memory only, and for reading only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from flowstream.broker.doors import Operation, Overwrite, Space, Storage


class ReplayedFiles:
    """A Storage whose files have the bytes of `operations` in them (see `log.journal.replay`)."""

    def __init__(self, storage: Storage, operations: Iterable[Operation]) -> None:
        """Of the operations only those that write bytes change what is read."""
        self._inner = storage
        self._writes: dict[str, list[Overwrite]] = {}
        for operation in operations:
            if isinstance(operation, Overwrite):
                self._writes.setdefault(operation.path, []).append(operation)

    def read(self, path: str, position: int, length: int) -> memoryview:
        """Up to `length` bytes of `path` from `position`; shorter at the end of the file."""
        writes = self._writes.get(path)
        if writes is None:
            return self._inner.read(path, position, length)
        end = min(position + length, self.size(path) or 0)
        found = bytearray(max(0, end - position))
        below = self._inner.read(path, position, len(found))
        found[: len(below)] = below
        for write in writes:
            first = max(position, write.position)
            last = min(end, write.position + len(write.data))
            if first < last:
                part = memoryview(write.data)[first - write.position : last - write.position]
                found[first - position : last - position] = part
        return memoryview(found)

    def size(self, path: str) -> int | None:
        """Size of the file in bytes, None when it does not exist."""
        size = self._inner.size(path)
        ends = [write.position + len(write.data) for write in self._writes.get(path, ())]
        return size if size is None else max(size, *ends, 0)

    def names(self, directory: str) -> list[str]:
        """Sorted names of the entries of `directory`; empty when it does not exist."""
        return self._inner.names(directory)

    def space(self) -> Space:
        """Where the data lies and how much room there is."""
        return self._inner.space()

    def perform(self, operations: Sequence[Operation]) -> set[str]:
        """Refused."""
        raise AssertionError(f"somebody who only looks would change the disk: {operations[:1]}")

    def sync(self, paths: Collection[str]) -> None:
        """Nothing was written."""
