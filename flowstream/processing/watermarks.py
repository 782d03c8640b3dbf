"""Event time of a task: how far each of its sources has come, and with that what is late or due.

Pure. A source's watermark is the greatest event time that it brought, less its bound of disorder
(Akidau et al., "The Dataflow Model", VLDB 2015); the task's is the least of those that are not
idle. It never goes back: what was recorded with a commit holds for whoever comes after.
"""

from __future__ import annotations

from collections.abc import Sequence

UNKNOWN = -(2**62)
"""Before any event time that a record can have: nothing is late, nothing is due."""
FOREVER = 2**62
"""After any event time."""


class EventClock:
    """The watermarks of one task's sources, in milliseconds.

    `disorder_ms` holds how far behind its newest event each source may bring others; `idle_ms`
    how long a source may be silent, with nothing waiting, before it holds nobody back any more.

    >>> clock = EventClock([0, 5], idle_ms=1_000, now_ms=0)
    >>> clock.observe(0, 100); clock.observe(1, 50)
    >>> clock.advance(now_ms=10)
    45
    """

    __slots__ = ("_disorder", "_fed", "_idle_ms", "_marked", "_tops", "watermark_ms")

    def __init__(self, disorder_ms: Sequence[int], *, idle_ms: int, now_ms: int) -> None:
        self._disorder = tuple(disorder_ms)
        self._idle_ms = idle_ms
        self._tops = [UNKNOWN] * len(self._disorder)
        self._marked: set[int] = set()
        self._fed = [now_ms] * len(self._disorder)
        self.watermark_ms = UNKNOWN

    @property
    def is_alone(self) -> bool:
        """True with one source that has no marks: nobody waits for another, and what is late
        depends on the order of its records alone, so that a replay decides the same.
        """
        return len(self._tops) == 1 and not self._marked

    def recall(self, watermark_ms: int) -> None:
        """A watermark that was recorded with a commit: it holds from now on."""
        self.watermark_ms = max(self.watermark_ms, watermark_ms)

    def fed(self, source: int, now_ms: int) -> None:
        """A source brought records, or has some waiting: it is not idle."""
        self._fed[source] = now_ms

    def is_idle(self, source: int, now_ms: int) -> bool:
        """Whether a source has been silent for long."""
        return now_ms - self._fed[source] >= self._idle_ms

    def bound(self, source: int, at_ms: int) -> int:
        """The watermark of a source whose newest event is of that time."""
        return at_ms if at_ms == UNKNOWN else at_ms - self._disorder[source]

    def bound_of(self, source: int) -> int:
        """The watermark of a source."""
        top = self._tops[source]
        return top if source in self._marked else self.bound(source, top)

    def observe(self, source: int, at_ms: int) -> None:
        """A unit of this event time may commit."""
        if source not in self._marked and at_ms > self._tops[source]:
            self._tops[source] = at_ms
            if self.is_alone:
                self.recall(self.bound(source, at_ms))

    def mark(self, source: int, bound_ms: int) -> None:
        """A source goes by marks: this is its watermark, FOREVER when all behind it are idle."""
        self._marked.add(source)
        self._tops[source] = bound_ms

    def advance(self, *, now_ms: int) -> int:
        """The watermark now. A source that brought nothing yet holds it back until it is idle."""
        bounds = [
            self.bound_of(source)
            for source in range(len(self._tops))
            if not self.is_idle(source, now_ms)
        ]
        active = [bound for bound in bounds if bound != FOREVER]
        if active:
            self.recall(min(active))
        return self.watermark_ms
