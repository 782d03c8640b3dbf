"""Streams: what an agent iterates over, and its source.

A stream pulls from its agent instance; asking for the next value completes the unit of the one
before. Knows the feed protocol only: no consumer, no epoch, no table. Operators are imported where
they are asked for: each is a stream itself.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, TypeVar, cast, overload

from flowstream.processing.declaring import check_callable, check_take, described
from flowstream.processing.errors import AppError
from flowstream.processing.events.event import Arrival, Event
from flowstream.processing.events.event_time import bounded
from flowstream.processing.events.topic import Topic
from flowstream.processing.instead import missing
from flowstream.processing.streams.joining import Entry, Side
from flowstream.processing.streams.ported import PortedOperators
from flowstream.processing.streams.stateful import GroupBy
from flowstream.processing.streams.stream_joins import JoinedStreams
from flowstream.processing.streams.stream_windows import StreamWindows
from flowstream.processing.tables.closing import WindowResult
from flowstream.processing.tables.table import Table
from flowstream.processing.time.windowing import Span
from flowstream.processing.values.codecs import DECODE_ERRORS, Codec
from flowstream.processing.values.durations import Seconds, not_negative
from flowstream.processing.values.joined import Joined

if TYPE_CHECKING:
    from flowstream.processing.streams.deduping import Seen
    from flowstream.processing.streams.lookups import Waiting

T = TypeVar("T")
R = TypeVar("R")

NO_VALUE = "the record has no value (a tombstone, and the type is not `... | None`)"


class TimedOut:
    """Nothing arrived before the deadline of a `take`."""


TIMED_OUT: Final = TimedOut()

AT_ITS_END: Final = -math.inf
"""A deadline: no further record, only what has been made of the one before."""


class Feed(Protocol):
    """The agent instance as a stream sees it."""

    @property
    def record(self) -> Arrival | None:
        """The record being processed."""

    @property
    def origin(self) -> str:
        """The app and the agent, as the events say where they were got."""

    def complete(self) -> None:
        """The agent moved on: finish the open unit."""

    def hold(self) -> None:
        """Keep the open unit open over the next record (a `take`)."""

    def advance(self) -> Arrival | None:
        """Finish the open unit and give the next record if one may begin now."""

    @property
    def taken(self) -> int:
        """Records begun so far; one that is tried again counts once."""

    def gave(self) -> None:
        """The agent gets what was made of the record, in a list."""

    @property
    def take_is_over(self) -> bool:
        """Whether the `take` must end before what comes next."""

    def take_ready(self) -> Arrival | None:
        """The next record if one may begin now, in the open unit."""

    async def arrival(self, deadline: float | None) -> Arrival | None:
        """Wait for the next record; None at the deadline (loop time)."""

    async def undecodable(self, error: Exception, *, held: bool) -> None:
        """Treat the record just taken by the agent's policy; returns when it is dealt with."""

    def forward(self, key: bytes | None, value: bytes | None) -> None:
        """Add the record, with this key and value, to the topic between the agent's parts."""

    def fill(self, windows: StreamWindows, value: Any) -> list[Span]:
        """Add the value to its key's windows in the open unit; the windows that it changed."""

    @property
    def seen(self) -> Seen | None:
        """What the agent's `dedupe` remembers."""

    def is_new(self, seen: Seen, id: bytes) -> bool:
        """Whether an id was not seen before; remembers it."""

    def wait_for_table(self, waiting: Waiting) -> None:
        """Have the record wait for the table that it is joined with."""

    def meet(self, join: JoinedStreams, side: Side) -> list[Entry]:
        """Enter the record in a join; the events of the other side that it meets."""

    def retime(self, timestamp_ms: int) -> None:
        """The event time of the record just taken, where its value says it."""

    def show_at(self, timestamp_ms: int) -> None:
        """Another event time for what the agent makes of the record now."""

    def loop_time(self) -> float:
        """The event loop's clock, for deadlines."""


