"""Agents that read a channel: one per worker, outside of units.

Shell. What such an agent sends is sent at once, and it has no tables: nothing of it could be taken
back, and nothing is tried again after a crash.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast

from flowstream.processing.agents.agent import Agent, AgentFunction
from flowstream.processing.agents.channels import Channel, Listener
from flowstream.processing.agents.policies import Action, OnError
from flowstream.processing.agents.sinks import ChannelSink, Sink, sink_topics
from flowstream.processing.errors import AgentFailed, AppError, AppExited, reason, text_of
from flowstream.processing.events.current import Headers
from flowstream.processing.events.event import Arrival, Event, Retimed
from flowstream.processing.streams.branches import Branch
from flowstream.processing.streams.stream import SourceStream, Stream
from flowstream.processing.values.codecs import Codec

if TYPE_CHECKING:
    from flowstream.processing.events.topic import Topic

T = TypeVar("T")

log = logging.getLogger("flowstream.agent")

AS_IT_IS: Codec[Any] = Codec("object", lambda value: value, lambda value: value, nullable=True)


class ChannelSource(SourceStream[T]):
    """The stream of a channel."""

    def _root(self, what: str) -> NoReturn:
        raise AppError(
            f"{what} keeps state, which needs a topic: a channel's values are gone with the worker"
        )


class ChannelFeed:
    """What a stream asks of its source (see `stream.Feed`), over what a listener gets."""

    origin = ""
    take_is_over = False
    seen = None

    def __init__(self, listener: Listener[Any]) -> None:
        self.record: Arrival | None = None
        self.events: list[Event[Any]] = []
        """Those that the agent works on: several after a `take`."""
        self.taken = 0
        self.thrown: Exception | None = None
        """What somebody threw into the channel, met here last."""
        self._listener = listener
        self._holding = False

    def complete(self) -> None:
        """The agent moved on."""
        self.events, self.record = [], None

    def hold(self) -> None:
        """The next one belongs to those before it."""
        self._holding = True

    def gave(self) -> None:
        """Whatever came is passed over with its list."""

    def advance(self) -> Arrival | None:
        """The next one if it is here."""
        self.complete()
        self._holding = False
        return self.take_ready()

    def take_ready(self) -> Arrival | None:
        """The next one if it is here."""
        try:
            event = self._listener.take()
        except Exception as error:
            self.thrown = error
            raise
        return None if event is None else self._begin(event)

    async def arrival(self, deadline: float | None) -> Arrival | None:
        """The next one, None at the deadline."""
        left = None if deadline is None else max(0.0, deadline - self.loop_time())
        try:
            async with asyncio.timeout(left) as waiting:
                event = await self._listener.get()
        except Exception as error:
            if isinstance(error, TimeoutError) and waiting.expired():
                return None
            self.thrown = error
            raise
        return self._begin(event)

    def _begin(self, event: Event[Any]) -> Arrival:
        if not self._holding:
            self.events = []
        self.taken += 1
        self.events.append(event)
        self.record = Retimed(
            event.topic, event.partition, event.offset, round(event.timestamp * 1000), event.key,
            event.value, event.headers,
        )  # fmt: skip
        return self.record

    async def undecodable(self, error: Exception, *, held: bool) -> NoReturn:
        """Values are not decoded here."""
        del held
        raise error

    def loop_time(self) -> float:
        """The event loop's clock."""
        return asyncio.get_running_loop().time()


def stream_of(channel: Channel[T]) -> Stream[T]:
    """The values of a channel from now on, outside of agents."""
    return _stream(ChannelFeed(channel.listen()))


def _stream(feed: ChannelFeed) -> Stream[Any]:
    return ChannelSource(cast("Any", feed), AS_IT_IS, AS_IT_IS)


def _failure(raised: Exception | asyncio.CancelledError) -> Exception:
    """What a body raised, as an error. Raises the end of its task on."""
    if isinstance(raised, Exception):
        return raised
    if cast("asyncio.Task[None]", asyncio.current_task()).cancelling():
        raise raised
    # It awaited something that was cancelled. Taken for the end of its task this would leave the
    # channel without anyone (V2).
    return RuntimeError(f"it awaited what was cancelled ({raised!r})")


