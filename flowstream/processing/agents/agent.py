"""Agents as an app declares them: a function over a stream, its sinks and its error policy.

Declares, and has the function probed (see `probing`). Runs nothing else.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import defaultdict
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Sequence,
)
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from flowstream.errors import FlowstreamError
from flowstream.processing.agents.asking import Askable
from flowstream.processing.agents.policies import OnError, policy_of
from flowstream.processing.agents.ported import PortedNames
from flowstream.processing.agents.probing import ProbeFeed, ProbeSource, first_step
from flowstream.processing.agents.sinks import Sink, check_sinks, sink_topics
from flowstream.processing.declaring import Order, check_concurrency, described
from flowstream.processing.errors import AgentFailed, AppError
from flowstream.processing.events.current import PROBED
from flowstream.processing.events.topic import Topic
from flowstream.processing.instead import missing
from flowstream.processing.streams.deduping import Seen
from flowstream.processing.streams.lookups import Waiting
from flowstream.processing.streams.parking import Parking
from flowstream.processing.streams.stateful import GroupBy
from flowstream.processing.streams.stream import Stream
from flowstream.processing.streams.stream_joins import JoinedStreams
from flowstream.processing.streams.stream_windows import StreamWindows
from flowstream.processing.tables.inner import InnerSource
from flowstream.processing.tables.table import Table
from flowstream.processing.values.codecs import BYTES, Codec, codec_of
from flowstream.processing.values.fields import PLAIN
from flowstream.sparing import SparingLog

T = TypeVar("T")

PROBE_TIMEOUT_S = 10.0
PLAIN_NAMES = {kind.__name__ for kind in PLAIN if kind is not bytes}
"""Of the codecs of types that are text; bytes may be any of them."""
PASSING_S, MOST_LINES = 10.0, 10
LATE_S = 60.0
"""So many lines in that time about events that were passed over."""

NOT_OURS = (
    "the topic is the app's own, so that others should not write it: `flowstream groups"
    " reset-offsets` takes the app past the record"
)
"""What to do about a record that does not decode where only the app itself sends."""

log = logging.getLogger("flowstream.agent")

AgentFunction = Callable[[Stream[T]], AsyncIterable[Any] | Awaitable[None]]


class Agent(Askable, PortedNames, Generic[T]):
    """A function that consumes a stream; made by `App.agent`.

    Sinks get every value it yields, with the key and the timestamp of the event it came from.
    """

    passing_over = "on_error='skip' or 'dead_letter' passes over such records"
    """What to do about a record that does not decode, for who declared the agent."""

    sees_all = False
    """Whether it gets what was sent back to other agents, too, as `PassedBy`."""

    is_end = False
    """Whether what it reads comes to no table that others write: their time does not go by it."""

    def __init__(
        self,
        function: AgentFunction[T],
        topic: Topic[Any, T] | InnerSource[Any, T],
        *,
        name: str,
        sinks: Sequence[Sink],
        on_error: OnError,
        others: Sequence[Topic[Any, T]] = (),
        reply_type: Any = None,
        concurrency: int = 1,
        order: Order | None = None,
    ) -> None:
        self.concurrency, self.order = check_concurrency(concurrency, order, name)
        self.policy = policy_of(on_error, name)
        self.function = function
        self.topic = self.channel = topic
        self.topics: tuple[Topic[Any, T], ...] = (
            () if isinstance(topic, InnerSource) else (topic, *others)
        )
        self.name = name
        self.sinks = tuple(sinks)
        self.reply_type = reply_type
        self.reply_codec = codec_of(reply_type)
        self.group: GroupBy | None = None
        self.windows: StreamWindows | None = None
        self.joins: JoinedStreams | None = None
        self.seen: Seen | None = None
        self.waiting: Waiting | None = None
        self.lookups: tuple[Table[Any, Any], ...] = ()
        """Tables that its stream is joined with, which must be partitioned as it is."""
        self.parking: Parking | None = None
        if self.inner is not None:
            self.inner.have_reader()
        self.has_own_topic = False
        """Whether its topic is one that nobody declared."""
        self.tested_in: object = None
        """The app that it belongs to: only a test asks for it."""
        self._is_probed = False
        self.passing = SparingLog(log, PASSING_S, MOST_LINES)
        """Warnings about what it passed over."""
        self.lateness = defaultdict[str, SparingLog](lambda: SparingLog(log, LATE_S))
        """Warnings about events that came too late, by the table; all are counted."""

    if not TYPE_CHECKING:  # checkers know what is there

        def __getattr__(self, name: str) -> Any:
            raise missing("Agent", name, f"{type(self).__name__!r} object")

    def __repr__(self) -> str:
        return f"Agent({self.name!r})"

    def __call__(self, stream: Stream[T]) -> AsyncIterable[Any] | Awaitable[None]:
        """Run the function over a stream, as the worker does."""
        return self.function(stream)

    def add_sink(self, sink: Sink) -> None:
        """Send what it yields there too. AppError once a worker has the agent: its plan is made."""
        if self._is_probed:
            raise AppError(
                f"agent {self.name!r} runs already: add its sinks where the app is declared"
            )
        self.sinks += check_sinks([sink])

    @property
    def inner(self) -> InnerSource[Any, T] | None:
        """The source inside the app that this agent reads, None when it reads a topic."""
        return self.topic if isinstance(self.topic, InnerSource) else None

    @property
    def inner_sources(self) -> list[InnerSource[Any, Any]]:
        """All sources inside the app that instances of this agent read."""
        return [*self._own_sources, *(() if self.parking is None else (self.parking,))]

    @property
    def _own_sources(self) -> list[InnerSource[Any, Any]]:
        """Those that its function asks for, or that it reads."""
        found = (self.inner, self.windows, self.joins, self.seen, self.waiting)
        return [source for source in found if source is not None]

    @property
    def takes_turns(self) -> bool:
        """Whether several instances of a task work on rows that an open unit may have changed."""
        if self.seen is not None and (len(self.topics) > 1 or self.by_pattern):
            return True
        return self.joins is not None or (self.windows is not None and self.windows.tells_changes)

    @property
    def tells_time(self) -> bool:
        """Whether what this agent gives depends on event time."""
        kept = (self.windows, self.joins, self.seen, self.waiting)
        return any(source is not None for source in kept)

    @property
    def source_topic(self) -> Topic[Any, T]:
        """The topic that this agent reads."""
        if isinstance(self.topic, InnerSource):
            raise AppError(f"agent {self.name!r} reads {self.topic!r}, which is no topic")
        return self.topic

    @property
    def key_codec(self) -> Codec[Any]:
        """The keys of what the agent's body sees."""
        if self.group is not None and self.group.topic is not None:
            return self.group.topic.key_codec
        if self.group is not None:
            return codec_of(self.group.key_type or str)
        return self.topic.key_codec

    @property
    def repartition_name(self) -> str:
        """The middle part of the repartition topic's name."""
        return (self.group.name if self.group is not None else None) or self.name

    def test_context(self, **options: Any) -> Any:
        """The agent's app in memory, and the agent in the hands of a test: a
        `flowstream.testing.AgentContext`, to be entered by `async with`, as in Faust.
        """
        return import_module("flowstream.testing").AgentContext(self, self.tested_in, **options)

    async def probe(self) -> None:
        """Run the function up to its first wish for a value, to see whether it re-keys.

        Whatever stands before the `async for` runs once more than there are partitions.
        """
        self._is_probed = True
        if self.sinks and inspect.iscoroutinefunction(self.function):
            raise AppError(
                f"agent {self.name!r} has sinks and yields nothing: its results go there by"
                " `yield`, not by `return`; if it has none, leave sink= out"
            )
        feed = ProbeFeed()
        stream: ProbeSource[T] = ProbeSource(feed, BYTES, self.topic.value_codec)
        token = PROBED.set(f"agent {self.name!r}")
        running = asyncio.ensure_future(first_step(self.function(stream)))
        PROBED.reset(token)
        asked = asyncio.ensure_future(feed.asked.wait())
        try:
            await asyncio.wait(
                (running, asked), timeout=PROBE_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
            )
            if running.done():
                self._refuse_failed(running)
            if not asked.done() or running.done():
                raise AppError(
                    f"agent {self.name!r} does not read its stream:"
                    " write `async for value in stream:`"
                )
        finally:
            asked.cancel()
            running.cancel()
            await asyncio.wait((running, asked))
        self.group, self.windows, self.joins = stream.found, stream.windows, stream.found_join
        if self.windows is not None and self.joins is not None:
            raise AppError(
                f"agent {self.name!r} has a join and windows: yield what the join gives to a topic,"
                " and have the windows in an agent on that topic"
            )
        between = None if self.group is None else self.group.topic
        if between is not None and any(between.name == topic.name for topic in self.topics):
            raise AppError(
                f"agent {self.name!r} would get its own records again for ever: it reads"
                f" {between.name!r}, so through() takes another topic"
            )
        self.seen, self.waiting = stream.found_seen, stream.found_waiting
        self.lookups = tuple(stream.found_tables)
        if self.concurrency > 1 and (self._own_sources or self.group is not None):
            raise AppError(
                f"agent {self.name!r} has concurrency={self.concurrency}, which group_by, windows,"
                " joins, dedupe and sources inside the app cannot have, as they go by the order of"
                " events: yield to a topic, and have one of the two in an agent on that topic"
            )
        if self.policy.action == "park":
            self._have_parking()
        self._check_fields()
        self._check_keys()
        for each in (self.windows, self.joins, self.seen, self.waiting):
            if each is not None:
                each.bind(self.name, self.key_codec, self.topic.value_codec)

    def _check_fields(self) -> None:
        """Refuse what its operators ask of values that these do not have."""
        if isinstance(self.topic, InnerSource):
            return
        what, kind = f"agent {self.name!r}", self.topic.value_type
        if self.group is not None:
            self.group.check(kind, what)
            kind = kind if self.group.topic is None else self.group.topic.value_type
        if self.seen is not None:
            self.seen.check(kind, what)
        if self.windows is not None:
            self.windows.windowing.aggregate.check(kind, what)

    def _check_keys(self) -> None:
        """Refuse keys that those of this agent can never be: of a topic that it sends to, or of
        another that it reads where what it keeps is by key.
        """
        read = [self.key_codec]
        if self.group is None and self.inner is None:
            read = [topic.key_codec for topic in self.topics]
        for topic in [each for sink in self.sinks for each in sink_topics(sink)]:
            for keys in read:
                if are_apart(keys, topic.key_codec):
                    raise AppError(
                        f"agent {self.name!r} has keys of type {keys.name}, which its yielded"
                        f" values keep, and sends them to topic {topic.name!r} with keys of type"
                        f" {topic.key_codec.name}: declare the same key_type=, or `await"
                        f" topic.send(key=..., value=...)` instead of yielding"
                    )
        other = next((keys for keys in read if are_apart(keys, read[0])), None)
        if other is not None and self.inner_sources:
            raise AppError(
                f"agent {self.name!r} reads topics with keys of types {read[0].name} and"
                f" {other.name}, and what it keeps is by key: declare the same key_type=, or write"
                " an agent for each"
            )

    def _refuse_failed(self, running: asyncio.Future[None]) -> None:
        """Raise what the function raised before it read, so that it is told as an agent's error."""
        try:
            running.result()
        except FlowstreamError:
            raise
        except Exception as error:
            raise AgentFailed(
                f"agent {self.name!r} failed before it read its stream:"
                f" {type(error).__name__}: {error}"
            ) from error

    def _have_parking(self) -> None:
        if self._own_sources:
            raise AppError(
                f"agent {self.name!r} cannot park what it fails on, as it has windows, joins or a"
                " source inside the app: use fs.retry(..., then='dead_letter')"
            )
        # Another worker of this process may have it already, and is told by it what is parked.
        if self.parking is None:
            self.parking = Parking(self.name, self.key_codec, self.topic.value_codec)


