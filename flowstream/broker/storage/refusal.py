"""What a disk's refusal means to who runs the broker: path, what the system says, remedy."""

from __future__ import annotations

import errno

from flowstream.errors import StorageError

_REMEDIES = {
    errno.ENOSPC: "the disk is full: free space or lower the topics' retention, then start again",
    errno.EDQUOT: "the disk quota is used up: raise it, then start again",
    errno.EROFS: "the file system is read-only: check the disk, then start again",
    errno.EACCES: "give the broker's user the right to read and write it",
    errno.EMFILE: "too many open files: raise the limit (ulimit -n)",
    errno.EIO: "the disk failed: check it before you start again",
}


def refused(path: str, error: OSError) -> StorageError:
    """The error that stops the node (D2)."""
    remedy = _REMEDIES.get(error.errno or 0)
    text = f"{path}: {error.strerror or error}"
    return StorageError(f"{text}; {remedy}" if remedy else text)
