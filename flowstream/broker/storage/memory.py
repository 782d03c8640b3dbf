"""The Storage door in memory, and it misbehaves on request: forgets what was not synced, tears
writes, refuses with EIO or ENOSPC.

A twin of `files` for tests and the simulator: same promises, nothing more. What a real disk may
keep by luck, this one keeps or loses by the random generator that `crash` is given.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch

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
    Random,
    Remove,
    Rename,
    Replace,
    Settle,
    Space,
    Sync,
    Truncate,
)
from flowstream.broker.storage.calls import inside
from flowstream.broker.storage.refusal import refused
from flowstream.errors import FlowstreamError, StorageError

SECTOR = 512
"""Bytes that a disk writes as one."""


class Crashed(FlowstreamError):
    """The machine went down here: nothing after it was performed."""


@dataclass(slots=True)
class _File:
    """A file as the page cache has it (`data`) and as the disk surely has it (`durable`)."""

    data: bytearray = field(default_factory=bytearray)
    durable: bytes = b""

    def sync(self) -> None:
        if len(self.data) != len(self.durable) or self.data != self.durable:
            self.durable = bytes(self.data)


class MemoryStorage:
    """Files in dictionaries: `files` as seen now, `_entries` as the directories on disk surely name
    them.
    """

    def __init__(self) -> None:
        """An empty disk."""
        self.operations = 0
        """Operations and syncs performed so far: where a test can crash."""
        self.disk_bytes = 1 << 40
        self._files: dict[str, _File] = {}
        self._entries: dict[str, _File] = {}
        self._directories: set[str] = {""}
        self._puts: dict[str, str] = {}
        """Files that get new content with their next sync, and where it is."""
        self._leaving: dict[str, _Leaving] = {}
        """Directories that were discarded, as far as nobody made others of their names."""
        self._crash_at: int | None = None
        self._faults: list[_Fault] = []

    # Misbehaving

    def crash_at(self, operation: int | None) -> None:
        """Raise Crashed before operation number `operation` (counted by `operations` from 0)."""
        self._crash_at = operation

    def fail(self, pattern: str, code: int, after: int = 0) -> None:
        """Refuse writes and syncs of paths like `pattern` with errno `code`, from the one after
        `after` successes on.
        """
        self._faults.append(_Fault(pattern, code, after))

    def heal(self) -> None:
        """No faults and no crash any more."""
        self._faults.clear()
        self._crash_at = None

    def crash(self, rng: Random) -> None:
        """The power goes: of what was not synced, each file keeps a prefix at best, its last part
        perhaps garbage.
        """
        self.heal()
        for path, each in self._leaving.items():
            if rng.randrange(0, 2):
                self._move_entries(path, each.target)
        self._leaving.clear()
        survivors: dict[str, _File] = {}
        for path in sorted(self._entries.keys() | self._files.keys()):
            durable, seen = self._entries.get(path), self._files.get(path)
            file = durable if seen is None or rng.randrange(0, 2) else seen
            if file is not None and (durable is not None or rng.randrange(0, 2)):
                survivors[path] = file
        contents = {path: _torn(file, rng) for path, file in survivors.items()}
        self._files = {path: _File(bytearray(data), data) for path, data in contents.items()}
        self._entries = dict(self._files)
        self._puts.clear()
        # Of directories only what is in them tells whether they were synced.
        kept = [each for each in sorted(self._directories) if rng.randrange(0, 2)]
        self._directories = {""}
        for path in (*kept, *(os.path.dirname(path) for path in self._files)):
            self._add_directories(path)

    def kill(self, rng: Random) -> None:
        """The process is killed and the machine goes on: all that was written stays, but for what
        waited for its sync to be put in its place; of what was discarded what pleases.
        """
        self.heal()
        self._puts.clear()
        for path, each in self._leaving.items():
            name = (path, each.target, None)[rng.randrange(0, 3)]
            if name is not None:
                self._add_directories(name)
                self._files.update((name + rest, file) for rest, file in each.files.items())
        self._leaving.clear()

    def flip(self, path: str, position: int) -> None:
        """Change one byte on the disk."""
        file = self._files[path]
        file.data[position] ^= 0xFF
        file.sync()

    # The door

    def read(self, path: str, position: int, length: int) -> memoryview:
        """Up to `length` bytes of `path` from `position`; shorter at the end of the file."""
        file = self._files.get(path)
        if file is None:
            raise StorageError(f"{path}: {os.strerror(errno.ENOENT)}")
        return memoryview(bytes(file.data[position : position + length]))

    def size(self, path: str) -> int | None:
        """Size of the file in bytes, None when it does not exist."""
        file = self._files.get(path)
        return None if file is None else len(file.data)

    def names(self, directory: str) -> list[str]:
        """Sorted names of the entries of `directory`; empty when it does not exist."""
        prefix = directory + "/" if directory else ""
        inside = (path for path in (*self._files, *self._directories) if path.startswith(prefix))
        return sorted({path[len(prefix) :].partition("/")[0] for path in inside} - {""})

    def space(self) -> Space:
        """A disk as large as `disk_bytes` says, less what the files take."""
        used = sum(len(file.data) for file in self._files.values())
        return Space("memory", self.disk_bytes, max(self.disk_bytes - used, 0))

    def perform(self, operations: Sequence[Operation]) -> set[str]:
        """Perform in order. The paths that now hold unsynced bytes."""
        unsynced: set[str] = set()
        for operation in operations:
            if not isinstance(operation, Settle | Place):
                self._count(operation.path)
            self._change(operation, unsynced)
        return {path for path in unsynced if path in self._files or path in self._puts}

    def sync(self, paths: Collection[str]) -> None:
        """Make the content of `paths` durable, and their names: those of what was put last, so that
        a crash before the end leaves any of them.
        """
        placed: list[str] = []
        for path in sorted(paths):
            self._count(path)
            if path in self._puts:
                self._files[self._puts[path]].sync()
                placed.append(path)
            else:
                self._sync(path)
        for path in placed:
            self._files[path] = self._files.pop(self._puts.pop(path))
        for directory in dict.fromkeys(os.path.dirname(path) for path in placed):
            self._count(directory)
            self._sync_directory(directory)

    def _count(self, path: str) -> None:
        if self._crash_at is not None and self.operations >= self._crash_at:
            raise Crashed(f"before operation {self.operations} on {path}")
        self.operations += 1
        for fault in self._faults:
            fault.check(path)

    def _change(self, operation: Operation, unsynced: set[str]) -> None:
        match operation:
            case Append(path, buffers):
                file = self._made(path)
                for buffer in buffers:
                    file.data += buffer
                unsynced.add(path)
            case Overwrite(path, position, data):
                file = self._made(path)
                file.data.extend(bytes(max(0, position - len(file.data))))
                file.data[position : position + len(data)] = data
                unsynced.add(path)
            case Replace(path, data):
                self._parent_must_exist(path)
                self._files.pop(self._puts.pop(path, ""), None)
                file = _File(bytearray(data), bytes(data))
                self._files[path] = file
                self._sync_directory(os.path.dirname(path))
                unsynced.discard(path)
            case Put(path, data):
                self._put(path, data)
                unsynced.add(path)
            case Place(paths):
                for path in paths:
                    self._place(path)
            case Sync(path):
                unsynced.add(path)
            case Truncate(path, size):
                file = self._made(path)
                del file.data[size:]
                file.data.extend(bytes(size - len(file.data)))
                unsynced.add(path)
            case Rename(path, target):
                self._rename(path, target, unsynced)
            case Remove(path):
                self._remove(path)
            case Discard(path, target):
                self._discard(path, target)
            case MakeDirectory(path):
                if path in self._leaving:
                    self._move_entries(path, self._leaving.pop(path).target)
                self._add_directories(path)
            case Flush(path):
                self._sync(path)
                unsynced.discard(path)
            case Settle():
                pass

    def _add_directories(self, path: str) -> None:
        while path:
            self._directories.add(path)
            path = os.path.dirname(path)

    def _made(self, path: str) -> _File:
        self._parent_must_exist(path)
        return self._files.setdefault(path, _File())

    def _parent_must_exist(self, path: str) -> None:
        if os.path.dirname(path) not in self._directories:
            raise StorageError(f"{path}: {os.strerror(errno.ENOENT)}")

    def _put(self, path: str, data: Buffer) -> None:
        self._parent_must_exist(path)
        self._files.pop(self._puts.pop(path, ""), None)
        source = self._puts[path] = f"{path}.{self.operations}.tmp"
        self._files[source] = _File(bytearray(data))

    def _place(self, path: str) -> None:
        around = inside(self._files, os.path.dirname(path))
        waiting = self._puts.values()
        if path in self._puts and any(self._files[e].data for e in around if e not in waiting):
            self._count(path)
            self._sync(path)

    def _sync(self, path: str) -> None:
        if path in self._puts:
            self._files[path] = self._files.pop(self._puts.pop(path))
        file = self._files.get(path)
        if file is not None:
            file.sync()
            if self._entries.get(path) is not file:
                self._sync_directory(os.path.dirname(path))

    def _sync_directory(self, directory: str) -> None:
        """Names that came and went before are durable now; contents are not."""
        prefix = directory + "/" if directory else ""
        start = len(prefix)
        for entries in (self._entries, self._files):
            for path in [p for p in entries if p.startswith(prefix) and "/" not in p[start:]]:
                if path in self._files:
                    self._entries[path] = self._files[path]
                else:
                    del self._entries[path]

    def _rename(self, path: str, target: str, unsynced: set[str]) -> None:
        self._place_inside(path)
        if path in self._directories and any(n.startswith(target + "/") for n in self._files):
            raise StorageError(f"{target}: {os.strerror(errno.ENOTEMPTY)}")
        moved = inside(self._files, path)
        if not moved and path not in self._directories:
            if target in self._files or target in self._directories:
                return
            raise StorageError(f"{path}: {os.strerror(errno.ENOENT)}")
        self._move_entries(path, target)
        for name in moved:
            renamed = target + name[len(path) :]
            self._files[renamed] = self._files.pop(name)
            if name in unsynced:
                unsynced.add(renamed)
        for directory in inside(self._directories, path):
            self._directories.discard(directory)
            self._directories.add(target + directory[len(path) :])
        for parent in {os.path.dirname(path), os.path.dirname(target)}:
            self._sync_directory(parent)

    def _move_entries(self, path: str, target: str) -> None:
        """What is in a directory goes with it, also what a crash may bring back."""
        for name in [name for name in self._entries if name.startswith(path + "/")]:
            self._entries[target + name[len(path) :]] = self._entries.pop(name)

    def _place_inside(self, path: str) -> None:
        """Content that waits for a sync moves along, or is removed along."""
        for name in inside(self._puts, path):
            self._files[name] = self._files.pop(self._puts.pop(name))

    def _discard(self, path: str, target: str) -> None:
        for name in inside(self._puts, path):
            del self._files[self._puts.pop(name)]
        files = {name[len(path) :]: self._files[name] for name in inside(self._files, path)}
        self._leaving[path] = _Leaving(target, files)
        self._remove(path)

    def _remove(self, path: str) -> None:
        """Not durable: a crash may bring it back."""
        self._place_inside(path)
        for name in inside(self._files, path):
            del self._files[name]
        # What a process that is no more was about to put: nobody waits for it.
        self._puts = {name: source for name, source in self._puts.items() if source != path}
        self._directories.difference_update(inside(self._directories, path))


@dataclass(frozen=True, slots=True)
class _Leaving:
    """A directory that was discarded: what it is to be called, and what is in it."""

    target: str
    files: dict[str, _File]


@dataclass(slots=True)
class _Fault:
    pattern: str
    code: int
    left: int

    def check(self, path: str) -> None:
        if not fnmatch(path, self.pattern):
            return
        if self.left > 0:
            self.left -= 1
            return
        raise refused(path, OSError(self.code, os.strerror(self.code)))


def _torn(file: _File, rng: Random) -> bytes:
    """What the disk has after a crash: the synced bytes, and of the rest as much as it pleases.

    All of it; in order up to some byte, perhaps with garbage at the end; or sector by sector in any
    order, so that later bytes are there and earlier ones are not.
    """
    durable, data = file.durable, bytes(file.data)
    if data == durable:
        return durable
    if len(data) < len(durable):
        # Cut without a sync: either state.
        return durable if rng.randrange(0, 2) else data
    if rng.randrange(0, 4) == 0:
        return data
    if not data.startswith(durable) or rng.randrange(0, 3) == 0:
        return _shuffled(durable, data, rng)
    kept = rng.randrange(len(durable), len(data) + 1)
    if kept > len(durable) and rng.randrange(0, 2):
        garbage = rng.randrange(max(len(durable), kept - SECTOR), kept)
        return data[:garbage] + rng.randbytes(kept - garbage)
    return data[:kept]


def _shuffled(durable: bytes, data: bytes, rng: Random) -> bytes:
    """Each sector that changed is old or new; behind the end old ones are zeros."""
    size = rng.randrange(len(durable), len(data) + 1)
    torn = bytearray(durable + bytes(size - len(durable)))
    for at in range(0, size, SECTOR):
        if rng.randrange(0, 2):
            torn[at : at + SECTOR] = data[at : min(at + SECTOR, size)]
    return bytes(torn)
