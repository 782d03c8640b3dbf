"""The clock door: the only reader of time in production. Everything else takes `now` as an
argument.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_wall_ns: Callable[[], int] = time.time_ns
_monotonic_ns: Callable[[], int] = time.monotonic_ns


def wall_ms() -> int:
    """Milliseconds since the Unix epoch."""
    return _wall_ns() // 1_000_000


def monotonic_ms() -> int:
    """Milliseconds of a clock that never goes back, for durations and deadlines."""
    return _monotonic_ns() // 1_000_000


@contextmanager
def replaced(wall_ns: Callable[[], int], monotonic_ns: Callable[[], int]) -> Iterator[None]:
    """Read these clocks within the block: a test kit's virtual time. Never across an `await`."""
    global _wall_ns, _monotonic_ns
    before = _wall_ns, _monotonic_ns
    _wall_ns, _monotonic_ns = wall_ns, monotonic_ns
    try:
        yield
    finally:
        _wall_ns, _monotonic_ns = before


monotonic_ns = time.monotonic_ns
"""The same clock in nanoseconds, without a call in between: it is read once per request."""


class SteadyClock:
    """Wall time that never goes back: `now_ms` is what a broker's deadlines and timestamps use.

    A step forward is followed at once. After a step back it goes on at half speed until the wall
    clock has caught up, so that no deadline is lost in between (V1, T10).
    """

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._now = wall_ns()
        self._asked = monotonic_ns()

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, never less than before."""
        asked = self._monotonic_ns()
        self._now = max(self._wall_ns(), self._now + (asked - self._asked) // 2)
        self._asked = asked
        return self._now // 1_000_000
