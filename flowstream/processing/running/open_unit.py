"""The open unit of an agent instance: what it sees of the task, and what becomes of it at its end.

The hot path: everything between two awaits is plain calls. Knows its task, its table views and
where completed effects go; not where records come from, nor the agent's policy.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from flowstream.processing.errors import TableElsewhere
from flowstream.processing.events.event import (
    Arrival,
    Mistimed,
    as_it_came,
    retimed,
    without_headers,
)
from flowstream.processing.events.event_time import no_time
from flowstream.processing.events.replies import reply_to
from flowstream.processing.running.keeping import Keeping
from flowstream.processing.running.plan import Reader, Stage
from flowstream.processing.running.surroundings import Shelf, Surroundings
from flowstream.processing.tables.table_changes import change_row
from flowstream.processing.time.dues import PREFIX
from flowstream.processing.time.marks import Mark
from flowstream.processing.time.watermarks import UNKNOWN
from flowstream.processing.units.task import Source, Task
from flowstream.processing.units.unit import Unit, size_of
from flowstream.state.table import Sealed
from flowstream.state.table_view import TableView


class OpenUnit(Keeping):
    """The part of a feed that has a unit open, and completes or drops it."""

    __slots__ = (
        "_all_marks", "_answers", "_append", "_came", "_changes", "_clock", "_dues", "_heading",
        "_held", "_held_top_ms", "_holding", "_mark", "_overs", "_shared", "_single", "_top_ms",
        "_view_list", "_watermarks", "_windowed", "index", "minds_time", "next_offset", "source",
        "task", "views",
    )  # fmt: skip

    def __init__(
        self,
        reader: Reader,
        index: int,
        task: Task,
        source: Source,
        shelf: Shelf,
        around: Surroundings,
    ) -> None:
        super().__init__(reader, around)
        self.index = index
        self.task = task
        self.source = source
        self.next_offset = source.position
        # Records of the open unit before `record`; only a `take` has any.
        self._held: list[Arrival] = []
        self._holding = False
        self._shared = source.is_shared
        self.views = {name: view(self) for name, view in shelf.views.items()}
        self._view_list = list(self.views.items())
        self._windowed = shelf.windowed
        self._dues = shelf.dues
        self._overs = [
            (self.views[name], due)
            for name, dues in shelf.dues.items()
            for due in dues
            if due.keeps_over and name in self.views
        ]
        is_body = reader.stage in (Stage.WHOLE, Stage.GROUPED)
        self._answers = is_body and not reader.agent.tells_time
        self._all_marks = shelf.marks
        self._came: Arrival | None = None
        self._mark: tuple[str, Mark] | None = None
        """The watermark that the open unit is, where it is one."""
        self._changes = shelf.changes
        self._clock = shelf.clock
        self.minds_time = shelf.minds_time
        self._watermarks = shelf.watermarks
        self._top_ms = self._held_top_ms = UNKNOWN
        # With one plain table there is nothing to gather before it is published.
        single = self._view_list[0] if len(self._view_list) == 1 else None
        watched = shelf.windowed.keys() | shelf.dues.keys()
        self._single = single[1] if single is not None and single[0] not in watched else None
        self._append = around.append
        self._heading = around.onlookers.heading

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.label})"

    # -- what tables and topics ask (see current.Current) ---------------------------------------

    @property
    def label(self) -> str:
        """Agent, topic and partition, for messages."""
        return f"agent {self.reader.agent.name!r} on {self.source.topic}-{self.source.partition}"

    @property
    def shares_source(self) -> bool:
        """Whether other agents read the same topic, in lockstep."""
        return self._shared

    @property
    def timestamp_ms(self) -> int:
        """Event time of the unit."""
        assert self.record is not None
        return self.record.timestamp

    def view(self, table: str) -> TableView:
        """The unit's view of a table."""
        try:
            return self.views[table]
        except KeyError:
            raise TableElsewhere(
                f"{self.label} reads a topic with {self.task.id.partitions} partitions but table"
                f" {table!r} has another number: re-key with group_by, or declare the table (one of"
                f" a topic: that topic) with partitions={self.task.id.partitions}"
            ) from None

    def stream_time_ms(self, table: str) -> int:
        """The greatest event time a windowed table has seen, the open unit included."""
        windowed = self._windowed.get(table)
        if windowed is None:
            seen = -1
        elif windowed.ahead:
            seen = windowed.seen_ms(self.reader.agent.name)
        else:
            seen = windowed.stream_time_ms
        return seen if self.record is None else max(seen, self.timestamp_ms)

    def watermark(self, table: str) -> int:
        """Event time that is over in a table for this unit."""
        watermark = self._watermarks.get(table)
        if watermark is None:
            return UNKNOWN
        top_ms = max(self._top_ms, self._held_top_ms) if self._held else self._top_ms
        return watermark.of_unit(self.source.index, top_ms)

    def wall_time_ms(self) -> int:
        """Now, by the clock door."""
        return self.around.wall_time_ms()

    # -- its event time -------------------------------------------------------------------------

    def retime(self, timestamp_ms: int) -> None:
        """The event time of the record just taken, where its value says it."""
        assert self.record is not None
        self.record = retimed(self.record, timestamp_ms)

    def show_at(self, timestamp_ms: int) -> None:
        """Another event time for what the agent makes of the record now (of a pair, the later)."""
        assert self.record is not None
        self._came = self._came or self.record
        self.record = retimed(self._came, timestamp_ms)

    def untime(self, *, held: bool) -> None:
        """The record cannot be read: it says nothing of time where its value would have, or where
        its own is none. `held`: it stays in the open unit, whose time is that of the others.
        """
        record, agent = self.record, self.reader.agent
        assert record is not None
        if self.source.is_inner:
            return
        if self.minds_time and no_time(record) is not None:
            at_ms = self._held[-1].timestamp if self._held else UNKNOWN
            self.record = Mistimed(as_it_came(record), at_ms)
        elif not held and agent.inner is None and agent.source_topic.event_ms is not None:
            self.record = retimed(record, UNKNOWN)

    def _as_it_came(self) -> None:
        """The record with its own event time again."""
        if self._came is not None:
            self.record, self._came = self._came, None

    def _hold_back(self) -> None:
        """The record stays in the open unit, before the one that begins."""
        self._as_it_came()
        assert self.record is not None
        at_ms = self.record.timestamp
        # Who is late is a matter of the events before it, not of how lists end.
        self._held_top_ms = max(self._held_top_ms, at_ms) if self._held else at_ms
        self._held.append(self.record)

    def _event_ms(self, record: Arrival) -> int:
        """The greatest event time of the unit."""
        held = [before.timestamp for before in self._held]
        self._top_ms = max(self._top_ms, record.timestamp, *held)
        return max(record.timestamp, *held) if held else record.timestamp

    # -- its end --------------------------------------------------------------------------------

    def complete(self) -> None:
        """The agent moved on: the unit merges, or waits for the offsets before it."""
        if self._came is not None:
            self._as_it_came()
        record = self.record
        if record is None:
            return
        if self._answers and (record.headers or self._held):
            if self._looks_for_replies((*self._held, record)):
                self.halt()
                return
            self._answer_with_nothing(record)
        if self._heading is not None:
            self._head(self._heading)
        if self._shared or self.task.pending:
            self._defer(self._seal(record), self._event_ms(record))
            self.outputs = []
        else:
            single = self._single
            if single is None:
                timed = self._windowed
                for part in self._seal(record):
                    part.partition.absorb(part)
                    if part.partition.name in timed:
                        timed[part.partition.name].observe(part.rows, record.timestamp)
            elif single.writes:
                single.publish()
            outputs = self.outputs
            if outputs:
                append = self._append
                for tp, key, value, timestamp_ms, headers in outputs:
                    append(tp, key, value, timestamp_ms, headers)
                outputs.clear()
            self.source.position = self.next_offset
            if self._clock is not None:
                self._tell_time(self.source, self._event_ms(record), self._mark)
        self._mark = None
        self.record = None
        if self._holding:
            self._held = []
            self._holding = False

    def drop(self) -> None:
        """The unit failed: forget its effects."""
        self.outputs = []
        self._replied.clear()
        for _, view in self._view_list:
            view.clear()
        self._held = []
        self._holding = False

    @abstractmethod
    def halt(self) -> None:
        """Take nothing more: the plan is made anew, and the open unit is done again after that."""

    def _looks_for_replies(self, records: Sequence[Arrival]) -> bool:
        """Whether one of these asks for a reply, and the plan is older than the topic of replies:
        both are made then, once, and all who ask wait for it. A topic that is not there after
        that, or is not ours, gets none.
        """
        around = self.around
        if around.reply_output(around.replies) is not None:
            return False
        if around.has_looked_for_replies and not around.is_outgrown:
            return False
        asked = [reply_to(record.headers) for record in records if record.headers]
        if not any(to is not None and to.topic == around.replies for to in asked):
            return False
        if not around.is_outgrown:
            around.plan_again()
        return True

    def _answer(self, records: Sequence[Arrival], error: BaseException) -> None:
        """Whoever asked with one of these records hears of the error."""
        last = self.record
        for record in records:
            if record.headers:
                self.record = record
                self.reply(None, error)
        self.record = last

    def _hush(self, records: Sequence[Arrival], *, timeless: bool) -> None:
        """Who asked with these records of the unit has been answered, or will be by another try. A
        time that no topic believes is to make no other event late.
        """
        quiet = [without_headers(r, UNKNOWN if timeless else r.timestamp) for r in records]
        self._held, self.record = quiet[:-1], quiet[-1]

    def _answer_with_nothing(self, record: Arrival) -> None:
        """Whoever asked with a record of this unit and has no reply yet."""
        for each in (*self._held, record):
            if each.headers:
                self.record = each
                self.reply(None)
        self.record = record
        self._replied.clear()

    def _head(self, heading: Callable[[Any], Any]) -> None:
        """Give the outputs more headers. RecordTooLarge when a topic does not take them then."""
        self.outputs = list(map(heading, self.outputs))
        for to, key, value, _, headers in self.outputs:
            if headers:
                self.around.output(to[0]).check(key, value, headers)

    def _seal(self, record: Arrival) -> list[Sealed]:
        """The unit's writes, encoded; every table or, when one does not encode, none."""
        for name, beside in self._changes.items():
            keys = [PREFIX + key for key in self.views[name].writes]
            changed = {key: change_row(record.timestamp) for key in keys}
            for changes in beside if changed else ():
                self.views[changes].writes.update(changed)
        for view, due in self._overs:
            if view.writes:
                due.keep_over(view, self.watermark(due.partition.name))
        dirty = [(name, view) for name, view in self._view_list if view.writes]
        sealed = [view.seal() for _, view in dirty]
        for name, view in dirty:
            for due in self._dues.get(name, ()):
                due.observe(view.writes, self.watermark(name))
        for _, view in self._view_list:
            view.clear()
        return sealed

    def _defer(self, sealed: Sequence[Sealed], at_ms: int) -> None:
        wrote_ms = self._put_off(sealed)
        outputs, tables = tuple(self.outputs), tuple(sealed)
        unit = Unit(
            self.source.index, self.next_offset, at_ms, outputs, tables, self._mark,
            wrote_ms=wrote_ms, size=size_of(outputs, tables),
        )  # fmt: skip
        self.task.defer(unit)
        self.source.done(self.index, self.next_offset)
        for unit in self.task.mergeable():
            self._merge(unit)
        if not self.task.pending:
            for _, view in self._view_list:
                view.partition.overlay.settle()

    def _put_off(self, sealed: Sequence[Sealed]) -> int:
        """Rows of a unit that may not commit yet can be read at once. Gives the event time at which
        they were written.
        """
        assert self.record is not None
        at_ms = self.record.timestamp
        for part in sealed:
            part.partition.defer(part)
            if part.partition.name in self._windowed:
                self._windowed[part.partition.name].defer(self.reader.agent.name, at_ms)
        return at_ms

    def _merge(self, unit: Unit) -> None:
        """A unit of the task that was deferred joins the open epoch."""
        timed = self._windowed
        for part in unit.tables:
            part.partition.merge(part)
            if part.partition.name in timed:
                timed[part.partition.name].observe(part.rows, unit.wrote_ms)
        for output in unit.outputs:
            self._append(*output)
        if self._clock is not None:
            self._tell_time(self.task.sources[unit.source], unit.at_ms, unit.mark)

    def _tell_time(self, source: Source, at_ms: int, mark: tuple[str, Mark] | None) -> None:
        """A unit may commit: its event time counts, or the watermark that it was (see `marks`)."""
        clock, marks = self._clock, self._all_marks.get(source.topic)
        if clock is None or source.is_inner:
            return
        if mark is None or marks is None:
            clock.observe(source.index, at_ms)
        elif marks.put(*mark):
            bound = marks.bound
            clock.mark(source.index, bound.at_ms, idle=bound.idle)
