"""A Storage whose sync makes many small writes durable with one sync: of a journal that holds them
once more, while the files themselves are synced later, in the background.

Lives here: which bytes go into the journal, and when its two files are written anew. What a frame
looks like and how recovery replays it is `log.journal`. It wraps the real disk and its twin alike.

What is in a living frame would be replayed into whatever has the name by then. So a file that is
removed, or has another name, is *ended*: the next frame says so, at the latest one that is written
before the name is used again. What takes a living file's place, or cuts it, comes after a sync of
that file and such a frame.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Container, Sequence
from concurrent.futures import Executor, Future
from threading import Lock

from flowstream.broker.doors import (
    Append,
    Flush,
    MakeDirectory,
    Operation,
    Overwrite,
    Place,
    Remove,
    Rename,
    Settle,
    Storage,
    Sync,
)
from flowstream.broker.log.journal import FILES, VOID, Piece, encode_frame
from flowstream.broker.log.removal import remove_durably
from flowstream.broker.storage.journal_file import (
    JournalFile,
    gives_up,
    is_in,
    names_of,
    removed_by,
)
from flowstream.broker.storage.paths import PathMap
from flowstream.broker.storage.reading import Reading

JOURNAL_BYTES = 8 << 20
"""Each of the two files is written anew from its beginning when it has this size."""

EXTENT = 256 << 10
"""A journal file grows by so much at a time; what is written into it again syncs no metadata."""

MOST_BYTES = 128 << 10
"""A group commit that wrote more syncs its files: their bytes would be written twice."""

MOST_PIECE = 32 << 10
"""A larger write goes to its file alone."""

FEWEST_FILES = 2
"""Fewer files than this are synced themselves."""


_HARMLESS = (Append, Flush, Place, Sync, Settle)
"""What leaves every name and the bytes below it where they are."""


class JournaledStorage(Reading):
    """`files` as a Storage with a journal. `perform` and the reads belong to the loop's thread;
    `sync` may run in another one meanwhile.
    """

    def __init__(
        self,
        files: Storage,
        journal: Storage,
        salt: bytes,
        *,
        background: Executor | None = None,
        journal_bytes: int = JOURNAL_BYTES,
        fewest_files: int = FEWEST_FILES,
    ) -> None:
        """`journal` reaches the same directory as `files`, from other threads; an earlier journal
        must have been replayed before the first sync. Without `background` files are synced when a
        journal file is full.
        """
        super().__init__(files)
        self._own = journal
        self._salt = salt
        self._background = background
        self._limit = journal_bytes
        self._fewest = fewest_files
        self._journal = Lock()
        """Held while frames are written. Taken before `_gathering`."""
        self._gathering = Lock()
        self._ends: PathMap[int | None] = PathMap()
        """Files all of whose bytes were durable at some moment, or gathered since, and where the
        next append goes, None when that was not asked yet.
        """
        self._pending: dict[str, bytearray] = {}
        """What was appended since the last sync took it."""
        self._pending_bytes = 0
        self._starts: dict[str, int] = {}
        """Where that begins."""
        self._direct: set[str] = set()
        """Files with other unsynced writes: they are synced themselves."""
        self._ended: dict[str, None] = {}
        """Names of living frames that are no more, and no frame says so yet."""
        self._changed: set[str] | None = None
        """Names that became another's while a sync was running."""
        self._active, self._other = (JournalFile(path) for path in FILES)
        self._number = self._floor = 1
        self._floor_written = 0

    # The door

    def perform(self, operations: Sequence[Operation]) -> set[str]:
        """Perform in order. The paths that now hold unsynced bytes."""
        unsynced: set[str] = set()
        ended: dict[str, None] = {}
        removed: set[str] = set()
        done = 0
        for at, operation in enumerate(operations):
            if isinstance(operation, Settle):
                self.sync(unsynced | self._perform(operations[done : at + 1], ended))
                self._retire()
                unsynced, ended, done = set(), {}, at + 1
                continue
            if not self._concerns(operation, ended):
                continue
            removed = removed or removed_by(operations)
            if gives_up(operation, removed):
                ended[operation.path] = None
                continue
            unsynced |= self._perform(operations[done:at], ended)
            done, ended = at, {}
            if self._make_way(operation) and isinstance(operation, Rename):
                ended[operation.path] = None
                # What was written to it before it moves.
                for path in [each for each in unsynced if is_in(each, operation.path)]:
                    unsynced.discard(path)
                    unsynced.add(operation.target + path[len(operation.path) :])
        return unsynced | self._perform(operations[done:], ended)

    def sync(self, paths: Collection[str]) -> None:
        """Make the content of `paths` durable: small appends through the journal when they are of
        several files, everything else in its file.
        """
        with self._journal:
            with self._gathering:
                pieces = self._take()
                direct, self._direct = self._direct, set()
                if len(pieces) < self._fewest:
                    direct.update(piece.path for piece in pieces)
                    pieces = []
                for piece in pieces:
                    self._active.files.add(piece.path, None)
                self._changed = set()
            direct.update(set(paths).difference(piece.path for piece in pieces))
            if direct:
                self._inner.sync(direct)
                self._synced(direct)
            if pieces or self._ended:
                self._write(pieces)

    def _synced(self, direct: set[str]) -> None:
        """These files are durable now, as far as they are the same."""
        there = [path for path in direct if self._inner.size(path) is not None]
        with self._gathering:
            changed = self._changed or ()
            for path in there:
                if path in self._direct or path in self._ends:
                    continue
                if path not in changed and os.path.dirname(path) not in changed:
                    self._ends.add(path, None)
            self._changed = None

    def _retire(self) -> None:
        """Leave no journal behind: what is in it is in the synced files."""
        with self._journal:
            if self._number == 1:
                return
            self._settle()
            for file in (self._other, self._active):
                if file.size:
                    self._own.perform(remove_durably([file.path]))
            self._active, self._other = (JournalFile(path) for path in FILES)
            self._number = self._floor = 1

    # Gathering

    def _perform(self, operations: Sequence[Operation], ended: dict[str, None]) -> set[str]:
        """Perform, after which the names in `ended` are no more."""
        with self._gathering:
            self._gather(operations)
            for operation in operations:
                if type(operation) not in _HARMLESS:
                    self._forget(operation)
            unsynced = self._inner.perform(operations)
            if ended:
                self._ended.update(ended)
            return unsynced

    def _gather(self, operations: Sequence[Operation]) -> None:
        """Keep copies of what is appended: the buffers are gone when the sync comes. Called for
        every write of the broker, so it is written to be cheap.
        """
        pending = self._pending
        for operation in operations:
            if not isinstance(operation, Append):
                continue
            path = operation.path
            gathered = pending.get(path)
            if gathered is None:
                gathered = self._begin(path)
                if gathered is None:
                    continue
            for buffer in operation.buffers:
                length = len(buffer)
                if length > MOST_PIECE:
                    self._leave_out(path)
                    break
                gathered += buffer
                self._pending_bytes += length
            if self._pending_bytes > MOST_BYTES:
                for other in list(pending):
                    self._leave_out(other)

    def _begin(self, path: str) -> bytearray | None:
        """Where to gather the bytes of a file; None when it must be synced itself."""
        if path in self._direct:
            return None
        if path not in self._ends:
            # What is before the append may not be durable, nor the name of a new file.
            self._direct.add(path)
            return None
        end = self._ends.values[path]
        self._starts[path] = (self._inner.size(path) or 0) if end is None else end
        gathered = self._pending[path] = bytearray()
        return gathered

    def _take(self) -> list[Piece]:
        """What was gathered."""
        pieces = []
        for path, data in self._pending.items():
            start = self._starts[path]
            self._ends.values[path] = start + len(data)
            if data:
                pieces.append(Piece(path, start, data))
        self._pending, self._pending_bytes = {}, 0
        return pieces

    def _leave_out(self, path: str) -> None:
        """The file has too much to write twice, or is another one."""
        self._ends.pop(path)
        self._direct.add(path)
        self._pending_bytes -= len(self._pending.pop(path, b""))

    def _forget(self, operation: Operation) -> None:
        """The file or directory is another one now."""
        for name in names_of(operation):
            if self._changed is not None:
                self._changed.add(name)
            for path in self._ends.inside(name):
                self._ends.pop(path)
            for path in [each for each in self._pending if is_in(each, name)]:
                self._leave_out(path)

    # Names that become another's

    def _concerns(self, operation: Operation, ended: Container[str] = ()) -> bool:
        """Whether a living frame speaks of what the operation changes; `ended`: names that are no
        more by then.
        """
        if type(operation) in _HARMLESS:
            return operation.path in self._ended or operation.path in ended
        with self._gathering:
            return any(
                name in self._ended or name in ended or self._living(name)
                for name in names_of(operation)
            )

    def _living(self, name: str) -> list[str]:
        return [*self._active.files.inside(name), *self._other.files.inside(name)]

    def _make_way(self, operation: Operation) -> bool:
        """Let the frames' bytes never come to what has the operation's names after it. Whether they
        speak of a file that moves, whose bytes must be in the file itself then.
        """
        name = operation.path
        if isinstance(operation, Rename):
            moves = self._concerns(Remove(operation.path))
            if moves:
                self._sync_living(operation.path)
            if self._concerns(Remove(operation.target)):
                self._end(operation.target)
            return moves
        if name in self._ended or not isinstance(operation, MakeDirectory):
            self._end(name)
        return False

    def _end(self, name: str) -> None:
        """Durably, before the name is used again. A file that still has it keeps its bytes."""
        with self._journal:
            self._sync_living(name)
            with self._gathering:
                self._ended[name] = None
            self._write(())

    def _sync_living(self, name: str) -> None:
        with self._gathering:
            paths = {path for path in self._living(name) if self._inner.size(path) is not None}
            paths.update(path for path in self._pending if is_in(path, name))
        if paths:
            self._inner.sync(paths)

    # The journal

    def _write(self, pieces: Sequence[Piece]) -> None:
        """One frame, durable on return."""
        drained = self._other.drained
        if drained is not None and drained.done():
            self._drained(drained)
        with self._gathering:
            ended = list(self._ended)
        # What was gathered is older than the end of its name, which may have come during the sync.
        pieces = [*pieces, *(Piece(name, VOID, b"") for name in ended)]
        frame = encode_frame(self._number, self._floor, self._salt, pieces)
        if self._active.end and self._active.end + len(frame) > self._limit:
            self._change_over()
            # The number is the same, the floor may have moved.
            frame = encode_frame(self._number, self._floor, self._salt, pieces)
        file = self._active
        end = file.end + len(frame)
        if end > file.size:
            file.size = end + -end % EXTENT
            frame += bytes(file.size - end)
        self._own.perform([Overwrite(file.path, file.end, frame)])
        self._own.sync((file.path,))
        file.end = end
        self._number += 1
        self._floor_written = self._floor
        with self._gathering:
            for piece in pieces:
                if piece.position != VOID:
                    file.files.add(piece.path, None)
            self._have_ended(ended)

    def _have_ended(self, names: Sequence[str]) -> None:
        """A frame says so."""
        for name in names:
            self._ended.pop(name, None)
            for file in (self._active, self._other):
                for path in file.files.inside(name):
                    file.files.pop(path)

    def _change_over(self) -> None:
        """Go on in the other file, whose frames must be dead, and known to be so from this one."""
        full = self._active
        if self._other.drained is not None:
            self._drained(self._other.drained)
        if self._floor_written < self._floor:
            self._write_empty()
        self._active, self._other = self._other, full
        self._active.end = 0
        self._active.first = self._number
        paths = sorted(full.files)
        if self._background is not None:
            full.drained = self._background.submit(self._drain, paths)
        else:
            self._drain(paths)
            full.drained = Future()
            full.drained.set_result(None)

    def _drain(self, paths: Sequence[str]) -> None:
        """One after the other: group commits go first."""
        for path in paths:
            self._inner.sync((path,))

    def _drained(self, drained: Future[None]) -> None:
        """The frames of the other file are dead. Raises StorageError when a sync failed (D2)."""
        drained.result()
        self._other.drained = None
        with self._gathering:
            self._other.files.clear()
        self._floor = self._active.first

    def _settle(self) -> None:
        """Sync every file; no frame lives afterwards, durably."""
        if self._other.drained is not None:
            self._drained(self._other.drained)
        if self._active.files:
            self._inner.sync(list(self._active.files))
            self._active.files.clear()
        self._floor = self._active.first = self._number
        self._write_empty()

    def _write_empty(self) -> None:
        """A frame that only tells the floor; there is always room for it."""
        limit, self._limit = self._limit, self._active.end + EXTENT
        self._write(())
        self._limit = limit
