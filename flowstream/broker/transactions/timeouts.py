"""When the time of each open transaction is up. It must not know what happens then, nor the clock.

The ended ones leave their time in the heap behind; they are thrown out when they are the most (X3).
"""

from __future__ import annotations

import heapq

from flowstream.broker.types import Instant

SLACK = 64
"""Times of ended transactions that may lie around."""


class Timeouts:
    """A time for each open transactional id, the soonest first."""

    __slots__ = ("_due", "_heap")

    def __init__(self) -> None:
        """Nothing is open."""
        self._due: dict[str, Instant] = {}
        self._heap: list[tuple[Instant, str]] = []

    def __len__(self) -> int:
        """How many times are kept."""
        return len(self._heap)

    def set(self, name: str, due: Instant) -> None:
        """The time of `name` is up at `due`, whatever it was before."""
        self._due[name] = due
        heapq.heappush(self._heap, (due, name))
        if len(self._heap) > 2 * len(self._due) + SLACK:
            self._heap = [(at, each) for at, each in self._heap if self._due.get(each) == at]
            heapq.heapify(self._heap)

    def cancel(self, name: str) -> None:
        """`name` is open no more; not being so is fine."""
        self._due.pop(name, None)

    def is_over(self, name: str, now: Instant) -> bool:
        """Whether the time of `name`, which is open, is up."""
        return self._due[name] <= now

    @property
    def soonest(self) -> Instant | None:
        """When `take_due` is wanted next."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: Instant) -> str | None:
        """An id whose time is up, which is told once; None when there is none."""
        soonest = self.soonest
        if soonest is None or soonest > now:
            return None
        return heapq.heappop(self._heap)[1]
