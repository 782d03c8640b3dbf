"""Spans of time as declarations give them. Pure."""

from __future__ import annotations

import datetime
import math

from flowstream.processing.errors import AppError

Seconds = float | datetime.timedelta
"""A span of time: seconds or a timedelta."""


def milliseconds(span: Seconds) -> int:
    """A span as whole milliseconds."""
    seconds: object = span.total_seconds() if isinstance(span, datetime.timedelta) else span
    if not isinstance(seconds, float | int) or not math.isfinite(seconds):
        raise AppError(f"a span of time is a number of seconds or a timedelta, not {span!r}")
    return round(seconds * 1000)
