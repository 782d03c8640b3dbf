"""An agent instance: the agent's function running over its feed, its sinks and error policy.

Runs as one asyncio task. Knows the agent and the feed; it must not know consumer or transaction.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from flowstream.processing.agents.agent import Agent, sink_topics
from flowstream.processing.errors import (
    AgentFailed,
    AppError,
    AppExited,
    DecodeError,
    RecordMistimed,
    reason,
    text_of,
)
from flowstream.processing.events.current import CURRENT
from flowstream.processing.events.event import Arrival, Event, as_it_came, event_of
from flowstream.processing.events.replies import reply_to
from flowstream.processing.running.feed import UnitFeed
from flowstream.processing.running.filling import FilledSource
from flowstream.processing.running.meeting import LeftSource, RightSource
from flowstream.processing.running.plan import Reader, Stage
from flowstream.processing.running.regrouping import ForwardSource, GroupedSource
from flowstream.processing.running.sinking import picked, straight
from flowstream.processing.running.started import tell_tasks_apart
from flowstream.processing.running.surroundings import Shelf, Surroundings
from flowstream.processing.running.timing import timed
from flowstream.processing.streams.lookups import WaitingSource
from flowstream.processing.streams.stream import SourceStream
from flowstream.processing.units.task import Source, Task
from flowstream.processing.values.codecs import BYTES, Codec

log = logging.getLogger("flowstream.agent")


class Instance(UnitFeed):
    """One agent on one partition, running."""

    __slots__ = (
        "_call_sinks", "_failed_at", "_failures", "_given_back", "_in_a_row", "_keys", "_picked",
        "_runner", "_topic_sinks", "_values", "agent",
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
        self.agent: Agent[Any] = reader.agent
        self._keys: Codec[Any] = BYTES
        self._values: Codec[Any] = BYTES
        self._runner: asyncio.Task[None] | None = None
        self._failures: tuple[object, int] = (None, 0)
        self._failed_at = self._in_a_row = self._given_back = 0
        # A forwarding stage yields nothing, and its sinks' topics are not its own.
        sinks = () if reader.stage is Stage.FORWARD else self.agent.sinks
        keys = reader.keys
        topics = [(around.output(topic.name), topic) for topic in straight(sinks, keys)]
        self._topic_sinks = [
            (output, output.placed, topic.value_codec.encode, topic) for output, topic in topics
        ]
        self._picked = picked(sinks, keys)
        self._call_sinks = [s for s in sinks if callable(s) and not sink_topics(s)]

    def start(self) -> None:
        """Begin to run."""
        tell_tasks_apart(self._loop)
        self._runner = asyncio.create_task(self._run(), name=self.label)
        self._runner.add_done_callback(self._ended)

    async def close(self) -> None:
        """Stop at the current await; an unfinished unit leaves no trace."""
        self.closed = True
        self.record = None
        # An agent that swallows its cancellation must find nothing more to do (S9).
        self.ready.clear()
        for lines in (self.agent.passing, *self.agent.lateness.values()):
            lines.flush()
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait((self._runner,), timeout=1.0)

    def _ended(self, runner: asyncio.Task[None]) -> None:
        if self.closed:
            return
        if runner.cancelled():
            # By itself, or by what it calls: nobody would work on the partition any more (V2).
            self.around.fail(AgentFailed(f"{self.label} was cancelled, and not by its worker"))
        elif (error := runner.exception()) is not None:
            self.around.fail(error)

    async def _run(self) -> None:
        CURRENT.set(self)
        while not self.closed:
            begun = self._tries
            try:
                await self._body()
                self.complete()
            except asyncio.CancelledError as error:
                if self._was_cancelled():
                    raise
                # The agent awaited something that was cancelled: its error as any other. Taken for
                # our own end it would leave the partition without anyone (V2).
                await self._failed(RuntimeError(f"it awaited what was cancelled ({error!r})"))
            except Exception as error:  # noqa: BLE001 - the outermost line of user code
                await self._failed(error)
            except SystemExit as asked:
                await self._exit(asked)
            else:
                if begun == self._tries:
                    await self._stop(AppError("the agent returned without reading"), "returned")

    @property
    def _tries(self) -> int:
        """Events begun so far, each as often as it was."""
        return self.taken + self._given_back

    @property
    def unit(self) -> int:
        """The number of the open unit, which no other one of this instance has or had."""
        return self._tries - len(self._held)

    def _give_back(self, records: Sequence[Arrival]) -> None:
        """Events of a unit that left no trace come again."""
        self.ready.extendleft(reversed(records))
        self.taken -= len(records)
        self._given_back += len(records)

    def _was_cancelled(self) -> bool:
        return self.closed or cast("asyncio.Task[None]", asyncio.current_task()).cancelling() > 0

    async def _body(self) -> None:
        body: Any = self.agent.function(self._stream())
        if isinstance(body, Awaitable):
            if (returned := await body) is not None:
                raise AppError(f"{self.label} returned {returned!r}: results are yielded")
            return
        sinks, others, calls = self._topic_sinks, self._picked, self._call_sinks
        try:
            async for value in body:
                record = self.record
                if record is None:
                    raise AppError(f"{self.label} yielded a value before it took an event")
                key, timestamp_ms = record.key, record.timestamp
                if record.headers and not self.reply(value):
                    await self._learn_replies()
                for output, placed, encode, sink in sinks:
                    try:
                        data = sink.encode_yielded(None) if value is None else encode(value)
                    except (TypeError, ValueError):
                        data = sink.encode_yielded(value)  # raises as well, and names the topic
                    if len(data or b"") + len(key or b"") > output.roomy:
                        output.check(key, data)
                    if timestamp_ms > output.until_ms:
                        output.check_time(timestamp_ms, self.around.wall_time_ms())
                    target = placed(key) or output.place(key)
                    self.outputs.append((target, key, data, timestamp_ms, ()))
                for pick in others:
                    if (topic := pick(value)) is not None:
                        self.pass_on(topic, value)
                if calls:
                    await self._call(value)
        finally:
            if inspect.isasyncgen(body):
                await body.aclose()

    async def _learn_replies(self) -> None:
        """The reply has no topic: wait for a plan that knows one, and come back to this event."""
        record = self.record
        assert record is not None
        if self._looks_for_replies([record]):
            await self._loop.create_future()
        # Any producer may ask so, with every record.
        self._tell(f"{self._where()}: no topic for the reply that {reply_to(record.headers)} wants")

    def event(self) -> Event[Any]:
        """The record being processed, decoded."""
        record = self.record
        assert record is not None
        key = None if record.key is None else self._keys.decode(record.key)
        value = None if record.value is None else self._values.decode(record.value)
        return event_of(record, key, value, self.origin)

    def _stream(self) -> SourceStream[Any]:
        topic = self.reader.source or self.agent.source_topic
        values: Any = topic.value_codec
        self._keys, self._values = topic.key_codec, values
        if self.reader.stage is Stage.FORWARD:
            return ForwardSource(self, topic.key_codec, values, self._timed(topic.event_ms))
        # What was re-keyed has the event time of its first life.
        event_ms = topic.event_ms if self.reader.stage is Stage.WHOLE else None
        group = self.agent.group
        if group is not None and group.topic is not None:
            values = group.topic.value_codec
        keys, shape = self.reader.keys, self._timed(event_ms)
        self._keys, self._values = keys, values
        windows, join = self.agent.windows, self.agent.joins
        if self.reader.stage is Stage.RIGHT:
            assert join is not None
            return RightSource(self, topic.key_codec, values, self._timed(topic.event_ms), join)
        inside: SourceStream[Any]
        if windows is not None:
            inside = FilledSource(self, keys, values, shape, windows)
        elif self.agent.waiting is not None:
            inside = WaitingSource(self, keys, values, shape, waiting=self.agent.waiting)
        elif join is not None:
            inside = LeftSource(self, keys, values, shape, join)
        else:
            inside = SourceStream(self, keys, values, shape)
        return inside if self.reader.stage is Stage.WHOLE else GroupedSource(inside)

    def _timed(self, event_ms: Callable[[Any], int] | None) -> Callable[[Arrival, Any], Any] | None:
        return timed(self, event_ms, minds_time=self.minds_time)

    async def _call(self, value: object) -> None:
        for call in self._call_sinks:
            done = cast("Callable[[object], object]", call)(value)
            if inspect.isawaitable(done):
                await done

    def _where(self) -> str:
        return f"{self.label}: {self._at()}"

    def _at(self) -> str:
        assert self.record is not None
        return f"offset {self.record.offset}"

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

    def _tell(self, line: str) -> None:
        now_s = self.around.wall_time_ms() / 1000
        self.agent.passing.warn(line, now_s, self._loop.call_later)

    async def _retry(self, records: Sequence[Arrival], error: Exception, failures: int) -> None:
        self.around.counts.retried += 1
        log.warning("%s will be retried (%d): %s", self._where(), failures, reason(error),
                    exc_info=error if failures == 1 else None)  # fmt: skip
        self.drop()
        self.record = None
        self._give_back(records)
        await asyncio.sleep(self.agent.policy.pause_s(failures, self.around.settings.retry_backoff))

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
