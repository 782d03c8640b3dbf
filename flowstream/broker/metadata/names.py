"""Which topic names Kafka allows, and which two may not live side by side."""

from __future__ import annotations

import re

MAX_LENGTH = 249
_LEGAL = re.compile(r"[a-zA-Z0-9._-]+", re.ASCII)


def problem_with(name: str) -> str | None:
    """Why `name` is no topic name, as Kafka words it; None when it is one."""
    if not name:
        return "the empty string is not allowed"
    if name in (".", ".."):
        return f"'{name}' is not allowed"
    if len(name) > MAX_LENGTH:
        return f"the length of '{name}' is longer than the max allowed length {MAX_LENGTH}"
    if not _LEGAL.fullmatch(name):
        return (
            f"'{name}' contains one or more characters other than "
            "ASCII alphanumerics, '.', '_' and '-'"
        )
    return None


def folded(name: str) -> str:
    """What two topic names may not share: metrics write dots as underscores, so they would clash.

    >>> folded("a.b") == folded("a_b")
    True
    """
    return name.replace(".", "_")
