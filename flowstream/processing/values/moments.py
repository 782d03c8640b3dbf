"""Moments as people read them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime


def moment_text(at_ms: int) -> str | None:
    """A moment in ISO 8601, UTC; None for one before 1970 (no time) or after the year 9999.

    >>> moment_text(1_500), moment_text(-1), moment_text(10**17)
    ('1970-01-01T00:00:01.500Z', None, None)
    """
    if at_ms < 0:
        return None
    try:
        moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
