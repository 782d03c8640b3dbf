"""The feed of an agent instance: its queue of records and its open unit.

The hot path: everything between two awaits is plain calls. Knows its task, its table views and
where completed effects go; it must not know consumer, transaction or the agent's policy.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Sequence

from flowstream.processing.errors import LotFull, PartitionMismatch
from flowstream.processing.event import Arrival, retimed, without_headers
from flowstream.processing.keeping import Keeping
from flowstream.processing.marks import Mark, mark_of
from flowstream.processing.plan import Reader, Stage
from flowstream.processing.surroundings import Shelf, Surroundings
from flowstream.processing.table_changes import PREFIX as CHANGED
from flowstream.processing.table_changes import change_row
from flowstream.processing.task import Source, Task
from flowstream.processing.unit import Unit
from flowstream.processing.watermarks import UNKNOWN
from flowstream.state.table import Sealed, TableView

log = logging.getLogger("flowstream.agent")

MOST_PENDING = 10_000
"""Units of a task that wait for a slow agent before its other sources wait, too."""
_COUNTER = itertools.count()


class UnitFeed(Keeping):
    """Records in, units out, for one agent on one partition."""

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
        self.peers: Sequence[UnitFeed] = ()
        self.ready: deque[Arrival] = deque()
        self.next_offset = source.position
        self.closed = False
        # Records of the open unit before `record`; only a `take` has any.
        self._held: list[Arrival] = []
        self._holding = False
        self.take_is_over = False
        """Whether a `take` must end before what comes next."""
        self._shared = source.is_shared
        self.views = {name: view(self) for name, view in shelf.views.items()}
        self._view_list = list(self.views.items())
        self._windowed = shelf.windowed
        self._dues = shelf.dues
        is_body = reader.stage in (Stage.WHOLE, Stage.GROUPED)
        self._parking = reader.agent.parking if is_body and not source.is_inner else None
        self._answers = is_body and not reader.agent.tells_time
        self._all_marks = shelf.marks
        self._marks = shelf.marks.get(source.topic) if not source.is_inner else None
        self._came: Arrival | None = None
        self._mark: tuple[str, Mark] | None = None
        """The watermark that the open unit is, where it is one."""
        self._changes = shelf.changes
        self._clock = shelf.clock
        self._watermarks = shelf.watermarks
        self._top_ms = UNKNOWN
        # With one plain table there is nothing to gather before it is published.
        single = self._view_list[0] if len(self._view_list) == 1 else None
        watched = shelf.windowed.keys() | shelf.dues.keys()
        self._single = single[1] if single is not None and single[0] not in watched else None
        self._append = around.append
        self._waiter: asyncio.Future[None] | None = None
        self._taken = 0
        self._loop = asyncio.get_running_loop()

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

    @property
    def is_busy(self) -> bool:
        """True while the agent works on its unit and does not wait for more of it."""
        return self.record is not None and self._waiter is None

    def view(self, table: str) -> TableView:
        """The unit's view of a table."""
        try:
            return self.views[table]
        except KeyError:
            raise PartitionMismatch(
                f"{self.label} reads a topic with {self.task.id.partitions} partitions but table"
                f" {table!r} has another number: re-key with group_by, or declare the table with"
                f" partitions={self.task.id.partitions}"
            ) from None

    def stream_time_ms(self, table: str) -> int:
        """The greatest event time a windowed table has seen, the open unit included."""
        windowed = self._windowed.get(table)
        seen = -1 if windowed is None else windowed.stream_time_ms
        return seen if self.record is None else max(seen, self.timestamp_ms)

    def watermark(self, table: str) -> int:
        """Event time that is over in a table for this unit."""
        watermark = self._watermarks.get(table)
        if watermark is None:
            return UNKNOWN
        return watermark.of_unit(self.source.index, self._top_ms)

    def wall_time_ms(self) -> int:
        """Now, by the clock door."""
        return self.around.wall_time_ms()

    # -- what streams ask (see stream.Feed) -----------------------------------------------------

    def complete(self) -> None:
        """The agent moved on: the unit merges, or waits for the offsets before it."""
        if self._came is not None:
            self._as_it_came()
        record = self.record
        if record is None:
            return
        if self._answers and (record.headers or self._held):
            self._answer_with_nothing(record)
        if self._shared or self.task.pending:
            self._defer(self._seal(record), self._event_ms(record))
            self.outputs = []
        else:
            single = self._single
            if single is None:
                for part in self._seal(record):
                    part.partition.absorb(part)
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

    def _answer_with_nothing(self, record: Arrival) -> None:
        """Whoever asked with a record of this unit and has no reply yet."""
        for each in (*self._held, record):
            if each.headers:
                self.record = each
                if not self.reply(None):
                    self.around.plan_again()
        self.record = record
        self._replied.clear()

    def _event_ms(self, record: Arrival) -> int:
        """The greatest event time of the unit."""
        held = [before.timestamp for before in self._held]
        self._top_ms = max(self._top_ms, record.timestamp, *held)
        return max(record.timestamp, *held) if held else record.timestamp

    def _seal(self, record: Arrival) -> list[Sealed]:
        """The unit's writes, encoded; every table or, when one does not encode, none."""
        for name, beside in self._changes.items():
            keys = [CHANGED + key for key in self.views[name].writes]
            changed = {key: change_row(record.timestamp, next(_COUNTER)) for key in keys}
            for changes in beside if changed else ():
                self.views[changes].writes.update(changed)
        dirty = [(name, view) for name, view in self._view_list if view.writes]
        sealed = [view.seal() for _, view in dirty]
        for name, view in dirty:
            if name in self._windowed:
                self._windowed[name].observe(view.writes, record.timestamp)
            for due in self._dues.get(name, ()):
                due.observe(view.writes, self.watermark(name))
        for _, view in self._view_list:
            view.clear()
        return sealed

    def _defer(self, sealed: Sequence[Sealed], at_ms: int) -> None:
        for part in sealed:
            part.partition.defer(part)
        outputs, tables = tuple(self.outputs), tuple(sealed)
        mark = self._mark
        self.task.defer(Unit(self.source.index, self.next_offset, at_ms, outputs, tables, mark))
        self.source.done(self.index, self.next_offset)
        for unit in self.task.mergeable():
            for part in unit.tables:
                part.partition.merge(part)
            for output in unit.outputs:
                self._append(*output)
            if self._clock is not None:
                self._tell_time(self.task.sources[unit.source], unit.at_ms, unit.mark)
        if not self.task.pending:
            for _, view in self._view_list:
                view.partition.overlay.settle()
        if self._shared and self.source.is_step_over:
            self._wake_peers()

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

    def _wake_peers(self) -> None:
        for peer in self.peers:
            if peer is not self and peer.ready:
                peer.wake()

    def hold(self) -> None:
        """Keep the open unit open over the next record, if one comes (see `take_ready`)."""
        self._holding = self.record is not None
        self.take_is_over = False

    def advance(self) -> Arrival | None:
        """Complete the open unit and begin the next record if one may begin now."""
        if self.record is not None:
            self.complete()
        ready = self.ready
        if self._shared or not ready:
            return self.take_ready()
        if len(self.task.pending) > MOST_PENDING:
            return None
        record = ready.popleft()
        if self._marks is not None and record.value is None:
            return self._unless_mark(record)
        if self._parking is not None:
            return self._unless_parked(record)
        self.record = record
        self.next_offset = record.offset + 1
        self._taken += 1
        return record

    def _unless_mark(self, record: Arrival) -> Arrival | None:
        """The record, or the first one behind watermarks, which are taken for what they say (see
        `marks`).
        """
        while (mark := mark_of(record)) is not None:
            if self._holding:
                self.ready.appendleft(record)
                self.take_is_over = True
                return None
            self.record, self.next_offset = retimed(record, UNKNOWN), record.offset + 1
            self._mark = mark
            self.complete()
            if not self.ready or (self._shared and not self._may_take(self.ready[0].offset)):
                return None
            record = self.ready.popleft()
        return self._begin(record)

    def _unless_parked(self, record: Arrival) -> Arrival | None:
        """The record, or the next one whose key has nothing parked: the order of a key holds."""
        parking = self._parking
        assert parking is not None
        view = self.views[parking.table]
        while record.key is not None and parking.holds(view, record.key):
            if self._holding:
                self.ready.appendleft(record)
                self.take_is_over = True
                return None
            self.record = record
            if parking.has_room(view, record):
                parking.park(view, record, 0, 0)
            else:
                self.send_dead(
                    record, LotFull(f"too many events of key {record.key!r:.80} are parked")
                )
            # What waits has no effect yet, and says nothing of time (nor is it answered).
            self.record, self.next_offset = without_headers(record, UNKNOWN), record.offset + 1
            self.around.counts.parked += 1
            self.complete()
            if not self.ready or (self._shared and not self._may_take(self.ready[0].offset)):
                return None
            record = self.ready.popleft()
        return self._begin(record)

    def _begin(self, record: Arrival) -> Arrival:
        if self._holding:
            # Not before: a `take` that times out has its last record in the unit already.
            assert self.record is not None
            self._held.append(self.record)
        self.record = record
        self.next_offset = record.offset + 1
        self._taken += 1
        return record

    def take_ready(self) -> Arrival | None:
        """The next record if one may begin now."""
        ready = self.ready
        if not ready or (self._shared and not self._may_take(ready[0].offset)):
            return None
        record = ready.popleft()
        if self._marks is not None and record.value is None:
            return self._unless_mark(record)
        return self._begin(record) if self._parking is None else self._unless_parked(record)

    def _may_take(self, offset: int) -> bool:
        before = self.source.limit
        now = self._loop.time()
        allowed = self.source.may_take(self.index, offset, holding=self._holding, now=now)
        if self.source.limit != before:
            self._wake_peers()
        return allowed

    async def arrival(self, deadline: float | None) -> Arrival | None:
        """Wait for the next record; None at the deadline."""
        timer = None if deadline is None else self._loop.call_at(deadline, self.wake)
        try:
            while True:
                if self.closed:
                    raise asyncio.CancelledError
                self._waiter = self._loop.create_future()
                await self._waiter
                record = self.take_ready()
                if record is not None or (self._holding and self.take_is_over):
                    return record
                if deadline is not None and self._loop.time() >= deadline:
                    return None
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def wake(self) -> None:
        """Something may have changed for a waiting stream."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def feed(self, records: Sequence[Arrival]) -> None:
        """Records arrived."""
        self.ready.extend(records)
        self.wake()

    def retime(self, timestamp_ms: int) -> None:
        """The event time of the record just taken, where its value says it."""
        assert self.record is not None
        self.record = retimed(self.record, timestamp_ms)

    def show_at(self, timestamp_ms: int) -> None:
        """Another event time for what the agent makes of the record now (of a pair, the later)."""
        assert self.record is not None
        self._came = self._came or self.record
        self.record = retimed(self._came, timestamp_ms)

    def _as_it_came(self) -> None:
        """The record with its own event time again."""
        if self._came is not None:
            self.record, self._came = self._came, None

    def loop_time(self) -> float:
        """The event loop's clock."""
        return self._loop.time()

    def drop(self) -> None:
        """The unit failed: forget its effects."""
        self.outputs = []
        self._replied.clear()
        for _, view in self._view_list:
            view.clear()
        self._held = []
        self._holding = False
