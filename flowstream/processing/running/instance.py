"""An agent instance: the agent's function running over its feed, and its sinks.

Runs as one asyncio task. Knows the agent and the feed; it must not know consumer or transaction.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, cast

from flowstream.processing.agents.sinks import sink_topics
from flowstream.processing.errors import AgentFailed, AppError
from flowstream.processing.events.current import CURRENT
from flowstream.processing.events.event import Arrival, Event, event_of
from flowstream.processing.events.replies import reply_to
from flowstream.processing.running.failing import Failing
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


class Instance(Failing):
    """One agent on one partition, running."""

    __slots__ = ("_call_sinks", "_keys", "_picked", "_runner", "_topic_sinks", "_values")

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
        self._keys: Codec[Any] = BYTES
        self._values: Codec[Any] = BYTES
        self._runner: asyncio.Task[None] | None = None
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
