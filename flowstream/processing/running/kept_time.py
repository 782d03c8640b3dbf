"""What a task knows of its sources' time, kept with its commits beside the rows that come due.

Pure. What was late, final or due for one worker must be so for the next, also when the events that
moved the time wrote no row, as those that a filter drops.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from flowstream.processing.time.dues import MARKS_KEY, RecordedTime
from flowstream.processing.time.marks import Mark, Marks, decode_marks, encode_marks
from flowstream.processing.time.watermarks import UNKNOWN, EventClock

ITSELF = ""
"""Under this name a source that has no marks is kept, with its newest event time."""


def newest(kept: Iterable[Mapping[str, Mark]]) -> dict[str, Mark]:
    """Of each source what it marked last: which table keeps the marks is another for another app.

    >>> newest([{"a/0": Mark(5, False)}, {"a/0": Mark(7, True), "a/1": Mark(1, False)}])
    {'a/0': Mark(at_ms=7, idle=True), 'a/1': Mark(at_ms=1, idle=False)}
    """
    found: dict[str, Mark] = {}
    for marks in kept:
        for source, mark in marks.items():
            if source not in found or mark.at_ms > found[source].at_ms:
                found[source] = mark
    return found


class KeptTime:
    """The marks of repartition topics, and the newest event time of every other source."""

    def __init__(
        self,
        clock: EventClock,
        topics: Sequence[str],
        recorded: Iterable[RecordedTime],
        marked: Callable[[str], Collection[str]],
    ) -> None:
        """Tells the clock what was recorded beside the rows of tables. Sources are numbered as in
        `topics`.
        """
        self.marks: dict[str, Marks] = {}
        self._clock = clock
        self._tops: dict[int, tuple[str, int]] = {}
        tables = list(recorded)
        for index, topic in enumerate(topics):
            kept = [decode_marks(table.marks(topic)) for table in tables]
            if sources := marked(topic):
                found = self.marks[topic] = Marks(sources, newest(kept))
                clock.mark(index, found.bound.at_ms, idle=found.bound.idle)
            else:
                top = max((mark[ITSELF].at_ms for mark in kept if ITSELF in mark), default=UNKNOWN)
                clock.observe(index, top)
                self._tops[index] = (topic, top)

    def changed(self, *, with_tops: bool) -> dict[bytes, bytes]:
        """The rows of what has changed since it was last asked for."""
        rows: dict[bytes, bytes] = {}
        for topic, marks in self.marks.items():
            if marks.changed:
                marks.changed = False
                rows[MARKS_KEY + topic.encode()] = marks.encode()
        for index, (topic, before) in self._tops.items() if with_tops else ():
            top = self._clock.top_of(index)
            if top > before:
                self._tops[index] = (topic, top)
                rows[MARKS_KEY + topic.encode()] = encode_marks({ITSELF: Mark(top, idle=False)})
        return rows
