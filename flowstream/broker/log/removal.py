"""Deleting files so that a power cut does not bring them back. Knows paths only."""

from __future__ import annotations

from collections.abc import Sequence

from flowstream.broker.doors import Operation, Remove, Rename
from flowstream.broker.log import names


def remove_durably(paths: Sequence[str]) -> list[Operation]:
    """Delete files of one directory; the last of `paths` must exist and goes last.

    A removal is durable when the directory is synced, and a rename syncs it.
    """
    if not paths:
        return []
    deleted = paths[-1] + names.DELETED
    return [*(Remove(path) for path in paths[:-1]), Rename(paths[-1], deleted), Remove(deleted)]
