"""The disk of a running broker: files, and under durability `fsync` the journal before them. Knows
which parts belong together and nothing of what they hold.
"""

from __future__ import annotations

import os
import resource
import secrets
import sys
from collections.abc import Callable

from flowstream.broker.doors import Storage
from flowstream.broker.log.journal import SALT_BYTES
from flowstream.broker.storage.files import FileStorage
from flowstream.broker.storage.jobs import Background
from flowstream.broker.storage.journaled import JournaledStorage

MOST_OPEN_FILES = 16_384
FEWEST_OPEN_FILES = 32
RESERVED = 64
"""Descriptors that are neither: the journal, checkpoints, the event loop, threads at work."""


def open_files() -> int:
    """How many descriptors the partitions' files may keep: half of the process's, the other half is
    for connections. A partition whose file was closed meanwhile costs a third more per append.
    """
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return MOST_OPEN_FILES
    return max(FEWEST_OPEN_FILES, min(allowed // 2, MOST_OPEN_FILES))


def open_connections() -> int:
    """How many connections there may be: with more of them no log could open its files."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(1, allowed - open_files() - RESERVED)


class Disk:
    """The files of a data directory; under durability `fsync` with the journal before them."""

    def __init__(self, data: str | os.PathLike[str], *, fsync: bool) -> None:
        """`data` must exist, and be locked by this process."""
        self._watcher: Callable[[BaseException], None] | None = None
        self._removing = Background("flowstream-remove", self._failed)
        self._files = FileStorage(
            data, open_files=open_files(), background=self._removing, places=not fsync
        )
        self._journaled: JournaledStorage | None = None
        if fsync:
            # The journal is written by other threads: it has descriptors of its own.
            self._journal = FileStorage(data)
            self._background = Background("flowstream-drain", self._failed)
            self._journaled = JournaledStorage(
                self._files,
                self._journal,
                secrets.token_bytes(SALT_BYTES),
                background=self._background,
            )

    @property
    def door(self) -> Storage:
        """What the broker reads and writes through."""
        return self._journaled or self._files

    def watch(self, failed: Callable[[BaseException], None]) -> None:
        """Have `failed` called, in any thread, when what is done in the background is refused."""
        self._watcher = failed

    def _failed(self, error: BaseException) -> None:
        if self._watcher is not None:
            self._watcher(error)

    def close(self) -> None:
        """Close every descriptor. Directories that still wait for their deletion are deleted by the
        next start.
        """
        self._removing.shutdown(wait=False, cancel_futures=True)
        if self._journaled is not None:
            self._background.shutdown()
            self._journal.close()
        self._files.close()
