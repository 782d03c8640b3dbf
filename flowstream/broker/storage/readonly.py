"""The Storage door for those who only look: nothing that goes through it changes the disk."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

from flowstream.broker.doors import Operation
from flowstream.errors import StorageError


class ReadOnlyFiles:
    """Files below one root directory, opened for reading. One is kept open at a time: those who
    look go through one file after the other.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """`root` must exist."""
        self.root = root
        self._path = ""
        self._descriptor = -1

    def read(self, path: str, position: int, length: int) -> memoryview:
        """Up to `length` bytes of `path` from `position`; shorter at the end of the file."""
        try:
            if path != self._path or self._descriptor < 0:
                self.close()
                full = os.path.join(self.root, path)
                self._descriptor = os.open(full, os.O_RDONLY | os.O_CLOEXEC)
                self._path = path
            return memoryview(os.pread(self._descriptor, length, position))
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror or error}") from error

    def size(self, path: str) -> int | None:
        """Size of the file in bytes, None when it does not exist."""
        try:
            return os.stat(os.path.join(self.root, path)).st_size
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror or error}") from error

    def names(self, directory: str) -> list[str]:
        """Sorted names of the entries of `directory`; empty when it is absent or no directory."""
        try:
            return sorted(os.listdir(os.path.join(self.root, directory)))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise StorageError(f"{directory}: {error.strerror or error}") from error

    def perform(self, operations: Sequence[Operation]) -> set[str]:
        """Refused."""
        raise AssertionError(f"somebody who only looks would change the disk: {operations[:1]}")

    def sync(self, paths: Collection[str]) -> None:
        """Nothing was written."""

    def close(self) -> None:
        """Close what is open; it opens again when it is needed."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
