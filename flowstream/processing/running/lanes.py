"""Lanes: instances of one agent that work on a partition side by side (`concurrency=`).

Shell. Each lane has a unit of its own; its tables are shared, so that a unit ends only if what it
has read still holds, and is done again if not. What may commit is decided in `prefix`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence, Set
from dataclasses import replace
from typing import cast

from flowstream.processing.errors import AppError, RowsContested
from flowstream.processing.events.event import Arrival
from flowstream.processing.running.instance import Instance
from flowstream.processing.running.plan import Reader
from flowstream.processing.running.surroundings import Shelf, Surroundings
from flowstream.processing.units.dispatching import NOTHING, Dispatcher
from flowstream.processing.units.prefix import PrefixTask
from flowstream.processing.units.task import Source
from flowstream.processing.units.unit import Row, Unit, size_of
from flowstream.state.table_view import TableView
from flowstream.state.witness import Witness

log = logging.getLogger("flowstream.agent")

ALONE_AFTER = 3
"""After so many conflicts in a row a unit is done while no other lane has one open."""
MOST_CONFLICTS = 20
"""After so many it fails: it is not the lanes that change its rows."""


class Lanes:
    """All lanes of an agent on one partition."""

    def __init__(
        self, reader: Reader, task: PrefixTask, source: Source, shelf: Shelf, around: Surroundings,
        kind: type[Lane],
    ) -> None:  # fmt: skip
        agent = reader.agent
        self.in_a_row = 0
        """Events that failed one after the other, whatever lane had them."""
        self._task = task
        self._source = source
        self._by_key = agent.order == "key"
        self._queue = Dispatcher(by_key=self._by_key)
        self._alone: deque[Instance] = deque()
        """Those whose unit wants to be the only one, the first of them has its turn."""
        self._beside: list[Instance] = []
        """Who works on the same rows, though on no records of the partition (see `parked`)."""
        task.spread(source.index)
        self.lanes = [
            kind(self, reader, task, source, shelf, around) for _ in range(agent.concurrency)
        ]

    def __len__(self) -> int:
        """Records that no lane has begun."""
        return len(self._queue) + sum(len(lane.ready) for lane in self.lanes)

    @property
    def has_turns(self) -> bool:
        """Whether records that waited for their key may begin: what is behind them waits for them,
        however much that is.
        """
        return bool(self._queue.turns)

    def waiting(self) -> tuple[int, int | None]:
        """Records that are here and not done, and the time of the oldest."""
        begun = [lane.record for lane in self.lanes if lane.record is not None]
        again = [lane.ready[0] for lane in self.lanes if lane.ready]
        first = min((*begun, *again), key=lambda each: each.offset, default=self._queue.first)
        return len(self) + len(begun), None if first is None else first.timestamp

    def feed(self, records: Sequence[Arrival]) -> None:
        """Records arrived."""
        self._task.fed(self._source.index, [record.offset for record in records])
        self._queue.feed(records)
        self._wake(len(self._queue))

    def merge(self, unit: Unit) -> None:
        """A unit of the task joins the open epoch."""
        self.lanes[0].merge(unit)

    def begin(self, keys: set[bytes], *, holding: bool) -> Arrival | None:
        """The next record for a lane that has these keys."""
        record = self._queue.next(keys if holding else NOTHING)
        if record is not None and record.key is not None and self._by_key:
            keys.add(record.key)
        return record

    def completed(self, lane: Lane, keys: set[bytes]) -> None:
        """A lane has finished its unit, and these keys."""
        self._queue.let_go(keys)
        if self._alone:
            self.has_ended(lane)
        elif self._queue.turns:
            self._wake(self._queue.turns)

    def has_ended(self, one: Instance) -> None:
        """A unit has ended for which others waited, or that was one of those waited for."""
        if self._alone and self._alone[0] is one:
            self._alone.popleft()
        for each in (*self.lanes, *self._beside):
            each.wake()

    def stepped_back(self) -> None:
        """A lane has no open unit any more, and none completed."""
        if self._alone:
            self._alone[0].wake()

    def join(self, one: Instance) -> None:
        """Somebody works on the same rows."""
        self._beside.append(one)

    def want_alone(self, one: Instance) -> None:
        """This unit is to be done while no other is open."""
        if one not in self._alone:
            self._alone.append(one)

    def may_begin(self, one: Instance) -> bool:
        """Whether somebody may go on with another record."""
        if not self._alone:
            return True
        return self._alone[0] is one and all(
            each.record is None for each in (*self.lanes, *self._beside) if each is not one
        )

    def _wake(self, most: int) -> None:
        for lane in self.lanes:
            if most and lane.is_waiting:
                lane.wake()
                most -= 1


class Checked(Instance):
    """An instance whose unit ends only if what it has read still holds."""

    _witnesses: list[tuple[str, Witness]]
    _refused: Set[str]
    _conflicts = 0

    def _witness(self, shelf: Shelf) -> None:
        """Its views were made of the shelf's witnesses."""
        self._witnesses = cast("list[tuple[str, Witness]]", self._view_list)
        self._refused = shelf.views.keys() - shelf.witnesses.keys()

    def view(self, table: str) -> TableView:
        """The unit's view of a table; AppError for what lanes cannot share."""
        if table in self._refused:
            raise AppError(
                f"{self.label} has concurrency={self.agent.concurrency}, and table {table!r} has"
                " windows, which close by the order of events: yield to a topic, and keep the"
                " windows in an agent on that topic"
            )
        return super().view(table)

    def _holds(self) -> bool:
        """Whether what the unit has read is still so."""
        return all(view.holds() for _, view in self._witnesses)

    def _step_back(self, records: Sequence[Arrival]) -> bool:
        """Others changed what the unit has read: it leaves no trace, and its events come again;
        True when this has happened so often that it wants to be alone.
        """
        if self._conflicts >= MOST_CONFLICTS:
            raise RowsContested(
                f"{self.label}: other agents changed rows that it had read {self._conflicts} times,"
                " each time while it awaited: let one agent own these rows, or have it send what"
                " it learned to a topic and write them in an agent there, without an await between"
            )
        self.drop()
        self.record = None
        self._give_back(records)
        self._conflicts += 1
        self.around.counts.conflicts += 1
        return self._conflicts >= ALONE_AFTER


