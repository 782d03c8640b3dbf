"""Which topic names Kafka allows, and which two may not live side by side."""

from __future__ import annotations

import re
from collections.abc import Iterable

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


def collision(name: str, others: Iterable[str]) -> str | None:
    """The one of `others` that differs only in dots for underscores: metrics would clash."""
    folded = name.replace(".", "_")
    if "_" not in folded:
        return None
    return next((other for other in others if other.replace(".", "_") == folded), None)
