"""The doors to the outside, as protocols only: disk and randomness. Time is an argument (`now`),
the network is events and effects.

Pure code may *read* through the door it was given; every change to the disk is a value (an
`Operation`) that a shell performs, so that the simulator can crash between any two of them. Paths
are relative to the data directory, with `/` as separator.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

Buffer = bytes | bytearray | memoryview


@dataclass(slots=True)
class Append:
    """Write `buffers` at the end of `path` (created when absent; without bytes in a new directory
    perhaps not before the sync). Durable only after the path was synced.
    """

    path: str
    buffers: Sequence[Buffer]


@dataclass(frozen=True, slots=True)
class Overwrite:
    """Write `data` at `position` of `path` (created when absent), over what is there. Durable only
    after the path was synced; until then each of its blocks may be old or new.
    """

    path: str
    position: int
    data: Buffer


@dataclass(frozen=True, slots=True)
class Replace:
    """Give `path` the content `data` atomically and durably: temporary file, fsync, rename, fsync
    of the directory (D1).
    """

    path: str
    data: Buffer


@dataclass(frozen=True, slots=True)
class Put:
    """Like Replace, but with the next sync of `path`: until then, and after a crash before it, the
    name stands for what it stood for. Many of them cost one sync.
    """

    path: str
    data: Buffer


@dataclass(frozen=True, slots=True)
class Place:
    """What was put to `paths`, and waits, is there before any later operation, durably; of those
    to whose directories anything was written.
    """

    paths: Sequence[str]
    path: str = ""


@dataclass(frozen=True, slots=True)
class Truncate:
    """Cut `path` to `size` bytes."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Rename:
    """Move `path` to `target` (file or directory), durably before any later operation; several
    directories in a row together.
    """

    path: str
    target: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete the file or the whole directory `path`; absent is fine. A directory may go later:
    its name must not be used again.
    """

    path: str


@dataclass(frozen=True, slots=True)
class Discard:
    """Delete the directory `path` at leisure: it is called `target` first, which nothing else is,
    before its own name is used again. Until then a crash may bring it back under either.
    """

    path: str
    target: str


@dataclass(frozen=True, slots=True)
class MakeDirectory:
    """Create the directory `path` (parents too); present is fine. It is there with what is written
    in it, and durable with what is synced in it.
    """

    path: str


@dataclass(frozen=True, slots=True)
class Flush:
    """Make `path` durable before any later operation is performed (segment roll, clean close)."""

    path: str


@dataclass(frozen=True, slots=True)
class Sync:
    """Let `path` be among what the next sync makes durable; absent is fine."""

    path: str


@dataclass(frozen=True, slots=True)
class Settle:
    """Before any later operation: what was synced is in its own file, no journal is there that
    holds it once more, and what was discarded has its other name.
    """

    path: str = ""


Operation = (
    Append
    | Overwrite
    | Replace
    | Put
    | Place
    | Truncate
    | Rename
    | Remove
    | Discard
    | MakeDirectory
    | Flush
    | Sync
    | Settle
)


class Space(NamedTuple):
    """Where a data directory is, and how large its disk is; -1 for what is not known."""

    directory: str
    total_bytes: int
    usable_bytes: int


class Storage(Protocol):
    """The disk. Reads may be called by pure code; `perform` and `sync` belong to the driver."""

    def read(self, path: str, position: int, length: int) -> memoryview:
        """Up to `length` bytes of `path` from `position`; shorter at the end of the file. Raises
        StorageError.
        """
        ...

    def size(self, path: str) -> int | None:
        """Size of the file in bytes, None when it does not exist."""
        ...

    def names(self, directory: str) -> list[str]:
        """Sorted names of the entries of `directory`, not recursive; empty when it is absent."""
        ...

    def space(self) -> Space:
        """The data directory and the size of its disk. Raises StorageError."""
        ...

    def perform(self, operations: Sequence[Operation]) -> set[str]:
        """Perform in order. Returns the paths that now hold unsynced bytes. Raises StorageError
        naming the path.
        """
        ...

    def sync(self, paths: Collection[str]) -> None:
        """Make the content of `paths` durable (fdatasync). Called off the loop. Raises
        StorageError; never retried (D2).
        """
        ...


class Random(Protocol):
    """Randomness: `random.Random` fits."""

    def randbytes(self, n: int, /) -> bytes:
        """`n` random bytes."""
        ...

    def randrange(self, start: int, stop: int, /) -> int:
        """A number in [start, stop)."""
        ...
