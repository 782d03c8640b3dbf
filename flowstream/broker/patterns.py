"""Regular expressions that come from clients: RE2's syntax, as in Kafka, and RE2's promise that a
match takes linear time (X4: no pattern may hold up the others).

The only importer of `re2`, which is loaded with the first pattern.
"""

from __future__ import annotations

from collections.abc import Callable

MAX_LENGTH = 4096
"""Longer patterns are refused."""

MEMORY = 1 << 20
"""Bytes that a compiled pattern may take (X3)."""


class InvalidPattern(ValueError):
    """What the client sent is no regular expression of RE2, or too large a one."""


def full_match(pattern: str) -> Callable[[str], bool]:
    """Whether a whole text matches `pattern`. Raises InvalidPattern.

    >>> full_match("orders-.*")("orders-7")
    True
    >>> full_match("orders")("orders-7")
    False
    """
    import re2

    if len(pattern) > MAX_LENGTH:
        raise InvalidPattern(f"a pattern of {len(pattern)} characters, at most {MAX_LENGTH}")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MEMORY
    re2.purge()  # its cache of compiled patterns would be theirs to fill (X3)
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        raise InvalidPattern(str(error)) from None

    def matches(text: str) -> bool:
        return compiled.fullmatch(text) is not None

    return matches
