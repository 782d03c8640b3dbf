"""Deadlines of one group, by what they are for. It must not know what happens when one comes, nor
the clock.

A heartbeat moves a deadline on many times before it comes, so moving one on costs a dict store and
no more: `soonest` is a lower bound, made exact when it is due.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

from flowstream.broker.types import Instant

K = TypeVar("K", bound=Hashable)


class Timers(Generic[K]):
    """Named deadlines. `soonest` is at or before the first of them; None when there is none."""

    __slots__ = ("_at", "_due", "soonest")

    def __init__(self) -> None:
        self._at: dict[K, Instant] = {}
        self._due: list[K] = []  # found due by the last look, the latest first
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
        """Remove and return a key that is due at `now`; None (and an exact `soonest`) when none is.
        What is due together comes in the order of its deadlines, for one look at all of them:
        thousands of members may go at once."""
        if self.soonest is None or self.soonest > now:
            return None
        while True:
            while self._due:
                key = self._due.pop()
                if key in self._at and self._at[key] <= now:
                    del self._at[key]
                    return key
            due = [key for key, at in self._at.items() if at <= now]
            if not due:
                self.soonest = min(self._at.values(), default=None)
                return None
            due.sort(key=self._at.__getitem__)
            self._due = due[::-1]


class Agenda:
    """Which group must be looked at when: the soonest deadline of each, in one heap. A look may
    come too early, never too late."""

    __slots__ = ("_armed", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[Instant, str]] = []
        self._armed: dict[str, Instant] = {}

    def arm(self, name: str, at: Instant | None) -> None:
        """Note when `name` must be looked at next, unless an earlier look is noted already."""
        armed = self._armed.get(name)
        if at is not None and (armed is None or at < armed):
            self._armed[name] = at
            heapq.heappush(self._heap, (at, name))

    @property
    def soonest(self) -> Instant | None:
        """When the next look is due."""
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: Instant) -> str | None:
        """Remove and return a name whose look is due; None when there is none."""
        if not self._heap or self._heap[0][0] > now:
            return None
        at, name = heapq.heappop(self._heap)
        if self._armed.get(name) == at:
            del self._armed[name]
        return name
