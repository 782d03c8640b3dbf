"""What is done with the next sync, in the thread that syncs: new names cost a file system more than
bytes. Its owner holds the locks.
"""

from __future__ import annotations

import os
from collections.abc import Collection

from flowstream.broker.storage.calls import named, write_new
from flowstream.broker.storage.entries import NewEntries
from flowstream.broker.storage.paths import PathMap


class Deferred:
    """Directories to be made, empty files to be made, and files to be given new content."""

    def __init__(self, root: str, entries: NewEntries) -> None:
        """None."""
        self.puts: PathMap[bytes] = PathMap()
        """Files that get new content with their next sync."""
        self.touched: PathMap[None] = PathMap()
        """Empty files, made when they are synced or written."""
        self.unmade: set[str] = set()
        """Directories, made when something in them is synced or written."""
        self._root = root
        self._entries = entries

    def among(self, paths: Collection[str]) -> bool:
        """Whether any of `paths` waits."""
        return any(path in self.puts or path in self.touched for path in paths)

    def ensure_above(self, path: str) -> None:
        """Make the directory of `path` if its time has come."""
        self._ensure(os.path.dirname(path))

    def carry_along(self, path: str) -> None:
        """Do what waits in `path`, without a sync: it is about to move."""
        if not (self.puts or self.touched or self.unmade):
            return
        self._ensure(path)
        for name in self.puts.inside(path):
            write_new(self._root + name, self.puts.values[name], sync=False)
        for name in self.touched.inside(path):
            os.close(os.open(self._root + name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))

    def identifying(self, paths: Collection[str]) -> list[str]:
        """Those of `paths` that are put, where something was written to their directory."""
        if not self.puts:
            return []
        waiting = [path for path in paths if path in self.puts]
        return [path for path in waiting if self._is_written(os.path.dirname(path))]

    def forget(self, path: str) -> None:
        """Do nothing of what waits in `path`."""
        if not (self.puts or self.touched or self.unmade):
            return
        for name in self.puts.inside(path):
            self.puts.pop(name)
        for name in self.touched.inside(path):
            self.touched.pop(name)
        self.unmade.discard(path)

    def _is_written(self, directory: str) -> bool:
        return directory not in self.unmade and not self.touched.inside(directory)

    def _ensure(self, directory: str) -> None:
        if directory not in self.unmade:
            return
        with named(directory):
            os.makedirs(self._root + directory, exist_ok=True)
        self.unmade.discard(directory)
        while directory:
            self._entries.add(directory)
            directory = os.path.dirname(directory)
