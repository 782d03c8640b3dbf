"""Deleting files so that a power cut does not bring them back, and names for what is put away.
Decides; of the disk it only reads names.
"""

from __future__ import annotations

from collections.abc import Sequence

from flowstream.broker.doors import Operation, Remove, Rename, Storage
from flowstream.broker.log import names

NAME_MAX = 255
"""The longest name that file systems allow."""


def remove_durably(paths: Sequence[str]) -> list[Operation]:
    """Delete files of one directory; the last of `paths` must exist and goes last.

    A removal is durable when the directory is synced, and a rename syncs it.
    """
    if not paths:
        return []
    deleted = paths[-1] + names.DELETED
    return [*(Remove(path) for path in paths[:-1]), Rename(paths[-1], deleted), Remove(deleted)]


def free_name(storage: Storage, directory: str, kind: str, given: set[str]) -> str:
    """A name of its kind for a directory that no other one has, nor was `given` by this start."""
    count, name = 1, directory[: NAME_MAX - len(kind)] + kind
    while name in given or storage.names(name):
        count += 1
        suffix = f"-{count}{kind}"
        name = directory[: NAME_MAX - len(suffix)] + suffix
    given.add(name)
    return name
