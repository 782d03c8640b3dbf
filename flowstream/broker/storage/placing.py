"""Files that come to be, or to their new content, with a sync: under their own name when that is
durable, or at least behind what makes it so (D1).
"""

from __future__ import annotations

import os
from contextlib import suppress
from threading import Lock
from typing import NamedTuple

from flowstream.broker.storage.calls import named, write_new
from flowstream.broker.storage.deferred import Deferred
from flowstream.broker.storage.descriptors import Descriptors
from flowstream.broker.storage.entries import NewEntries


class Aside(NamedTuple):
    """Content of a file under another name."""

    path: str
    data: bytes
    full: str


class Placing:
    """Used by several threads at the same time."""

    def __init__(
        self,
        root: str,
        later: Deferred,
        entries: NewEntries,
        opened: Descriptors,
        lock: Lock,
        names: Lock,
    ) -> None:
        """With the locks of their owner, `names` before `lock`."""
        self._root = root
        self._later = later
        self._entries = entries
        self._open = opened
        self._lock = lock
        self._names = names
        self._count = 0

    def put(self, path: str) -> None:
        """Give a file its new content, unless it has it by now. Its name is synced elsewhere."""
        aside = self.write(path, sync=True)
        if aside is not None:
            self.place(aside)

    def write(self, path: str, *, sync: bool = False) -> Aside | None:
        """Write what a file is to have, under another name; None when it is another's by now, or
        has it.
        """
        with self._lock:
            data = self._later.puts.values.get(path)
            self._count += 1
            aside = f"{self._root}{path}.{self._count}.tmp"
        if data is None:
            return None
        with self._names:
            self._later.ensure_above(path)
        with named(path):
            if not data and self._appears(path, data):
                return None
            try:
                write_new(aside, data, sync=sync)
            except FileNotFoundError:
                if self._later.puts.values.get(path) is data:
                    raise
                return None  # deleted meanwhile, with everything in it
        return Aside(path, data, aside)

    def _appears(self, path: str, data: bytes) -> bool:
        """A file that is to be empty and is not there: its name is all. Raises OSError."""
        full = self._root + path
        with self._names:
            if self._later.puts.values.get(path) is not data or os.path.exists(full):
                return False
            os.close(os.open(full, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
            self._has_come(path, data)
        return True

    def _has_come(self, path: str, data: bytes) -> None:
        self._entries.add(path)
        with self._lock:
            self._open.forget(path)
            if self._later.puts.values.get(path) is data:
                self._later.puts.pop(path)

    def place(self, aside: Aside) -> None:
        """Let it have its name, unless that is another's by now."""
        path, data, full = aside
        with named(path):
            with self._names:
                if self._later.puts.values.get(path) is data:
                    os.rename(full, self._root + path)
                    self._has_come(path, data)
                    return
            with suppress(FileNotFoundError):
                os.unlink(full)

    def made_empty(self, path: str) -> bool:
        """Make the file, if nobody did. Of one without bytes only the name must be synced. Raises
        OSError.
        """
        full = self._root + path
        # Not through the shared descriptors: the loop's thread may be writing through one that
        # another would push out.
        with self._names:
            if path not in self._later.touched or os.path.exists(full):
                return False
            self._later.ensure_above(path)
            os.close(os.open(full, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
            self._entries.add(path)
            with self._lock:
                self._later.touched.pop(path)
        return os.stat(full).st_size == 0
