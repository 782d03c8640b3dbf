"""The feed of an agent instance: its queue of records, and which of them begins its next unit.

The hot path: everything between two awaits is plain calls. It must not know consumer, transaction
or the agent's policy.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from flowstream.processing.errors import AgentUnknown, LotFull
from flowstream.processing.events.dead_letters import TooLate
from flowstream.processing.events.event import Arrival, retimed, without_headers
from flowstream.processing.events.redriven import PassedBy
from flowstream.processing.running.open_unit import OpenUnit
from flowstream.processing.running.plan import Reader, Stage
from flowstream.processing.running.surroundings import Shelf, Surroundings
from flowstream.processing.tables.inner import Fired
from flowstream.processing.time.marks import Mark, mark_of
from flowstream.processing.time.watermarks import UNKNOWN
from flowstream.processing.units.task import Source, Task
from flowstream.state.table import Sealed


class UnitFeed(OpenUnit):
    """Records in, units out, for one agent on one partition."""

    __slots__ = (
        "_given", "_loop", "_marks", "_parking", "_sees_all", "_waiter", "closed", "peers", "ready",
        "take_is_over", "taken",
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
        super().__init__(reader, index, task, source, shelf, around)
        self.peers: Sequence[UnitFeed] = ()
        self.ready: deque[Arrival] = deque()
        self.closed = False
        self.take_is_over = False
        """Whether a `take` must end before what comes next."""
        is_body = reader.stage in (Stage.WHOLE, Stage.GROUPED)
        self._parking = reader.agent.parking if is_body and not source.is_inner else None
        self._marks = shelf.marks.get(source.topic) if not source.is_inner else None
        self._sees_all = reader.agent.sees_all
        self._waiter: asyncio.Future[None] | None = None
        self.taken = 0
        """Events begun so far; one that is tried again counts once."""
        self._given: set[int] = set()
        """Which of the open unit's events, by that count, are in lists that the agent got."""
        self._loop = asyncio.get_running_loop()

    @property
    def is_busy(self) -> bool:
        """True while the agent works on its unit, or pauses before it tries an event again."""
        return self._waiter is None and (self.record is not None or bool(self.ready))

    @property
    def busy_unit(self) -> int:
        """What tells this unit from those before it. May be asked by another thread."""
        return self.next_offset

    @property
    def busy_with(self) -> str:
        """What `is_busy` is about, for people. May be asked by another thread."""
        record = self.record
        if record is None:
            record = next(iter(self.ready.copy()), None)
        if isinstance(record, Fired):
            return f"key {record.key!r:.80}, due at {record.due_ms}"
        return "an event" if record is None else f"the event at offset {record.offset}"

    # -- what streams ask (see stream.Feed) -----------------------------------------------------

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
        task = self.task
        if task.pending and task.is_clogged:
            return None
        record = ready.popleft()
        if record.value is None or self._parking is not None:
            return self._first_from(record)
        self.record = record
        self.next_offset = record.offset + 1
        self.taken += 1
        return record

    def go_on(self) -> Arrival | None:
        """`advance`, for feeds whose next record is a matter of more than one queue."""
        if self.record is not None:
            self.complete()
        return self.take_ready()

    def take_ready(self) -> Arrival | None:
        """The next record if one may begin now."""
        record = self._pop()
        if record is None:
            return None
        if record.value is None or self._parking is not None:
            return self._first_from(record)
        return self._begin(record)

    def gave(self) -> None:
        """The agent gets what was made of the record, in a list (see `concerned`)."""
        if not self._holding:
            self._given.clear()
        self._given.add(self.taken)

    def concerned(self, records: Sequence[Arrival]) -> Sequence[Arrival]:
        """Those of the unit's records that the agent has got, or has failed on: what a `filter`
        kept from a list is not passed over with it.
        """
        first = self.taken - len(records) + 1
        return [each for n, each in enumerate(records, first) if n in self._given] or records

    async def arrival(self, deadline: float | None) -> Arrival | None:
        """Wait for the next record; None at the deadline."""
        is_over = False

        def end() -> None:
            nonlocal is_over
            is_over = True
            self.wake()

        # A timer may fire a hair before its time: it says itself that it did, no clock is asked.
        timer = None if deadline is None else self._loop.call_at(deadline, end)
        try:
            while True:
                if self.closed:
                    raise asyncio.CancelledError
                self._waiter = self._loop.create_future()
                await self._waiter
                record = self.take_ready()
                if record is not None or (self._holding and self.take_is_over):
                    return record
                if is_over:
                    return None
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def drop(self) -> None:
        """See `OpenUnit.drop`."""
        super().drop()
        self._given.clear()

    def halt(self) -> None:
        """See `OpenUnit.halt`; what is fed from here on is read again by whoever is next."""
        self.drop()
        self.record = None
        self.closed = True
        self.ready = deque(maxlen=0)

    def late(self, table: str) -> None:
        """See `Keeping.late`."""
        self.around.counts.late += 1
        if self.record is not None:
            line = TooLate(self.label, self.record.timestamp, table)
            now_s = self.around.wall_time_ms() / 1000
            self.reader.agent.lateness[table].warn(line, now_s, self._loop.call_later)

    def loop_time(self) -> float:
        """The event loop's clock."""
        return self._loop.time()

    # -- its queue ------------------------------------------------------------------------------

    def feed(self, records: Sequence[Arrival]) -> None:
        """Records arrived."""
        self.ready.extend(records)
        self.wake()

    def wake(self) -> None:
        """Something may have changed for a waiting stream."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _pop(self) -> Arrival | None:
        """The first record that waits, if its turn has come."""
        ready = self.ready
        if not ready or not self._may_take(ready[0].offset):
            return None
        return ready.popleft()

    def _begin(self, record: Arrival) -> Arrival:
        if self._holding:
            # Not before: a `take` that times out has its last record in the unit already.
            self._hold_back()
        self.record = record
        self.next_offset = record.offset + 1
        self.taken += 1
        return record

    def _first_from(self, record: Arrival) -> Arrival | None:
        """The record, or the first one behind it that is for the agent: watermarks are taken for
        what they say (see `marks`), what was sent back to others is theirs (see `redriven`), and
        the order of a key of which something is parked holds.
        """
        upcoming: Arrival | None = record
        while upcoming is not None:
            mark = None if self._marks is None or upcoming.value is not None else mark_of(upcoming)
            passed = upcoming if isinstance(upcoming, PassedBy) and not self._sees_all else None
            if mark is None and passed is None and not self._is_parked(upcoming):
                return self._begin(upcoming)
            if self._holding:
                self.ready.appendleft(upcoming)
                self.take_is_over = True
                return None
            if mark is not None:
                self._pass_mark(upcoming, mark)
            elif passed is not None:
                self._pass_by(passed)
            else:
                self._park_behind(upcoming)
            upcoming = self._pop()
        return None

    def _pass_mark(self, record: Arrival, mark: tuple[str, Mark]) -> None:
        self.record, self.next_offset = retimed(record, UNKNOWN), record.offset + 1
        self._mark = mark
        self.complete()

    def _pass_by(self, record: PassedBy) -> None:
        # Its event was here before, and so was its time. It stays what it is: when the letter
        # fails, the record may come again, and is no event then either.
        self.record, self.next_offset = replace(record, timestamp=UNKNOWN), record.offset + 1
        self.tell_lost(record)
        self.complete()

    def tell_lost(self, record: PassedBy) -> None:
        """A record that was sent back to an agent that is not there becomes a dead letter again."""
        whose = record.lost
        if whose is None:
            return
        why = (
            f"no agent of this name reads {record.topic!r}: if it has another name now,"
            f" `flowstream dlq redrive --to {whose.agent}=NAME`; if it is gone, discard the letter"
        )
        if any(peer.reader.agent.name == whose.agent for peer in self.peers or (self,)):
            why = f"it reads {record.topic!r} as both sides of a join, or not as this one"
            why += ": discard the letter"
        self.send_dead(record, AgentUnknown(f"it was sent back to {whose}, and {why}"))

    def _is_parked(self, record: Arrival) -> bool:
        parking = self._parking
        if parking is None or record.key is None:
            return False
        return parking.holds(self.views[parking.table], record.key)

    def _park_behind(self, record: Arrival) -> None:
        """Put a record behind those of its key that are parked."""
        parking = self._parking
        assert parking is not None
        view = self.views[parking.table]
        self.record = record
        if parking.has_room(view, record):
            parking.park(view, record, 0, 0)
        else:
            full = LotFull(f"too many events of key {record.key!r:.80} are parked")
            self.send_dead(record, full)
        # What waits has no effect yet, and says nothing of time (nor is it answered).
        self.record, self.next_offset = without_headers(record, UNKNOWN), record.offset + 1
        self.around.counts.parked += 1
        self.complete()

    # -- several agents on one topic: in lockstep -----------------------------------------------

    def _may_take(self, offset: int) -> bool:
        is_clogged = bool(self.task.pending) and self.task.is_clogged and not self._holding
        if not self._shared:
            return not is_clogged
        before = self.source.limit
        if is_clogged:
            # Steps of two topics may cut each other for ever, unless all come to rest once.
            self.source.cut(max(peer.next_offset for peer in self.peers))
            if offset >= self.source.limit:
                return False
        now = self._loop.time()
        allowed = self.source.may_take(self.index, offset, holding=self._holding, now=now)
        if self.source.limit != before:
            self._wake_peers()
        return allowed

    def _defer(self, sealed: Sequence[Sealed], at_ms: int) -> None:
        super()._defer(sealed, at_ms)
        if self._shared and self.source.is_step_over:
            self._wake_peers()

    def _wake_peers(self) -> None:
        for peer in self.peers:
            if peer is not self and peer.ready:
                peer.wake()
