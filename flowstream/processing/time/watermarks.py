"""Event time of a task: how far each of its sources has come, and with that what is late or due.

Pure. A source's watermark is the greatest event time that it brought, less its bound of disorder
(Akidau et al., "The Dataflow Model", VLDB 2015). A table's is the least of the sources that its
rows come from, idle ones aside; it never goes back: what was recorded with a commit holds for
whoever comes after.
"""

from __future__ import annotations

from collections.abc import Sequence

UNKNOWN = -(2**62)
"""Before any event time that a record can have: nothing is late, nothing is due."""
FOREVER = 2**62
"""After any event time."""


class EventClock:
    """How far the sources of one task have come, in milliseconds.

    `disorder_ms` holds how far behind its newest event each source may bring others; `idle_ms`
    how long a source may be silent, with nothing waiting, before it holds nobody back any more.
    """

    __slots__ = ("_disorder", "_fed", "_idle_ms", "_silent", "_tops", "marked")

    def __init__(self, disorder_ms: Sequence[int], *, idle_ms: int, now_ms: int) -> None:
        self._disorder = tuple(disorder_ms)
        self._idle_ms = idle_ms
        self._tops = [UNKNOWN] * len(self._disorder)
        self.marked: set[int] = set()
        """Sources that go by marks (see `marks`)."""
        self._silent: set[int] = set()
        self._fed = [now_ms] * len(self._disorder)

    def fed(self, source: int, now_ms: int) -> None:
        """A source brought records, or has some waiting: it is not idle."""
        self._fed[source] = now_ms

    def is_idle(self, source: int, now_ms: int) -> bool:
        """Whether a source, or all that is behind its marks, has been silent for long."""
        if source in self.marked:
            # What nobody marks may be stuck on the other side of the topic.
            return source in self._silent
        return now_ms - self._fed[source] >= self._idle_ms

    def bound(self, source: int, at_ms: int) -> int:
        """The watermark of a source whose newest event is of that time."""
        return at_ms if at_ms == UNKNOWN else at_ms - self._disorder[source]

    def top_of(self, source: int) -> int:
        """The newest event time of a source, or the watermark of one that goes by marks."""
        return self._tops[source]

    def bound_of(self, source: int) -> int:
        """The watermark of a source."""
        top = self._tops[source]
        return top if source in self.marked else self.bound(source, top)

    def observe(self, source: int, at_ms: int) -> None:
        """A unit of this event time may commit."""
        if source not in self.marked and at_ms > self._tops[source]:
            self._tops[source] = at_ms

    def mark(self, source: int, bound_ms: int, *, idle: bool) -> None:
        """A source goes by marks: this is its watermark, and whether all behind it are idle."""
        self.marked.add(source)
        self._tops[source] = bound_ms
        if idle:
            self._silent.add(source)
        else:
            self._silent.discard(source)


class Watermark:
    """What is over for a table, by the sources that its rows come from.

    >>> clock = EventClock([0, 5], idle_ms=1_000, now_ms=0)
    >>> watermark = Watermark(clock, [0, 1])
    >>> clock.observe(0, 100); clock.observe(1, 50)
    >>> watermark.advance(now_ms=10)
    45
    """

    __slots__ = ("_clock", "_sources", "_value_ms")

    def __init__(self, clock: EventClock, sources: Sequence[int]) -> None:
        self._clock = clock
        self._sources = tuple(sources)
        self._value_ms = UNKNOWN

    def recall(self, watermark_ms: int) -> None:
        """A watermark that was recorded with a commit: it holds from now on."""
        self._value_ms = max(self._value_ms, watermark_ms)

    @property
    def _lone_source(self) -> int | None:
        """The source, when there is one that has no marks: nobody waits for another, and what is
        late depends on the order of its records alone, so that a replay decides the same.
        """
        if len(self._sources) != 1 or self._sources[0] in self._clock.marked:
            return None
        return self._sources[0]

    @property
    def value_ms(self) -> int:
        """Event time that is over."""
        lone = self._lone_source
        if lone is not None:
            self.recall(self._clock.bound_of(lone))
        return self._value_ms

    def of_unit(self, source: int, top_ms: int) -> int:
        """The same for a unit of an agent that has seen events up to `top_ms`: others that share
        its source may be behind, and what is late for it depends on none of them.
        """
        value = self.value_ms
        if source == self._lone_source:
            return max(value, self._clock.bound(source, top_ms))
        return value

    def advance(self, *, now_ms: int) -> int:
        """What is over now. A source that brought nothing yet holds it back until it is idle; when
        all are idle, nobody holds back the one that came farthest.
        """
        clock = self._clock
        active = [s for s in self._sources if not clock.is_idle(s, now_ms)]
        if active:
            self.recall(min(clock.bound_of(source) for source in active))
        else:
            self.recall(max(clock.bound_of(source) for source in self._sources))
        return self.value_ms
