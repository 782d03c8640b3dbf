"""What an examination finds: how bad, where, what, and what to do about it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """Something that was durable is not what was written: the broker will refuse it, or data is
    missing."""
    WARNING = "warning"
    """The next start repairs it or puts it aside, and says so."""
    NOTE = "note"
    """Nothing is wrong; good to know."""


class Finding(NamedTuple):
    """One thing that was found. `position` is a byte of the file, `offset` one of the log."""

    severity: Severity
    path: str
    what: str
    remedy: str = ""
    position: int | None = None
    offset: int | None = None


def error(
    path: str, what: str, remedy: str, *, position: int | None = None, offset: int | None = None
) -> Finding:
    """A finding that cannot be left alone."""
    return Finding(Severity.ERROR, path, what, remedy, position, offset)


def warning(
    path: str,
    what: str,
    remedy: str = "",
    *,
    position: int | None = None,
    offset: int | None = None,
) -> Finding:
    """A finding that the next start takes care of."""
    return Finding(Severity.WARNING, path, what, remedy, position, offset)


def note(path: str, what: str) -> Finding:
    """Good to know."""
    return Finding(Severity.NOTE, path, what)
