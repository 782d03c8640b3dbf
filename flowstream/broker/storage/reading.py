"""The reading half of a Storage around another one."""

from __future__ import annotations

from flowstream.broker.doors import Space, Storage


class Reading:
    """Reads are the inner storage's affair."""

    def __init__(self, inner: Storage) -> None:
        """Read from `inner`."""
        self._inner = inner

    def read(self, path: str, position: int, length: int) -> memoryview:
        """Up to `length` bytes of `path` from `position`; shorter at the end of the file."""
        return self._inner.read(path, position, length)

    def size(self, path: str) -> int | None:
        """Size of the file in bytes, None when it does not exist."""
        return self._inner.size(path)

    def names(self, directory: str) -> list[str]:
        """Sorted names of the entries of `directory`; empty when it does not exist."""
        return self._inner.names(directory)

    def space(self) -> Space:
        """Where the data lies and how much room there is."""
        return self._inner.space()
