"""What becomes of an event that fails: by the agent's error policy it is tried again, passed over,
put aside, or ends the worker.

Knows the open unit and its feed; it must not know how the agent's function runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from flowstream.processing.agents.agent import Agent
from flowstream.processing.errors import (
    AgentFailed,
    AppExited,
    DecodeError,
    RecordMistimed,
    reason,
    text_of,
)
from flowstream.processing.events.event import Arrival, as_it_came
from flowstream.processing.running.feed import UnitFeed
from flowstream.processing.running.plan import Reader
from flowstream.processing.running.surroundings import Shelf, Surroundings
from flowstream.processing.units.task import Source, Task

log = logging.getLogger("flowstream.agent")


class Failing(UnitFeed):
    """The part of an instance that deals with failed events."""

    __slots__ = ("_failed_at", "_failures", "_given_back", "_in_a_row", "agent")

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
        self.agent: Agent[Any] = reader.agent
        self._failures: tuple[object, int] = (None, 0)
        self._failed_at = self._in_a_row = self._given_back = 0

    async def _failed(self, error: Exception) -> None:
        """The body raised: drop the unit and do what the agent's policy says."""
        if self.closed:
            return
        if self.record is None:
            await self._stop(error, "failed outside an event")
            return
        self._as_it_came()
        records = [*self._held, self.record]
        policy, action = self.agent.policy, self.agent.policy.action_on(error)
        if action == "park" and (self.record.key is None or self._parking is None):
            action = policy.then
        failures = self._count(records)
        if action == "retry" and policy.is_spent(failures):
            action = policy.then
        is_fault = action not in ("stop", "pass_over")
        if action == "retry" or (is_fault and self._everything_fails(records)):
            await self._retry(records, error, failures)
            return
        if action == "stop":
            await self._stop(error, f"failed at {self._at()}")
            return
        if failures > 1:
            log.warning(
                "%s failed %d times: no more tries", self._where(), failures, exc_info=error
            )
        concerned = self.concerned(records)
        self.drop()
        # What is passed over is all of the unit: each record's offset, time and asker count.
        self._held, self._holding = records[:-1], len(records) > 1
        self.record, self.next_offset = records[-1], records[-1].offset + 1
        if action != "park" and self._looks_for_replies(records):
            self.halt()
            return
        if action == "park":
            self._park(concerned, error)
        else:
            self._answer(concerned, error)
            self.pass_over(concerned, error, action)
        is_mistimed = isinstance(error, RecordMistimed)
        if action == "park" or is_mistimed:
            self._hush(records, timeless=is_mistimed)
        self.complete()

    def _everything_fails(self, records: Sequence[Arrival]) -> bool:
        """Whether so many events failed one after the other that it cannot be the events: pass over
        no more of them, but try the same one until it goes well (a circuit breaker).
        """
        if self._failed_at != self.taken:  # else it is the same one once more
            before, self._failed_at = self._failed_at, self.taken
        else:
            before = self._failed_at - len(records)
        if self.taken - before > len(records):
            self._in_a_row = 0
        self._in_a_row += 1
        return self.opens_circuit(self._in_a_row)

    def opens_circuit(self, in_a_row: int) -> bool:
        """Whether so many failures in a row are too many to pass over one more."""
        most = self.around.settings.circuit_breaker
        if not most or in_a_row <= most:
            return False
        if in_a_row == most + 1:
            log.error(
                "%s: %d events in a row failed, so that no more are passed over: this one is tried"
                " until it goes well (circuit_breaker=0 turns this off)", self.label, most,
            )  # fmt: skip
        return True

    def _count(self, records: Sequence[Arrival]) -> int:
        """How often this event has failed in a row."""
        first = records[0]
        event = (first.topic, first.partition, first.offset, first.key)
        self._failures = (event, self._failures[1] + 1 if event == self._failures[0] else 1)
        return self._failures[1]

    def _park(self, records: Sequence[Arrival], error: Exception) -> None:
        """Put events aside; what they did is dropped, and their keys wait."""
        parking = self.agent.parking
        assert parking is not None
        view = self.view(parking.table)
        pause_s = self.agent.policy.pause_s(1, self.around.settings.retry_backoff)
        due_ms = self.around.wall_time_ms() + round(pause_s * 1000)
        for record in map(as_it_came, records):
            if record.key is None or not parking.has_room(view, record):
                self.send_dead(record, error)
                continue
            parking.park(view, record, due_ms, 1)
        self.around.counts.parked += len(records)
        self._tell(f"{self._where()} is parked: {reason(error)}")

    def pass_over(self, records: Sequence[Arrival], error: Exception, action: str) -> None:
        """Skip records of the unit, or make them dead letters in it."""
        where = f"{records[0].topic}-{records[0].partition} offset {records[0].offset}"
        counts, agent = self.around.counts, self.agent.name
        if action in ("skip", "pass_over"):
            counts.skipped += len(records)
            if action == "skip":
                self._tell(f"agent {agent!r} skipped {where}: {reason(error)}")
            return
        for record in records:
            self.send_dead(record, error)
        self._tell(f"agent {agent!r}: {where} is a dead letter: {reason(error)}")

    async def _retry(self, records: Sequence[Arrival], error: Exception, failures: int) -> None:
        self.around.counts.retried += 1
        log.warning("%s will be retried (%d): %s", self._where(), failures, reason(error),
                    exc_info=error if failures == 1 else None)  # fmt: skip
        self.drop()
        self.record = None
        self._give_back(records)
        await asyncio.sleep(self.agent.policy.pause_s(failures, self.around.settings.retry_backoff))

    def _give_back(self, records: Sequence[Arrival]) -> None:
        """Events of a unit that left no trace come again."""
        self.ready.extendleft(reversed(records))
        self.taken -= len(records)
        self._given_back += len(records)

    @property
    def unit_records(self) -> list[Arrival]:
        """The records of the open unit."""
        return [*self._held, *(() if self.record is None else (self.record,))]

    async def stop_at(self, error: Exception, offset: int) -> None:
        """Ask the worker to stop because of one event of the unit, and never run again."""
        await self._stop(error, f"failed at offset {offset}")

    async def _exit(self, asked: SystemExit) -> None:
        """The agent wants the process to end. Raised on from here it would end the event loop, and
        with it the commit of what is complete.
        """
        where = self.label if self.record is None else self._where()
        self.drop()
        self.record = None
        self.around.fail(AppExited(where, asked))
        await self._loop.create_future()

    async def _stop(self, error: Exception, how: str) -> None:
        """Ask the worker to stop, and never run again."""
        self.drop()
        self.record = None
        failure = AgentFailed(f"{self.label} {how}: {type(error).__name__}: {text_of(error)}")
        failure.__cause__ = error
        self.around.fail(failure)
        await self._loop.create_future()

    async def undecodable(self, error: Exception, *, held: bool) -> None:
        """Treat the record just taken by the agent's policy."""
        assert self.record is not None
        policy = self.agent.policy
        # To try again would not help: its bytes stay what they are.
        action = policy.then if policy.action in ("retry", "park") else policy.action
        if action == "stop":
            what = f"stopped: {self._at()} does not decode"
            await self._stop(DecodeError(text_of(error)), f"{what} ({self.agent.passing_over})")
        self.pass_over([self.record], error, action)
        self.gave()  # if its list fails, it is passed over with that
        self.untime(held=held)
        if not held:
            self.complete()

    def _tell(self, line: str) -> None:
        now_s = self.around.wall_time_ms() / 1000
        self.agent.passing.warn(line, now_s, self._loop.call_later)

    def _where(self) -> str:
        return f"{self.label}: {self._at()}"

    def _at(self) -> str:
        assert self.record is not None
        return f"offset {self.record.offset}"