class Lane(Checked):
    """One of the instances."""

    def __init__(
        self, lanes: Lanes, reader: Reader, task: PrefixTask, source: Source, shelf: Shelf,
        around: Surroundings,
    ) -> None:  # fmt: skip
        super().__init__(reader, 0, task, source, replace(shelf, views=shelf.witnesses), around)
        self._lanes = lanes
        self._locked: set[bytes] = set()
        """Keys that no other lane may have: of the open unit, and of what is to be done again."""
        self._gives_up = False
        self._witness(shelf)

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for a record."""
        return self._waiter is not None and not self._waiter.done()

    advance = Instance.go_on

    def _pop(self) -> Arrival | None:
        if self.closed or not self._lanes.may_begin(self):
            return None
        if self.ready:
            return self.ready.popleft()
        if self.task.is_clogged and not (self._holding or self._lanes.has_turns):
            return None  # but what is behind an open list waits for what fills it
        return self._lanes.begin(self._locked, holding=self._holding)

    def complete(self) -> None:
        """The agent moved on: the unit waits for the offsets before it, or is done again."""
        self._as_it_came()
        record = self.record
        if record is None:
            return
        if not self._holds():
            self._do_again()
            return
        if self._answers and (record.headers or self._held):
            if self._looks_for_replies((*self._held, record)):
                self.halt()
                return
            self._answer_with_nothing(record)
        if self._heading is not None:
            self._head(self._heading)
        offsets = tuple(each.offset for each in (*self._held, record))
        touched = self._touched()
        sealed, at_ms = self._seal(record), self._event_ms(record)
        if touched is not None:
            touched |= {(part.partition.name, row) for part in sealed for row in part.rows}
        wrote_ms = self._put_off(sealed)
        self.task.defer(
            Unit(
                self.source.index, self.next_offset, at_ms, tuple(self.outputs), tuple(sealed),
                None, tuple(sorted(offsets)), None if touched is None else frozenset(touched),
                wrote_ms, size_of(self.outputs, sealed),
            )
        )  # fmt: skip
        self.outputs, self.record, self._held, self._holding = [], None, [], False
        self._conflicts = 0
        if not self._gives_up:
            self._lanes.in_a_row = 0
        kept = {each.key for each in self.ready}
        done = {key for key in self._locked if key not in kept}
        self._locked -= done
        self._lanes.completed(self, done)

    def merge(self, unit: Unit) -> None:
        """A unit of the task joins the open epoch."""
        self._merge(unit)
        for part in unit.tables:
            part.partition.overlay.undefer(part.rows)

    def _touched(self) -> set[Row] | None:
        """The rows that the unit has read; None when it has walked over rows that are not there."""
        if any(view.walks for _, view in self._witnesses):
            return None
        return {(name, row) for name, view in self._witnesses for row in view.seen}

    def _do_again(self) -> None:
        if self._step_back(self.unit_records):
            self._lanes.want_alone(self)
        self._lanes.stepped_back()

    async def _failed(self, error: Exception) -> None:
        """As the policy says, unless it failed over rows that are not so any more."""
        contested = isinstance(error, RowsContested)
        if self.record is not None and not self.closed and not contested and not self._holds():
            self._as_it_came()
            self._do_again()
            return
        self._gives_up = True
        try:
            await super()._failed(error)
        finally:
            self._gives_up = False

    async def _retry(self, records: Sequence[Arrival], error: Exception, failures: int) -> None:
        self._lanes.stepped_back()
        await super()._retry(records, error, failures)

    def _everything_fails(self, records: Sequence[Arrival]) -> bool:
        del records
        self._lanes.in_a_row += 1
        return self.opens_circuit(self._lanes.in_a_row)
