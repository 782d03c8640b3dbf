"""The Storage door on a real disk. Knows paths, file descriptors and syncs; what the bytes mean is
not its affair.

`perform` and the reads belong to the loop's thread; `sync` may run in others meanwhile. Every
failure becomes a StorageError that names the path, and is never retried: after a failed fsync the
page cache may no longer hold what it claims (D2).
"""

from __future__ import annotations

import os
import shutil
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock

from flowstream.broker.doors import (
    Append,
    Buffer,
    Flush,
    MakeDirectory,
    Operation,
    Overwrite,
    Remove,
    Rename,
    Replace,
    Space,
    Truncate,
)
from flowstream.broker.storage.refusal import refused

OPEN_FILES = 512
"""File descriptors kept open at most; the least recently used one is closed."""

SYNC_THREADS = 8
"""Files synced at a time: a filesystem merges the journal commits of concurrent syncs."""

_IOV_MAX = 1024


class FileStorage:
    """Files below one root directory."""

    def __init__(self, root: str | os.PathLike[str], *, open_files: int = OPEN_FILES) -> None:
        """`root` must exist."""
        self.root = root
        self._limit = open_files
        self._open: OrderedDict[str, int] = OrderedDict()
        self._new: set[str] = set()
        """Files whose directory entry was not synced yet."""
        self._lock = Lock()
        self._syncers: ThreadPoolExecutor | None = None

    # Reading

    def read(self, path: str, position: int, length: int) -> memoryview:
        """Up to `length` bytes of `path` from `position`; shorter at the end of the file."""
        try:
            return memoryview(os.pread(self._descriptor(path, create=False), length, position))
        except OSError as error:
            raise refused(path, error) from error

    def size(self, path: str) -> int | None:
        """Size of the file in bytes, None when it does not exist."""
        with _named(path):
            try:
                return os.stat(self._full(path)).st_size
            except FileNotFoundError:
                return None

    def names(self, directory: str) -> list[str]:
        """Sorted names of the entries of `directory`; empty when it does not exist."""
        with _named(directory):
            try:
                return sorted(os.listdir(self._full(directory)))
            except FileNotFoundError:
                return []

    def space(self) -> Space:
        """The data directory and the size of its disk."""
        with _named(str(self.root)):
            usage = shutil.disk_usage(self.root)
        return Space(os.path.abspath(self.root), usage.total, usage.free)

    # Writing

    def perform(self, operations: Sequence[Operation]) -> set[str]:
        """Perform in order; adjacent appends to one file are one writev. The paths that now hold
        unsynced bytes.
        """
        unsynced: set[str] = set()
        path = ""
        pending: list[Buffer] = []
        for operation in operations:
            if isinstance(operation, Append):
                if operation.path != path:
                    self._append(path, pending)
                    path, pending = operation.path, []
                    unsynced.add(path)
                    if not operation.buffers:
                        self._touch(path)
                pending += operation.buffers
                continue
            self._append(path, pending)
            path, pending = "", []
            self._change(operation, unsynced)
        self._append(path, pending)
        return unsynced

    def sync(self, paths: Collection[str]) -> None:
        """Make the content of `paths` durable, new files' directory entries too. Several files sync
        at the same time.
        """
        directories = {os.path.dirname(path) for path in paths if self._was_new(path)}
        if len(paths) == 1:
            for path in paths:
                self._sync_file(path)
        elif paths:
            list(self._pool().map(self._sync_file, paths))
        for directory in directories:
            self._sync_directory(directory)

    def close(self) -> None:
        """Close every descriptor."""
        if self._syncers is not None:
            self._syncers.shutdown()
        with self._lock:
            for descriptor in self._open.values():
                os.close(descriptor)
            self._open.clear()

    def _change(self, operation: Operation, unsynced: set[str]) -> None:
        match operation:
            case Overwrite(path, position, data):
                self._overwrite(path, position, data)
                unsynced.add(path)
            case Replace(path, data):
                self._replace(path, data)
                unsynced.discard(path)
            case Truncate(path, size):
                with _named(path):
                    os.ftruncate(self._descriptor(path, create=True), size)
                unsynced.add(path)
            case Rename(path, target):
                self._rename(path, target)
                moved = {name for name in unsynced if name == path or name.startswith(path + "/")}
                unsynced -= moved
                unsynced |= {target + name[len(path) :] for name in moved}
            case Remove(path):
                self._remove(path)
                gone = {name for name in unsynced if name == path or name.startswith(path + "/")}
                unsynced -= gone
            case MakeDirectory(path):
                self._make_directory(path)
            case Flush(path):
                if self.size(path) is not None:
                    # The name too: an earlier process may have made the file.
                    self.sync((path,))
                    self._sync_directory(os.path.dirname(path))
                    unsynced.discard(path)
            case Append():
                raise AssertionError("appends are gathered by perform")

    def _append(self, path: str, buffers: list[Buffer]) -> None:
        if not buffers:
            return
        try:
            descriptor = self._descriptor(path, create=True)
            for start in range(0, len(buffers), _IOV_MAX):
                _write_all(descriptor, buffers[start : start + _IOV_MAX])
        except OSError as error:
            raise refused(path, error) from error

    def _touch(self, path: str) -> None:
        with _named(path):
            self._descriptor(path, create=True)

    def _overwrite(self, path: str, position: int, data: Buffer) -> None:
        """Through a descriptor of its own: one that appends ignores the position."""
        with _named(path):
            full = self._full(path)
            if not os.path.exists(full):
                with self._lock:
                    self._new.add(path)
            descriptor = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                rest = memoryview(data)
                while rest:
                    written = os.pwrite(descriptor, rest, position)
                    rest, position = rest[written:], position + written
            finally:
                os.close(descriptor)

    def _replace(self, path: str, data: Buffer) -> None:
        full = self._full(path)
        temporary = full + ".tmp"
        with _named(path):
            self._forget(path)
            descriptor = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644
            )
            try:
                _write_all(descriptor, [data])
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(temporary, full)
        self._sync_directory(os.path.dirname(path))

    def _rename(self, path: str, target: str) -> None:
        with _named(path):
            self._forget(path)
            self._forget(target)
            try:
                os.rename(self._full(path), self._full(target))
            except FileNotFoundError:
                # Performed already, by a run that crashed after it.
                if not os.path.exists(self._full(target)):
                    raise
        for parent in {os.path.dirname(path), os.path.dirname(target)}:
            self._sync_directory(parent)

    def _remove(self, path: str) -> None:
        with _named(path):
            self._forget(path)
            full = self._full(path)
            try:
                if os.path.isdir(full):
                    shutil.rmtree(full)
                else:
                    os.unlink(full)
            except FileNotFoundError:
                return

    def _make_directory(self, path: str) -> None:
        missing = []
        while path and not os.path.isdir(self._full(path)):
            missing.append(path)
            path = os.path.dirname(path)
        for directory in reversed(missing):
            with _named(directory):
                os.mkdir(self._full(directory))
            self._sync_directory(os.path.dirname(directory))

    # Descriptors

    def _full(self, path: str) -> str:
        return os.path.join(self.root, path)

    def _descriptor(self, path: str, *, create: bool) -> int:
        """An open descriptor of `path`; appends go to its end, whatever was truncated before."""
        with self._lock:
            descriptor = self._open.get(path)
            if descriptor is not None:
                self._open.move_to_end(path)
                return descriptor
            flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
            full = self._full(path)
            try:
                descriptor = os.open(full, flags)
            except FileNotFoundError:
                if not create:
                    raise
                descriptor = os.open(full, flags | os.O_CREAT, 0o644)
                self._new.add(path)
            self._open[path] = descriptor
            if len(self._open) > self._limit:
                _, oldest = self._open.popitem(last=False)
                os.close(oldest)
            return descriptor

    def _forget(self, path: str) -> None:
        """Close the descriptors of `path` and of all in it: the name will mean another file."""
        with self._lock:
            inside = path + "/"
            for name in [n for n in self._open if n == path or n.startswith(inside)]:
                os.close(self._open.pop(name))

    def _was_new(self, path: str) -> bool:
        with self._lock:
            if path not in self._new:
                return False
            self._new.discard(path)
            return True

    def _pool(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._syncers is None:
                self._syncers = ThreadPoolExecutor(SYNC_THREADS, thread_name_prefix="sync")
            return self._syncers

    def _sync_file(self, path: str) -> None:
        """Through a duplicate, because the loop's thread may close the shared descriptor meanwhile.

        It is the same open file, so that a write that failed in the background is reported here.
        """
        with _named(path):
            try:
                with self._lock:
                    shared = self._open.get(path)
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
        with _named(directory or "."):
            try:
                descriptor = os.open(
                    self._full(directory), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
                )
            except FileNotFoundError:
                # Deleted meanwhile, with everything in it.
                return
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _write_all(descriptor: int, buffers: list[Buffer]) -> None:
    """One system call, unless the disk takes only a part: then the next one says why."""
    written = os.writev(descriptor, buffers)
    total = sum(len(buffer) for buffer in buffers)
    if written < total:
        rest = memoryview(b"".join(buffers))
        while written < total:
            written += os.write(descriptor, rest[written:])


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Name the path and the remedy in what the system says."""
    try:
        yield
    except OSError as error:
        raise refused(path, error) from error
