"""The clock door: the only reader of time in production. Everything else takes `now` as an
argument.
"""

from __future__ import annotations

import time


def wall_ms() -> int:
    """Milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def monotonic_ms() -> int:
    """Milliseconds of a clock that never goes back, for durations and deadlines."""
    return time.monotonic_ns() // 1_000_000


monotonic_ns = time.monotonic_ns
"""The same clock in nanoseconds, without a call in between: it is read once per request."""
