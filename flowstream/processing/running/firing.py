"""An agent on an inner source: its feed gives rows that came due instead of records.

The unit that deals with a row takes it out of its table, so that it is fired exactly once: what did
not commit is due again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from flowstream.processing.errors import reason
from flowstream.processing.events.event import Arrival, Event, without_headers
from flowstream.processing.running.filling import ResultsSource
from flowstream.processing.running.instance import Instance
from flowstream.processing.running.plan import Reader
from flowstream.processing.running.regrouping import GroupedSource
from flowstream.processing.running.surroundings import Shelf, Surroundings
from flowstream.processing.streams.stream import SourceStream
from flowstream.processing.tables.inner import Fired, InnerSource
from flowstream.processing.time.dues import DuePartition
from flowstream.processing.time.watermarks import FOREVER, UNKNOWN
from flowstream.processing.units.task import Source, Task
from flowstream.processing.values.moments import moment_text
from flowstream.state.overlay import DELETED

log = logging.getLogger("flowstream.agent")

MOST_AT_ONCE = 500
"""Rows that one source fires between two turns of the worker: everything else gets its own."""


class InnerInstance(Instance):
    """One agent on one task's due rows."""

    def __init__(
        self,
        reader: Reader,
        inner: InnerSource[object, object],
        due: DuePartition,
        task: Task,
        source: Source,
        shelf: Shelf,
        around: Surroundings,
    ) -> None:
        super().__init__(reader, 0, task, source, shelf, around)
        self.rota: Sequence[InnerInstance] = ()
        """All instances of the task that fire by event time: by span, then as declared."""
        self._inner = inner
        self._due = due
        self._left = MOST_AT_ONCE
        self.was_cut_short = False
        """Whether more was due in the turn before than may be fired in one."""
        self._fired: list[Fired] = []
        """The rows of the open unit, as they were fired."""
        self._open_rows: set[bytes] = set()
        # What comes from here is no event of a source: it moves no watermark.
        self._clock = None

    @property
    def is_by_wall_clock(self) -> bool:
        """True when this is a matter of the worker's clock, not of event time."""
        return self._inner.by_wall_clock

    def watermark(self, table: str) -> int:
        """As for everyone; but just before the row's instant, as what else is due then may still
        get its effects.
        """
        record, watermark = self.record, self._watermarks.get(table)
        value = UNKNOWN if watermark is None else watermark.value_ms
        if not isinstance(record, Fired) or self.is_by_wall_clock or self._inner.at_once:
            return value
        if self._held and self._due.keeps_over and table == self._inner.table:
            # None of a list's own rows is over for it.
            return min(value, *(each.due_ms - 1 for each in self._fired))
        # Of what is due at the same instant, tables whose turn is over take nothing more.
        mine = self.rota.index(self) if self in self.rota else 0
        told = {each.judged for each in self.rota[:mine]} if self.rota else set()
        return min(value, record.due_ms if table in told else record.due_ms - 1)

    @property
    def judged(self) -> str:
        """The table whose late writes go by this source."""
        return self._inner.judges

    @property
    def span_ms(self) -> int:
        """See `InnerSource.span_ms`."""
        return self._inner.span_ms

    def refill(self) -> None:
        """A turn of the loop: so many rows may be fired in it."""
        self.was_cut_short = self._left <= 0
        self._left = MOST_AT_ONCE

    @property
    def busy_unit(self) -> int:
        """See `UnitFeed.busy_unit`: rows have no offsets."""
        return self.unit

    @property
    def pending_ms(self) -> int | None:
        """The instant of the first row that is not dealt with, due or not."""
        waiting = [
            r.due_ms for r in (*self._held, self.record, *self.ready) if isinstance(r, Fired)
        ]
        upcoming = self._due.agenda.next_ms
        return min((*waiting, *(() if upcoming is None else (upcoming,))), default=None)

    @property
    def is_due(self) -> bool:
        """True when something may be fired now."""
        first = self.pending_ms
        return first is not None and first <= self._until_ms()

    def _until_ms(self) -> int:
        if self.is_by_wall_clock:
            return self.around.wall_time_ms()
        if self._inner.at_once:
            return FOREVER
        watermark = self._watermarks.get(self._inner.table)
        return UNKNOWN if watermark is None else watermark.value_ms

    advance = Instance.go_on

    def take_ready(self) -> Arrival | None:
        """The next row that is due, if it is its turn."""
        if self.closed:
            return None
        if self._holding and self._inner is self.agent.parking:
            # Each parked event is tried, put off or given up alone.
            self.take_is_over = True
            return None
        if not self._holding and self._is_to_wait():
            return None
        record = self.ready.popleft() if self.ready else self._next()
        if record is None:
            return None
        assert isinstance(record, Fired)
        if self._holding:
            self._hold_back()
        else:
            self._fired.clear()
            self._open_rows.clear()
        self._fired.append(record)
        self._open_rows.add(record.row)
        self.record = record
        self.taken += 1
        return record

    def _is_to_wait(self) -> bool:
        """Whether there is no room for what a row gives; nobody waits for one."""
        return bool(self.task.pending) and self.task.is_clogged

    def _next(self) -> Fired | None:
        while (fired := self._fire()) is not None and fired.is_silent:
            if self._holding:
                self._due.agenda.put(fired.row, fired.due_ms)
                self.take_is_over = True
                return None
            self.record = fired
            self._fired[:] = [fired]
            self._open_rows = {fired.row}
            self.complete()
        return fired

    def _fire(self) -> Fired | None:
        until_ms, agenda = self._until_ms(), self._due.agenda
        while self._left > 0 and (first := agenda.next_ms) is not None and first <= until_ms:
            self._left -= 1
            if not self._is_my_turn(first):
                return None
            due_ms, row = agenda.pop(first) or (first, b"")
            if self._holding and (row in self._open_rows or self._due.is_taken(row)):
                # It stays until its unit is settled, and was written or moved meanwhile.
                agenda.put(row, due_ms)
                self.take_is_over = True
                return None
            fired = self._inner.fired(row, due_ms, self.views, self.task.id.number)
            if fired is not None:
                return fired
        return None

    def _is_my_turn(self, due_ms: int) -> bool:
        """In the order of instants over the whole task, and of the rota at equal ones: the result
        of one window may be an event of another.
        """
        before = True
        for other in self.rota:
            if other is self:
                before = False
                continue
            first = other.pending_ms
            if first is None or not other.is_due:
                # What is not due yet may be waiting for what this one gives.
                continue
            if first < due_ms or (before and first == due_ms):
                return False
        return True

    def complete(self) -> None:
        """The rows of this unit are dealt with."""
        if self.record is None:
            return
        done = self._fired = [self._as_it_is_named(each) for each in self._fired]
        for record in done:
            # What is on the agenda again was written since, though it may look the same: what tells
            # marks from each other is counted anew in each process.
            if record.mark is None or record.row not in self._due.agenda:
                self._inner.settle(record, self.views, self.around.wall_time_ms())
        super().complete()
        self._enter_again(done)
        for other in self.rota:
            if other is not self:
                other.wake()

    def _as_it_is_named(self, fired: Fired) -> Fired:
        row = self._due.settled_as(fired.row)
        return fired if row == fired.row else replace(fired, row=row)

    def _enter_again(self, done: Sequence[Fired]) -> None:
        """Rows that stay may be due once more, without having been written."""
        agenda, view = self._due.agenda, self.views[self._inner.table]
        for fired in done:
            if fired.row not in agenda and (value := view.get(fired.row)) is not DELETED:
                then = self._inner.then_ms(fired, value)
                if then is not None:
                    agenda.put(fired.row, then)

    def event(self) -> Event[object]:
        """What fired, as the agent sees it."""
        found, shape = super().event(), self._inner.shape
        return found if shape is None else replace(found, value=shape(self.record, found.value))

    def _stream(self) -> SourceStream[object]:
        inner = self._inner
        self._keys, self._values = inner.key_codec, inner.value_codec
        if inner is self.agent.parking:
            event_ms = self.agent.source_topic.event_ms if self.agent.group is None else None
            again: SourceStream[object] = SourceStream(
                self, inner.key_codec, inner.value_codec, self._timed(event_ms)
            )
            return again if self.agent.group is None else GroupedSource(again)
        of = SourceStream if self.agent.inner is not None else ResultsSource
        return of(self, inner.key_codec, inner.value_codec, inner.shape)

    async def _failed(self, error: Exception) -> None:
        """As the policy says; a parked event that fails again is put off, or given up."""
        parking, record = self.agent.parking, self._fired[-1] if self._fired else None
        policy = self.agent.policy
        is_over = self.closed or policy.action_on(error) in ("stop", "pass_over")
        if is_over or parking is not self._inner or record is None or self.record is None:
            await super()._failed(error)
            return
        view = self.views[parking.table]
        self.drop()
        failures = parking.failures(view, record.row) + 1
        if policy.is_spent(failures):
            if policy.then == "stop":
                await self._stop(error, f"failed {failures} times at {self._at()}")
            if record.headers:
                self.reply(None, error)
            self.pass_over([record], error, policy.then)
            self.complete()
            return
        pause_s = policy.pause_s(failures, self.around.settings.retry_backoff)
        parking.put_off(view, record.row, self.around.wall_time_ms() + round(pause_s * 1000))
        self.around.counts.retried += 1
        log.warning("%s stays parked (%d): %s", self._where(), failures, reason(error))
        self._as_it_came()
        # Whoever asked with it is answered by the try that ends it.
        self.record = without_headers(self.record, self.record.timestamp)
        self.complete_as_it_is()

    def _give_back(self, records: Sequence[Arrival]) -> None:
        """See `Instance._give_back`: rows are read anew, as others may have changed them."""
        self.taken -= len(records)
        self._given_back += len(records)
        for fired in records:
            if isinstance(fired, Fired):
                self._due.give_back(fired.row, fired.due_ms)

    def complete_as_it_is(self) -> None:
        """End the unit without settling its rows."""
        super().complete()
        self.record = None

    def _at(self) -> str:
        record = self._fired[-1]
        at = moment_text(record.due_ms) or f"{record.due_ms} ms"
        return f"key {record.key!r:.80} due at {at}"