class Stream(PortedOperators[T]):
    """An unbounded sequence of values, one partition's, in order."""

    def __aiter__(self) -> Stream[T]:
        return self

    async def __anext__(self) -> T:
        return cast("T", await self._pull(hold=False, deadline=None))

    if not TYPE_CHECKING:  # for type checkers a stream has no more, and is simply not iterable

        def __getattr__(self, name: str) -> Any:
            raise missing("Stream", name, "a stream")

        def __iter__(self) -> NoReturn:
            raise AppError("a stream is asynchronous: write `async for value in stream:`")

    @property
    @abstractmethod
    def _feed(self) -> Feed:
        """The instance this stream pulls from."""

    @abstractmethod
    async def _pull(self, *, hold: bool, deadline: float | None) -> T | TimedOut:
        """The next value; with `hold` it belongs to the open unit."""

    is_transparent = False
    """Whether re-keying, windows and joins may stand behind this operator."""

    def filter(self, predicate: Callable[[T], bool | Awaitable[bool]]) -> Stream[T]:
        """Only the values for which `predicate` (plain or async) is true."""
        check_callable(predicate, "filter: what says whether a value stays")
        from flowstream.processing.streams.operators import FilterStream

        return FilterStream(self, predicate)

    def map(self, function: Callable[[T], Awaitable[R] | R]) -> Stream[R]:
        """What `function` (plain or async) makes of each value."""
        check_callable(function, "map: what makes one value of another")
        from flowstream.processing.streams.operators import MapStream

        return MapStream(self, function)

    def flat_map(self, function: Callable[[T], Iterable[R]]) -> Stream[R]:
        """Each of the values that `function` (a plain one) makes of a value, all in its unit."""
        check_callable(function, "flat_map: what makes a list of a value")
        from flowstream.processing.streams.operators import FlatMapStream

        return FlatMapStream(self, function)

    def dedupe(
        self, within: Seconds, *, by: Callable[[T], Any] | str | None = None,
        name: str | None = None,
    ) -> Stream[T]:  # fmt: skip
        """Only the first value of each key, or of what `by` (a function, or the name of a field)
        says of it, `within` seconds of event time.

        Equal ids must come with equal keys: each partition remembers its own. Once in an agent.
        `name` is that of its table.
        """
        from flowstream.processing.streams.deduping import Seen

        return self._root("dedupe").deduped(self, Seen(within, by, name=name))

    def enumerate(self, start: int = 0) -> Stream[tuple[int, T]]:
        """(number, value) pairs, as this instance counts: from `start` again after each restart."""
        from flowstream.processing.streams.operators import EnumerateStream

        return EnumerateStream(self, start)

    def echo(self, *topics: Topic[Any, T]) -> Stream[T]:
        """The same values, each also sent to `topics` with its key."""
        from flowstream.processing.streams.operators import EchoStream

        for topic in topics:
            if not callable(getattr(topic, "send", None)):
                raise AppError(f"echo takes topics, not {described(topic)}: app.topic(...)")
        return EchoStream(self, topics)

    @overload
    def take(self, max_: int, within: Seconds) -> Stream[list[T]]: ...
    @overload
    def take(self, max_: int, within: None = None) -> NoReturn: ...
    def take(self, max_: int, within: Seconds | None = None) -> Stream[list[T]]:
        """Lists of up to `max_` values, or fewer once `within` seconds have passed since the first.

        A list is one unit: its values are processed, committed or retried together. Several values
        that were made of one record stay with it: lists that share a record are one unit.
        """
        from flowstream.processing.streams.operators import TakeStream

        return TakeStream(
            self, max_, not_negative("take's within", check_take(max_, within)) / 1000
        )

    def take_events(self, max_: int, within: Seconds) -> Stream[list[Event[T]]]:
        """As `take`, with key, headers, timestamp and position of each value."""
        return self.events().take(max_, within)

    def items(self) -> Stream[tuple[Any, T]]:
        """(key, value) pairs; the key decodes to the topic's key type."""
        from flowstream.processing.streams.operators import ItemsStream

        return ItemsStream(self)

    def events(self) -> Stream[Event[T]]:
        """Values with key, headers, timestamp, topic, partition and offset."""
        from flowstream.processing.streams.operators import EventStream

        return EventStream(self)

    @property
    def _this(self) -> Stream[T]:
        return self

    def _root(self, what: str) -> SourceStream[Any]:
        stream: Stream[Any] = self
        while stream.is_transparent:
            stream = stream._upstream()
        if not isinstance(stream, SourceStream):
            raise AppError(
                f"{what} comes first: only `filter` may stand before it. What comes out of another"
                f" operator can go to a topic: yield it, and have {what} in an agent on that topic"
            )
        return stream

    def _key(self) -> Any:
        """The current record's key, decoded."""
        return self._upstream()._key()

    def _is_joined_with(self, table: Table[Any, Any]) -> None:
        """Tell the source of a table whose rows are looked up by the keys of this stream."""
        self._upstream()._is_joined_with(table)

    def _upstream(self) -> Stream[Any]:
        raise AssertionError("a source stream has no upstream")


