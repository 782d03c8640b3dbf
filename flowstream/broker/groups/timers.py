"""Deadlines of one group, by what they are for. It must not know what happens when one comes, nor
the clock.

A heartbeat moves a deadline on many times before it comes, so moving one on costs a dict store and
no more: `soonest` is a lower bound, made exact when it is due.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from flowstream.broker.types import Instant

K = TypeVar("K", bound=Hashable)


class Timers(Generic[K]):
    """Named deadlines. `soonest` is at or before the first of them; None when there is none."""

    __slots__ = ("_at", "soonest")

    def __init__(self) -> None:
        self._at: dict[K, Instant] = {}
        self.soonest: Instant | None = None

    def __contains__(self, key: K) -> bool:
        return key in self._at

    def set(self, key: K, at: Instant) -> None:
        """Let `key` be due at `at`, whatever it was before."""
        self._at[key] = at
        if self.soonest is None or at < self.soonest:
            self.soonest = at

    def cancel(self, key: K) -> None:
        """Forget `key`; not being set is fine."""
        self._at.pop(key, None)

    def take_due(self, now: Instant) -> K | None:
        """Remove and return the earliest key that is due at `now`; None (and an exact `soonest`)
        when none is."""
        if self.soonest is None or self.soonest > now:
            return None
        if not self._at:
            self.soonest = None
            return None
        first = min(self._at, key=self._at.__getitem__)
        self.soonest = self._at[first]
        if self.soonest > now:
            return None
        del self._at[first]
        return first