class ChannelAgent(Agent[T], Generic[T]):
    """A function over the stream of a channel."""

    def __init__(
        self, function: AgentFunction[T], channel: Channel[T], *, name: str, sinks: Sequence[Sink],
        on_error: OnError, concurrency: int,
    ) -> None:  # fmt: skip
        super().__init__(
            function, cast("Any", channel), name=name, sinks=sinks, on_error=on_error,
            concurrency=concurrency,
        )  # fmt: skip
        if {self.policy.action, self.policy.then} & {"park", "dead_letter"}:
            raise AppError(
                f"agent {name!r} reads a channel: what it fails on is in no topic that it could be"
                " read from again; use 'stop', 'skip' or 'retry', or read a topic"
            )
        self.channel = channel
        self.topics = ()

    @property
    def source_topic(self) -> NoReturn:
        """It reads none."""
        raise AppError(f"agent {self.name!r} reads {self.channel!r}, which is no topic")

    def _asker(self, reply_to: object) -> NoReturn:
        raise AppError(f"agent {self.name!r} reads {self.channel!r}, which is no topic: send to it")

    async def send(  # type: ignore[override]
        self, *, key: Any = None, value: Any = None, partition: int | None = None,
        timestamp: float | None = None, headers: Headers = (),
    ) -> None:  # fmt: skip
        """Put it into the channel: see `Channel.send`."""
        if partition is not None:
            raise AppError(f"{self.channel!r} has no partitions")
        await self.channel.send(key=key, value=value, timestamp=timestamp, headers=headers)

    def live(self, retry_backoff_s: float) -> Coroutine[Any, Any, None]:
        """Listen from now on; the coroutine works until it is cancelled, or raises AgentFailed."""
        listener = self.channel.listen()
        return self._live(listener, retry_backoff_s)

    async def _live(self, listener: Listener[T], retry_backoff_s: float) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.concurrency):
                    group.create_task(self._work(listener, retry_backoff_s))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        raise AgentFailed(f"agent {self.name!r} was cancelled, and not by its worker")

    async def _work(self, listener: Listener[T], retry_backoff_s: float) -> None:
        failures = 0
        while True:
            feed = ChannelFeed(listener)
            try:
                await self._body(feed)
            except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001 - user code ends here
                error = _failure(raised)
                failures = failures + 1 if feed.taken <= 1 else 1
                await self._failed(feed, error, failures, retry_backoff_s, listener)
            except SystemExit as asked:
                raise AppExited(f"agent {self.name!r} on {self.channel!r}", asked) from None
            else:
                if not feed.taken:
                    raise AgentFailed(f"agent {self.name!r} returned without reading its stream")
                failures = 0

    async def _failed(
        self, feed: ChannelFeed, error: Exception, failures: int, retry_backoff_s: float,
        listener: Listener[T],
    ) -> None:  # fmt: skip
        action: Action = self.policy.action_on(error)
        if action == "retry" and self.policy.is_spent(failures):
            action = self.policy.then
        if action == "stop" or not (feed.events or error is feed.thrown):
            raise AgentFailed(
                f"agent {self.name!r} on {self.channel!r} failed: {type(error).__name__}:"
                f" {text_of(error)}"
            ) from error
        if action != "pass_over":
            done = "skipped" if action == "skip" else f"tried again ({failures})"
            log.warning("agent %r: %s is %s", self.name, reason(error), done)
        if action == "retry" or error is feed.thrown:
            listener.give_back(feed.events)
        if action == "retry":
            await asyncio.sleep(self.policy.pause_s(failures, retry_backoff_s))

    async def _body(self, feed: ChannelFeed) -> None:
        body = self.function(cast("Any", _stream(feed)))
        if isinstance(body, Awaitable):
            await body
            return
        try:
            async for value in body:
                await self._yielded(value, feed)
        finally:
            if isinstance(body, AsyncGenerator):
                await body.aclose()

    async def _yielded(self, value: Any, feed: ChannelFeed) -> None:
        last = feed.events[-1]
        for sink in self.sinks:
            if isinstance(sink, Branch):
                picked = sink.pick(value)
                topics: list[Topic[Any, Any]] = [] if picked is None else [picked]
            else:
                topics = sink_topics(sink)
            for topic in topics:
                await topic.send(key=last.key, value=value, timestamp=last.timestamp)
            if isinstance(sink, ChannelSink):
                await sink.channel.put(value, key=last.key)
            elif not topics and callable(sink) and not isinstance(sink, Branch):
                done = sink(value)
                if inspect.isawaitable(done):
                    await done