class SourceStream(Stream[T]):
    """Decoded values straight from the feed: the hot path."""

    def __init__(
        self,
        feed: Feed,
        keys: Codec[Any],
        values: Codec[Any],
        shape: Callable[[Arrival, Any], T] | None = None,
    ) -> None:
        self._source = feed
        self._keys = keys
        self._values = values
        self._decode = values.decode
        self._nullable = values.nullable
        self._shape = shape

    @property
    def _feed(self) -> Feed:
        return self._source

    async def __anext__(self) -> T:
        feed = self._source
        while True:
            record = feed.advance()
            if record is None:
                record = await feed.arrival(None)
                assert record is not None
            try:
                data, shape = record.value, self._shape
                value = self._null() if data is None else self._decode(data)
                return value if shape is None else shape(record, value)
            except DECODE_ERRORS as error:
                await feed.undecodable(error, held=False)

    def _null(self) -> Any:
        if self._nullable:
            return None
        raise ValueError(NO_VALUE)

    async def _pull(self, *, hold: bool, deadline: float | None) -> T | TimedOut:
        if not hold:
            return await self.__anext__()
        if deadline == AT_ITS_END:
            return TIMED_OUT
        feed = self._source
        while True:
            feed.hold()
            record = feed.take_ready()
            if record is None and not feed.take_is_over:
                record = await feed.arrival(deadline)
            if record is None:
                return TIMED_OUT
            try:
                value = self._null() if record.value is None else self._decode(record.value)
                return value if self._shape is None else self._shape(record, value)
            except DECODE_ERRORS as error:
                await feed.undecodable(error, held=True)

    def grouped(self, upstream: Stream[T], group: GroupBy) -> Stream[T]:
        """What the agent gets from `group_by`, by the part that this instance plays."""
        del upstream, group
        raise AppError("group_by comes first, and once: only `filter` may stand before it")

    def deduped(self, upstream: Stream[T], seen: Seen) -> Stream[T]:
        """What the agent gets from `dedupe`, by the part that this instance plays."""
        from flowstream.processing.streams.deduping import DedupeStream

        del seen
        found = self._source.seen
        assert found is not None
        return DedupeStream(upstream, found)

    def looked_up(self, upstream: Stream[Any], waiting: Waiting) -> Stream[Joined[Any, Any]]:
        """What the agent gets from a join as of event time, by the part that this one plays."""
        del upstream, waiting
        raise AppError("join comes first, and once: `filter` and `group_by` may stand before it")

    def joined(self, upstream: Stream[Any], join: JoinedStreams) -> Stream[Joined[Any, Any]]:
        """What the agent gets from its join, by the part that this instance plays."""
        del upstream, join
        raise AppError("join comes first, and once: `filter` and `group_by` may stand before it")

    def opened(
        self, upstream: Stream[Any], windows: StreamWindows
    ) -> Stream[WindowResult[Any, Any]]:
        """What the agent gets from its windows, by the part that this instance plays."""
        del upstream, windows
        raise AppError("windows come first, and once: `filter` and `group_by` may stand before")

    def items(self) -> Stream[tuple[Any, T]]:
        """See `Stream.items`."""
        if self._shape not in (None, bounded):
            return super().items()
        decode, is_bounded = self._keys.decode, self._shape is not None

        def item(record: Arrival, value: T) -> tuple[Any, T]:
            if is_bounded:
                bounded(record, value)
            key = record.key
            return (None if key is None else decode(key)), value

        return SourceStream(self._source, self._keys, self._values, item)

    def _is_joined_with(self, table: Table[Any, Any]) -> None:
        """Only the probe asks."""

    def _key(self) -> Any:
        record = self._source.record
        if record is None or record.key is None:
            return None
        return self._keys.decode(record.key)


class DerivedStream(Stream[T]):
    """A stream over another one."""

    def __init__(self, upstream: Stream[Any]) -> None:
        self._up = upstream

    @property
    def _feed(self) -> Feed:
        return self._up._feed

    def _upstream(self) -> Stream[Any]:
        return self._up
