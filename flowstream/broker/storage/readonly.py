"""The Storage door for those who only look: nothing that goes through it changes the disk."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

from flowstream.broker.doors import Operation
from flowstream.broker.storage.files import FileStorage
from flowstream.errors import StorageError

_OPEN_FILES = 4
"""Those who look go through one file after the other."""


class ReadOnlyFiles(FileStorage):
    """Files below one root directory, opened for reading; what is asked to change them is a
    mistake.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """`root` must exist."""
        super().__init__(root, open_files=_OPEN_FILES)

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

    def _descriptor(self, path: str, *, create: bool) -> int:
        assert not create, f"somebody who only looks would create {path}"
        descriptor = self._open.get(path)
        if descriptor is None:
            descriptor = os.open(os.path.join(self.root, path), os.O_RDONLY | os.O_CLOEXEC)
            self._open.add(path, descriptor)
        return descriptor
