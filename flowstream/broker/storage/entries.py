"""Which directories have names that may not be durable yet: a file counts when its name is found
after a power cut too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from threading import Lock

from flowstream.broker.storage.calls import named, sync_directory


class NewEntries:
    """Directories with new names. Several threads may sync at the same time."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """None."""
        self._root = root
        self._lock = Lock()
        self._count = 0
        self._new: dict[str, int] = {}
        """Directory -> number of the newest name in it."""

    def add(self, path: str) -> None:
        """`path` came into its directory."""
        with self._lock:
            self._count += 1
            self._new[os.path.dirname(path)] = self._count

    def forget(self, directory: str) -> None:
        """The directory has another name now, or is gone."""
        with self._lock:
            self._new.pop(directory, None)

    def needed_for(self, paths: Collection[str]) -> list[str]:
        """The directories to be synced for `paths` to be found."""
        if not self._new:
            return []
        found = dict.fromkeys(os.path.dirname(path) for path in paths)
        for directory in list(found):
            while directory:
                directory = os.path.dirname(directory)
                found[directory] = None
        with self._lock:
            return [directory for directory in found if directory in self._new]

    def sync(self, directory: str) -> None:
        """Sync a directory. It is not new afterwards, unless a name came meanwhile."""
        with self._lock:
            count = self._new.get(directory)
        with named(directory or "."):
            sync_directory(os.path.join(self._root, directory))
        with self._lock:
            if count is not None and self._new.get(directory) == count:
                del self._new[directory]

    def sync_all(self, sync: Callable[[], None], covers: Callable[[str], bool]) -> None:
        """Call `sync`, after which every directory that it `covers` is durable as it was before.
        None of them is new afterwards but those that a name came to meanwhile.
        """
        with self._lock:
            known = dict(self._new)
        known = {each: count for each, count in known.items() if covers(each)}
        sync()
        with self._lock:
            for directory, count in known.items():
                if self._new.get(directory) == count:
                    del self._new[directory]
