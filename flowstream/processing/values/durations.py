"""Spans of time as declarations give them. Pure."""

from __future__ import annotations

import datetime
import math
from typing import cast

from flowstream.processing.errors import AppError

Seconds = float | datetime.timedelta
"""A span of time: seconds or a timedelta."""


def milliseconds(span: Seconds) -> int:
    """A span as whole milliseconds."""
    seconds: object = span.total_seconds() if isinstance(span, datetime.timedelta) else span
    is_number = isinstance(seconds, float | int) and not isinstance(seconds, bool)
    if not is_number or not math.isfinite(cast("float", seconds)):
        raise AppError(f"a span of time is a number of seconds or a timedelta, not {span!r}")
    return round(cast("float", seconds) * 1000)


def positive(what: str, span: Seconds) -> int:
    """A span as milliseconds, at least one."""
    ms = milliseconds(span)
    if ms <= 0:
        raise AppError(f"{what} must be at least one millisecond, not {span!r}")
    return ms


def not_negative(what: str, span: Seconds) -> int:
    """A span as milliseconds, at least none."""
    ms = milliseconds(span)
    if ms < 0:
        raise AppError(f"{what} must not be negative, not {span!r}")
    return ms