def are_apart(keys: Codec[Any], theirs: Codec[Any]) -> bool:
    """Whether no key of the one is one of the other: both are plain, and differ."""
    both = (keys.name, theirs.name)
    return PLAIN_NAMES.issuperset(both) and both != ("int", "float") and both[0] != both[1]


def keeps_bytes(keys: Codec[Any], topic: Topic[Any, Any]) -> bool:
    """Whether keys of these go on into a topic as the bytes they are: it has the same, or nobody
    says what they are.
    """
    theirs = topic.key_codec
    if BYTES.name in (keys.name, theirs.name) or keys == theirs:
        return True
    # A text as JSON is called a text, too; of models the same name is the same bytes.
    return keys.name == theirs.name and keys.name not in PLAIN_NAMES


def check_topic(topic: object, *others: object) -> None:
    """Refuse what an agent cannot read."""
    for other in others:
        if not isinstance(other, Topic):
            raise AppError(f"@app.agent takes several topics, not {described(other)} among them")
    if isinstance(topic, Topic | InnerSource):
        return
    if callable(topic):
        raise AppError(
            "`@app.agent` needs the topic that the agent reads: `@app.agent(topic)`; with one of"
            " its own it is `@app.agent()`"
        )
    named = topic if isinstance(topic, str) else "orders"
    raise AppError(
        f"@app.agent takes a topic, not {described(topic)}: declare it first, topic ="
        f" app.topic({named!r}, value_type=...), and write `@app.agent(topic)`"
    )
