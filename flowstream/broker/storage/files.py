"""The Storage door on a real disk. Knows paths, file descriptors and syncs; what the bytes mean is
not its affair.

`perform` and the reads belong to the loop's thread; `sync` may run in others meanwhile. Every
failure becomes a StorageError that names the path, and is never retried: after a failed fsync the
page cache may no longer hold what it claims (D2).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from threading import Lock

from flowstream.broker.doors import (
    Append,
    Buffer,
    Discard,
    Flush,
    MakeDirectory,
    Operation,
    Overwrite,
    Place,
    Put,
    Remove,
    Rename,
    Replace,
    Settle,
    Space,
    Sync,
    Truncate,
)
from flowstream.broker.storage.calls import (
    inside,
    moves_directory,
    named,
    write_all,
    write_at,
    write_new,
)
from flowstream.broker.storage.deferred import Deferred
from flowstream.broker.storage.descriptors import Descriptors
from flowstream.broker.storage.entries import NewEntries
from flowstream.broker.storage.jobs import Jobs
from flowstream.broker.storage.leaving import Leaving
from flowstream.broker.storage.placing import Aside, Placing
from flowstream.broker.storage.refusal import refused
from flowstream.broker.storage.syncers import Syncers
from flowstream.broker.storage.whole import WholeFileSystem

OPEN_FILES = 512
"""File descriptors kept open at most; the least recently used one is closed."""

TOGETHER = 128
"""Paths that are synced with all of their file system, where it can: a sync of each takes the time
of one, a hundred or more of them."""


class FileStorage:
    """Files below one root directory."""

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        open_files: int = OPEN_FILES,
        background: Executor | None = None,
        places: bool = False,
        together: int = TOGETHER,
    ) -> None:
        """`root` must exist. `background` deletes directories and, where nobody syncs what is
        written (`places`), does what waits for a sync. So many paths are synced `together`."""
        self.root = root
        self._open = Descriptors(open_files)
        self._above = os.path.join(root, "")
        self._entries = NewEntries(root)
        self._later = Deferred(self._above, self._entries)
        self._lock = Lock()
        """Held while something is remembered or forgotten, and while the loop opens files."""
        self._names = Lock()
        """Held before `_lock` while names come and go on the disk, which may take long: the loop
        takes it where another thread may want the same name."""
        self._bulk = Lock()
        """Held before both while many files are synced: who comes next finds them done."""
        self._placing = Placing(
            self._above, self._later, self._entries, self._open, self._lock, self._names
        )
        self._syncers = Syncers()
        self._whole = WholeFileSystem(root)
        self._together = together
        self._places = places
        self._jobs = Jobs(background)
        self._leaving = Leaving(self._above, self._entries, self._names, self._jobs)

    # Reading

    def read(self, path: str, position: int, length: int) -> memoryview:
        """Up to `length` bytes of `path` from `position`; shorter at the end of the file."""
        try:
            return memoryview(os.pread(self._descriptor(path, create=False), length, position))
        except OSError as error:
            raise refused(path, error) from error

    def size(self, path: str) -> int | None:
        """Size of the file in bytes, None when it does not exist."""
        if self._leaving.holds(os.path.dirname(path)):
            return None
        try:
            return os.stat(self._above + path).st_size
        except FileNotFoundError:
            return None
        except OSError as error:
            raise refused(path, error) from error

    def names(self, directory: str) -> list[str]:
        """Sorted names of the entries of `directory`; empty when it does not exist."""
        try:
            return sorted(os.listdir(self._above + directory))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise refused(directory, error) from error

    def space(self) -> Space:
        """The data directory and its disk."""
        with named(str(self.root)):
            usage = shutil.disk_usage(self.root)
        return Space(os.path.abspath(self.root), usage.total, usage.free)

    # Writing

    def perform(self, operations: Sequence[Operation]) -> set[str]:
        """Perform in order; adjacent appends to one file are one writev. The paths that now hold
        unsynced bytes.
        """
        self._jobs.check()
        self._leaving.make_room(operations)
        unsynced: set[str] = set()
        path = ""
        pending: list[Buffer] = []
        renamed: set[str] = set()
        for operation in operations:
            if renamed and not moves_directory(operation):
                self._sync_renamed(renamed)
            if isinstance(operation, Append):
                if operation.path != path:
                    self._append(path, pending)
                    path, pending = operation.path, []
                    unsynced.add(path)
                pending += operation.buffers
                continue
            self._append(path, pending)
            path, pending = "", []
            if isinstance(operation, Rename):
                self._rename(operation, unsynced, renamed)
            else:
                self._change(operation, unsynced)
        self._append(path, pending)
        self._sync_renamed(renamed)
        self._leaving.begin()
        if self._places and self._jobs.background is not None and self._later.among(unsynced):
            self._jobs.do(self.sync, ())
        return unsynced

    def sync(self, paths: Collection[str]) -> None:
        """Make the content of `paths` durable, new names too; several at the same time."""
        if self._places:
            with self._lock:
                paths = {*paths, *self._later.puts, *self._later.touched}
        self._sync_these(paths)

    def _sync_these(self, paths: Collection[str]) -> None:
        puts = [path for path in paths if path in self._later.puts]
        several = len(paths) >= self._together and self._whole.is_usable
        left = set(paths) - (self._sync_together(paths) if several else set())
        self._syncers.each(self._placing.put, left.intersection(puts))
        self._syncers.each(self._sync_file, left.difference(puts))
        self._syncers.each(self._entries.sync, self._entries.needed_for(left))
        if again := [path for path in puts if path in self._later.puts]:
            self._sync_these(again)

    def _sync_together(self, paths: Collection[str]) -> set[str]:
        """With all else on the file system: what is put first, and then its names (D1). Those of
        `paths` that are on it.
        """
        near = set(filter(self._whole.covers, set(map(os.path.dirname, paths))))
        here = {path for path in paths if os.path.dirname(path) in near}
        asides: list[Aside] = []

        def write(path: str) -> None:
            if (aside := self._placing.write(path)) is not None:
                asides.append(aside)

        def touch(path: str) -> None:
            with named(path), suppress(FileNotFoundError):
                self._placing.made_empty(path)

        with self._bulk:
            self._syncers.each(touch, [path for path in here if path in self._later.touched])
            self._syncers.each(write, [path for path in here if path in self._later.puts])
            if asides:
                self._whole.sync()
                self._syncers.each(self._placing.place, asides)
            self._entries.sync_all(self._whole.sync, self._whole.covers)
        return here

    def close(self) -> None:
        """Close every descriptor."""
        self._syncers.close()
        self._whole.close()
        with self._lock:
            self._open.close()

    def _change(self, operation: Operation, unsynced: set[str]) -> None:
        match operation:
            case Overwrite(path, position, data):
                self._overwrite(path, position, data)
                unsynced.add(path)
            case Replace(path, data):
                self._replace(path, data)
                unsynced.discard(path)
            case Truncate(path, size):
                with named(path):
                    os.ftruncate(self._descriptor(path, create=True), size)
                unsynced.add(path)
            case Put(path, data):
                self._put(path, data)
                unsynced.add(path)
            case Place(paths):
                self._sync_these(self._later.identifying(paths))
            case Sync(path):
                unsynced.add(path)
            case Remove(path):
                self._remove(path)
                unsynced.difference_update(inside(unsynced, path))
            case Discard(path, target):
                with self._lock:
                    self._let_go(path)
                self._leaving.add(path, target)
                unsynced.difference_update(inside(unsynced, path))
            case MakeDirectory(path):
                self._leaving.make_room((operation,))
                with self._lock:
                    self._later.unmade.add(path)
            case Flush(path):
                if path in self._later.puts or self.size(path) is not None:
                    # The name too: an earlier process may have made the file.
                    self._sync_these((path,))
                    self._sync_directory(os.path.dirname(path))
                    unsynced.discard(path)
            case Settle():
                self._leaving.finish()
            case Append() | Rename():
                raise AssertionError("appends and renames are gathered by perform")

    def _append(self, path: str, buffers: list[Buffer]) -> None:
        if not buffers:
            if path:
                self._touch(path)
            return
        try:
            descriptor = self._descriptor(path, create=True)
            write_all(descriptor, buffers)
        except OSError as error:
            raise refused(path, error) from error

    def _touch(self, path: str) -> None:
        """Make an empty file; in a directory that waits for its sync, it waits too."""
        with self._lock:
            if os.path.dirname(path) in self._later.unmade:
                self._later.touched.add(path, None)
                return
        with named(path):
            self._descriptor(path, create=True)

    def _overwrite(self, path: str, position: int, data: Buffer) -> None:
        """Through a descriptor of its own: one that appends ignores the position."""
        with named(path):
            full = self._full(path)
            with self._lock:
                self._later.ensure_above(path)
                self._later.touched.pop(path)
                if not os.path.exists(full):
                    self._entries.add(path)
            descriptor = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                write_at(descriptor, position, data)
            finally:
                os.close(descriptor)

    def _replace(self, path: str, data: Buffer) -> None:
        with named(path):
            with self._names, self._lock:
                self._open.forget(path)
                self._later.puts.pop(path)
                self._later.ensure_above(path)
            temporary = self._full(path) + ".tmp"
            write_new(temporary, data, sync=True)
            os.rename(temporary, self._full(path))
        self._sync_directory(os.path.dirname(path))

    def _put(self, path: str, data: Buffer) -> None:
        with self._lock:
            self._later.puts.add(path, bytes(data))

    def _rename(self, wanted: Rename, unsynced: set[str], parents: set[str]) -> None:
        path, target = wanted.path, wanted.target
        with named(path), self._names, self._lock:
            self._later.carry_along(path)
            self._let_go(path)
            self._let_go(target)
            self._later.ensure_above(target)
            try:
                os.rename(self._full(path), self._full(target))
            except FileNotFoundError:
                # Performed already, by a run that crashed after it.
                if not os.path.exists(self._full(target)):
                    raise
        parents |= {os.path.dirname(path), os.path.dirname(target)}
        moved = inside(unsynced, path)
        unsynced.difference_update(moved)
        unsynced.update(target + name[len(path) :] for name in moved)

    def _sync_renamed(self, parents: set[str]) -> None:
        while parents:
            self._sync_directory(parents.pop())

    def _remove(self, path: str) -> None:
        full = self._full(path)
        with named(path):
            with self._names, self._lock:
                self._let_go(path)
            if os.path.isdir(full):
                self._leaving.remove(path)
            else:
                with suppress(FileNotFoundError):
                    os.unlink(full)

    # Descriptors and names

    def _full(self, path: str) -> str:
        return self._above + path

    def _descriptor(self, path: str, *, create: bool) -> int:
        """An open descriptor of `path`; appends go to its end, whatever was truncated before."""
        with self._lock:
            descriptor = self._open.get(path)
            if descriptor is not None:
                return descriptor
            flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
            full = self._full(path)
            try:
                descriptor = os.open(full, flags)
            except FileNotFoundError:
                if not create:
                    raise
                self._later.ensure_above(path)
                descriptor = os.open(full, flags | os.O_CREAT, 0o644)
                self._entries.add(path)
            if create:
                self._later.touched.pop(path)
            self._open.add(path, descriptor)
            return descriptor

    def _let_go(self, path: str) -> None:
        """Forget `path` and all in it: the name will mean another file."""
        self._open.forget(path)
        self._entries.forget(path)
        self._later.forget(path)

    def _sync_file(self, path: str) -> None:
        """Through a duplicate, because the loop's thread may close the shared descriptor meanwhile.

        It is the same open file, so that a write that failed in the background is reported here.
        """
        with named(path):
            try:
                if path in self._later.touched and self._placing.made_empty(path):
                    return
                with self._lock:
                    shared = self._open.look(path)
                    descriptor = -1 if shared is None else os.dup(shared)
                if descriptor < 0:
                    descriptor = os.open(self._full(path), os.O_WRONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                # Deleted or renamed since it was written: nobody waits for the old name.
                return
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)

    def _sync_directory(self, directory: str) -> None:
        """And those above it that have new names."""
        self._entries.sync(directory)
        for above in self._entries.needed_for((directory,) if directory else ()):
            self._entries.sync(above)
