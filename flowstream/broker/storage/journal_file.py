"""One of the two files of the journal as its writer knows it, and what an operation means to the
files that the frames speak of.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from flowstream.broker.doors import Discard, Operation, Remove, Rename
from flowstream.broker.storage.paths import PathMap


@dataclass(slots=True)
class JournalFile:
    """One journal file."""

    path: str
    end: int = 0
    size: int = 0
    first: int = 0
    """Number of the first living frame, once it was written anew."""
    files: PathMap[None] = field(default_factory=PathMap)
    """Files with bytes in its frames that may not have been synced since."""
    drained: Future[None] | None = None
    """Done when `files` are synced, for the file that is not being written."""


def names_of(operation: Operation) -> tuple[str, ...]:
    """What is another's after the operation, or was changed by it."""
    if isinstance(operation, Rename):
        return operation.path, operation.target
    return (operation.path,)


def is_in(path: str, name: str) -> bool:
    """Whether `path` is `name` or in the directory of that name."""
    return path == name or path.startswith(name + "/")


def removed_by(operations: Sequence[Operation]) -> set[str]:
    """What the operations remove."""
    return {each.path for each in operations if isinstance(each, Remove)}


def gives_up(operation: Operation, removed: set[str]) -> bool:
    """Whether nobody wants the bytes any more: they are `removed`, under another name perhaps."""
    if isinstance(operation, Rename):
        return operation.target in removed
    return isinstance(operation, Remove | Discard)
