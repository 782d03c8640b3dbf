"""Regular expressions that come from clients: RE2's language and guarantees.

A pattern's matching time is linear in the text and its memory is bounded, so no pattern can hold
the broker up (X3). Kafka uses the same language (RE2/J).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol, cast

PATTERN_MEMORY_BYTES = 1 << 20
"""What one compiled pattern may use."""


class BadPattern(ValueError):
    """A pattern that RE2 does not take; the text says why."""


class Pattern(Protocol):
    """A compiled pattern."""

    def fullmatch(self, text: str) -> object | None:
        """A match of all of `text`, or None."""
        ...


@lru_cache(maxsize=64)
def compile_pattern(pattern: str) -> Pattern:
    """Compile `pattern`. Raises BadPattern."""
    import re2

    options = re2.Options()
    options.max_mem = PATTERN_MEMORY_BYTES
    options.log_errors = False
    try:
        return cast(Pattern, re2.compile(pattern, options))
    except re2.error as error:
        reason = error.args[0] if error.args else b""
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise BadPattern(text or "not a regular expression") from None
