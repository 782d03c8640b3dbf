"""What a unit keeps for its agent's operators: windows, joins, ids it has seen, events that wait.

Pure over the unit's table views.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from flowstream.processing.events.event import Arrival
from flowstream.processing.running.emitting import Emitting
from flowstream.processing.streams.deduping import Seen
from flowstream.processing.streams.joining import Entry, Side
from flowstream.processing.streams.lookups import Waiting
from flowstream.processing.streams.stream_joins import JoinedStreams
from flowstream.processing.streams.stream_windows import StreamWindows
from flowstream.processing.time.windowing import Span
from flowstream.state.table_view import TableView


class Keeping(Emitting):
    """The part of a feed that keeps."""

    __slots__ = ()

    @abstractmethod
    def view(self, table: str) -> TableView:
        """The unit's view of a table."""

    @abstractmethod
    def watermark(self, table: str) -> int:
        """Event time that is over in a table for this unit."""

    @abstractmethod
    def late(self, table: str) -> None:
        """Count a write past keeping; one in a while is told."""

    def fill(self, windows: StreamWindows, value: Any) -> list[Span]:
        """Add the value to its key's windows; the windows that it changed, none when it is late. It
        counts as late, too, when only some of its windows have closed.
        """
        record = self.record
        assert record is not None
        if record.key is None:
            raise ValueError("windows are per key, and the record has none: group_by one")
        at_ms, watermark_ms = record.timestamp, self.watermark(windows.table)
        view, windowing = self.view(windows.table), windows.windowing
        spans = windowing.add(view, record.key, at_ms, value, watermark_ms)
        if spans is None or windowing.is_cut(at_ms, watermark_ms):
            self.late(windows.table)
        if spans is None and windows.late == "dead_letter":
            self.late_letter(windows.table)
        return spans or []

    @property
    def seen(self) -> Seen | None:
        """What the agent's `dedupe` remembers."""
        return self.reader.agent.seen

    def is_new(self, seen: Seen, id: bytes) -> bool:
        """Whether an id was not seen before; remembers it in the unit."""
        return seen.is_new(self.view(seen.table), id, self._at_ms(), self.watermark(seen.table))

    def wait_for_table(self, waiting: Waiting) -> None:
        """Have the record wait for the table that it is joined with."""
        record = self.record
        assert record is not None
        if record.key is None or record.value is None:
            raise ValueError("an event finds its row by key, and needs a value")
        view = self.view(waiting.table)
        waiting.enter(view, record.key, record.timestamp, self._place_of(record), record.value)

    def meet(self, join: JoinedStreams, side: Side) -> list[Entry]:
        """Enter the record in a join; the events of the other side that it meets."""
        record = self.record
        assert record is not None
        if record.key is None or record.value is None:
            raise ValueError("events meet by key, and need a value: group_by a key before the join")
        met = join.join.meet(
            self.view(join.table), side, record.key, record.timestamp, record.value,
            self.watermark(join.table),
        )  # fmt: skip
        if met is None:
            self.late(join.table)
            if join.late == "dead_letter":
                self.late_letter(join.table)
        return met or []

    def _at_ms(self) -> int:
        assert self.record is not None
        return self.record.timestamp

    def _place_of(self, record: Arrival) -> int:
        """A number that no other record of the agent's topics and partition has."""
        topics = [topic.name for topic in self.reader.agent.topics]
        at = topics.index(record.topic) if record.topic in topics else 0
        return record.offset * max(len(topics), 1) + at
