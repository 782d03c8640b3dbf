"""The lock of a data directory: one broker at a time. Knows the `.lock` file and nothing of what
else is in the directory.
"""

from __future__ import annotations

import fcntl
import os
from types import TracebackType

from flowstream.errors import StorageError

LOCK_FILE = ".lock"
TEXT_BYTES = 256


class DirectoryLocked(StorageError):
    """Another process uses the directory."""


class DirectoryLock:
    """An exclusive lock that ends with this process: children do not inherit it, a crash releases
    it.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """Take the lock of `root`, which must exist. Raises DirectoryLocked with the holder's
        process id when it tells.
        """
        path = os.path.join(root, LOCK_FILE)
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StorageError(
                f"{path}: {error.strerror}: name another directory with --data"
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Apache Kafka takes the other kind of lock on the same file: neither opens the
            # directory of the other.
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            who = _who(self._descriptor, "another process")
            os.close(self._descriptor)
            raise DirectoryLocked(
                f"{root} is in use by {who}: stop it, or give this one a directory of its own"
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def tell(self, address: str) -> None:
        """Write down for all who find the directory in use that a broker stays at `address`."""
        os.pwrite(self._descriptor, f"{os.getpid()}\n{address}\n".encode(), 0)

    def release(self) -> None:
        """Give the directory free; releasing twice is fine."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> DirectoryLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class VisitorLock:
    """Keeps brokers out of a directory while somebody looks at it; changes nothing in it.

    Many may look at one time. Without a `.lock` file no broker ever was there, and none is kept
    out.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """Raises DirectoryLocked while a broker, ours or Apache Kafka's, uses `root`."""
        path = os.path.join(root, LOCK_FILE)
        self._descriptor = -1
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.lockf(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            who = _who(self._descriptor, "a broker")
            self.release()
            raise DirectoryLocked(
                f"{root} is in use by {who}: stop it first, or look at a copy of the directory"
            ) from error

    def release(self) -> None:
        """Let brokers in again; releasing twice is fine."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def told_address(root: str | os.PathLike[str]) -> tuple[str, str] | None:
    """Process id and HOST:PORT of the broker that said it stays in `root`. It may be gone since:
    only who finds the directory locked, or the address answering, knows that it is there.
    """
    try:
        descriptor = os.open(os.path.join(root, LOCK_FILE), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        lines = _lines(descriptor)
    finally:
        os.close(descriptor)
    return (lines[0], lines[1]) if len(lines) == 2 and lines[0].isdigit() else None


def _lines(descriptor: int) -> list[str]:
    return os.pread(descriptor, TEXT_BYTES, 0).decode(errors="replace").split()


def _who(descriptor: int, unknown: str) -> str:
    lines = _lines(descriptor)
    if not lines or not lines[0].isdigit():
        return unknown
    return f"process {lines[0]}" + (f" (the broker at {lines[1]})" if lines[1:] else "")
