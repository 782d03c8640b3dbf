"""All of a file system made durable with one call, where the system tells of every error (D2).

For hundreds of small files it is far cheaper than a sync of each; it waits for what others wrote to
the same file system, too.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

from flowstream.broker.storage.calls import named

if TYPE_CHECKING:
    import ctypes

LINUX_SINCE = (5, 17)
"""From 5.8 on syncfs tells that a file could not be written, from 5.17 on that the file system
could not commit."""

EXT, XFS, BTRFS, TMPFS = 0xEF53, 0x58465342, 0x9123683E, 0x01021994
TELLING = frozenset((EXT, XFS, BTRFS, TMPFS))
"""By the magic numbers of statfs(2). Of those that lie over others, as overlayfs does, an error
below may not be heard of."""


class WholeFileSystem:
    """The file system of one directory. Threads sync one at a time."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        """The directory stays open: what could not be written from here on is told of by the next
        sync.
        """
        self._directory = directory
        self._descriptor = self._device = -1
        self._failed: OSError | None = None
        with suppress(OSError):  # whoever reads or writes in it is told
            self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._device = os.fstat(self._descriptor).st_dev

    @cached_property
    def is_usable(self) -> bool:
        """Whether `sync` tells of every error here; else each file must be synced."""
        if not is_new_enough(sys.platform, os.uname().release):
            return False
        return file_system(self._library, self._descriptor) in TELLING and self._is_allowed

    def covers(self, directory: str) -> bool:
        """Whether `sync` reaches what is in this directory below: another file system may be
        mounted there, or a link lead to one. One that is not there will be in the one above it.
        """
        if not directory:
            return True
        try:
            return device_of(os.path.join(self._directory, directory)) == self._device
        except FileNotFoundError:
            return self.covers(os.path.dirname(directory))
        except OSError:
            return False  # whoever syncs a file in it is told

    def sync(self) -> None:
        """Whatever was written before is durable on return, names too. Raises StorageError, from
        then on each time: an error is told once, and whoever syncs next may be another (D2).
        """
        import ctypes

        with named("."):
            if self._failed is None and self._library.syncfs(self._descriptor):
                code = ctypes.get_errno()
                self._failed = OSError(code, os.strerror(code))
            if self._failed is not None:
                raise self._failed

    def close(self) -> None:
        """Let go of the directory; again is fine."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @cached_property
    def _library(self) -> ctypes.CDLL:
        """Loaded where it is needed: start-up time counts."""
        import ctypes

        return ctypes.CDLL(None, use_errno=True)

    @property
    def _is_allowed(self) -> bool:
        """Sandboxes may refuse the call whatever it is asked for."""
        import ctypes

        self._library.syncfs(-1)
        return ctypes.get_errno() == errno.EBADF


def device_of(directory: str) -> int:
    """Where the content of a directory is. Raises OSError."""
    return os.stat(directory).st_dev


def is_new_enough(platform: str, release: str) -> bool:
    """Whether this is a Linux whose syncfs tells of errors."""
    numbers = release.split(".", 2)[:2]
    if platform != "linux" or len(numbers) < 2 or not all(each.isdecimal() for each in numbers):
        return False
    return (int(numbers[0]), int(numbers[1])) >= LINUX_SINCE


def file_system(library: ctypes.CDLL, descriptor: int) -> int:
    """The magic number of an open file's file system: the first word of what statfs tells."""
    import ctypes

    told = (ctypes.c_ulong * 32)()
    return 0 if library.fstatfs(descriptor, told) else told[0]
