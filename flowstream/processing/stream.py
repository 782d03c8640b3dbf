"""Streams: what an agent iterates over, and the operators on it.

A stream pulls from its agent instance; asking for the next value completes the unit of the one
before. Knows the feed protocol only: no consumer, no epoch, no table.
"""

from __future__ import annotations

import inspect
import operator
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, Protocol, TypeVar, cast, overload

from flowstream.processing.closing import WindowResult
from flowstream.processing.codecs import DECODE_ERRORS, Codec
from flowstream.processing.declaring import check_take
from flowstream.processing.errors import AppError
from flowstream.processing.event import Arrival, Event
from flowstream.processing.stream_windows import (
    Emit,
    StreamWindows,
    Windows,
    fixed,
    sessions,
    sliding,
)
from flowstream.processing.windowed_tables import Late, Seconds, milliseconds
from flowstream.processing.windowing import Span

T = TypeVar("T")

NO_VALUE = "the record has no value (a tombstone, and the type is not `... | None`)"


class TimedOut:
    """Nothing arrived before the deadline of a `take`."""


TIMED_OUT: Final = TimedOut()


class Feed(Protocol):
    """The agent instance as a stream sees it."""

    @property
    def record(self) -> Arrival | None:
        """The record being processed."""

    def complete(self) -> None:
        """The agent moved on: finish the open unit."""

    def hold(self) -> None:
        """Keep the open unit open over the next record (a `take`)."""

    def advance(self) -> Arrival | None:
        """Finish the open unit and give the next record if one may begin now."""

    def take_ready(self) -> Arrival | None:
        """The next record if one may begin now, in the open unit."""

    async def arrival(self, deadline: float | None) -> Arrival | None:
        """Wait for the next record; None at the deadline (loop time)."""

    async def undecodable(self, error: Exception, *, held: bool) -> None:
        """Treat the record just taken by the agent's policy; returns when it is dealt with."""

    def forward(self, key: bytes | None) -> None:
        """Add the record, under a new key, to the agent's repartition topic."""

    def fill(self, windows: StreamWindows, value: Any) -> list[Span]:
        """Add the value to its key's windows in the open unit; the windows that it changed."""

    def retime(self, timestamp_ms: int) -> None:
        """The event time of the record just taken, where its value says it."""

    def loop_time(self) -> float:
        """The event loop's clock, for deadlines."""


@dataclass(frozen=True, slots=True)
class GroupBy:
    """What an agent's `group_by` asked for."""

    key: Callable[[Any], Any]
    name: str | None
    key_type: type[Any] | None
    partitions: int | None


class Stream(Generic[T]):
    """An unbounded sequence of values, one partition's, in order."""

    def __aiter__(self) -> Stream[T]:
        return self

    async def __anext__(self) -> T:
        return cast("T", await self._pull(hold=False, deadline=None))

    if not TYPE_CHECKING:  # for type checkers a stream is simply not iterable

        def __iter__(self) -> NoReturn:
            raise AppError("a stream is asynchronous: write `async for value in stream:`")

    @property
    @abstractmethod
    def _feed(self) -> Feed:
        """The instance this stream pulls from."""

    @abstractmethod
    async def _pull(self, *, hold: bool, deadline: float | None) -> T | TimedOut:
        """The next value; with `hold` it belongs to the open unit."""

    def filter(self, predicate: Callable[[T], bool | Awaitable[bool]]) -> Stream[T]:
        """Only the values for which `predicate` (plain or async) is true."""
        return FilterStream(self, predicate)

    @overload
    def take(self, max_: int, within: Seconds) -> Stream[list[T]]: ...
    @overload
    def take(self, max_: int, within: None = None) -> NoReturn: ...
    def take(self, max_: int, within: Seconds | None = None) -> Stream[list[T]]:
        """Lists of up to `max_` values, or fewer once `within` has passed since the first.

        A list is one unit: its values are processed, committed or retried together.
        """
        return TakeStream(self, max_, milliseconds(check_take(max_, within)) / 1000)

    def items(self) -> Stream[tuple[Any, T]]:
        """(key, value) pairs; the key decodes to the topic's key type."""
        return ItemsStream(self)

    def events(self) -> Stream[Event[T]]:
        """Values with key, headers, timestamp, topic, partition and offset."""
        return EventStream(self)

    def group_by(
        self,
        key: Callable[[T], Any] | str,
        *,
        name: str | None = None,
        key_type: type[Any] | None = None,
        partitions: int | None = None,
    ) -> Stream[T]:
        """The same values under another key, through the topic `<app>-<name>-repartition`.

        `key` is a function of the value or the name of its attribute. Comes before every other
        operator except `filter`.
        """
        return self._root("group_by").grouped(self, GroupBy(by(key), name, key_type, partitions))

    def tumbling(
        self, size: Seconds, *, grace: Seconds = 0.0, emit: Emit = "on_close",
        late: Late = "drop", name: str | None = None,
    ) -> Windows[T]:  # fmt: skip
        """Windows of event time per key, of `size` each, one after the other; say what they keep:

            async for window in stream.tumbling(60, grace=5).count():
                print(window.key, window.start, window.value)

        A window is final once the watermark is `grace` past its end, and is told then, once
        (`emit="on_close"`); or on every change, or every so many seconds of event time and when it
        is final. What is later than that is dropped and counted, or a "dead_letter". Comes before
        every operator except `filter` and `group_by`. `name` is that of its table.
        """
        return fixed(self, size, size, grace, emit=emit, late=late, name=name)

    def hopping(
        self, size: Seconds, step: Seconds, *, grace: Seconds = 0.0, emit: Emit = "on_close",
        late: Late = "drop", name: str | None = None,
    ) -> Windows[T]:  # fmt: skip
        """Windows of `size` that start every `step`; the rest as with `tumbling`."""
        return fixed(self, size, step, grace, emit=emit, late=late, name=name)

    def sliding(
        self, size: Seconds, *, grace: Seconds = 0.0, emit: Emit = "on_close",
        late: Late = "drop", name: str | None = None,
    ) -> Windows[T]:  # fmt: skip
        """For each event the window of `size` that ends with it; the rest as with `tumbling`."""
        return sliding(self, size, grace, emit=emit, late=late, name=name)

    def session(
        self, gap: Seconds, *, grace: Seconds = 0.0, emit: Emit = "on_close",
        late: Late = "drop", name: str | None = None,
    ) -> Windows[T]:  # fmt: skip
        """Sessions: events less than `gap` apart are one window; the rest as with `tumbling`."""
        return sessions(self, gap, grace, emit=emit, late=late, name=name)

    def windowed(self, windows: StreamWindows) -> Stream[WindowResult[Any, Any]]:
        """What `tumbling` and the like give, by the part that this instance plays."""
        return self._root("windows").opened(self, windows)

    def _root(self, what: str) -> SourceStream[Any]:
        stream: Stream[Any] = self
        while isinstance(stream, FilterStream):
            stream = stream._upstream()
        if not isinstance(stream, SourceStream):
            raise AppError(f"{what} comes first: only `filter` may stand before it")
        return stream

    def _key(self) -> Any:
        """The current record's key, decoded."""
        return self._upstream()._key()

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
                value = self._null() if record.value is None else self._decode(record.value)
                return value if self._shape is None else self._shape(record, value)
            except DECODE_ERRORS as error:
                await feed.undecodable(error, held=False)

    def _null(self) -> Any:
        if self._nullable:
            return None
        raise ValueError(NO_VALUE)

    async def _pull(self, *, hold: bool, deadline: float | None) -> T | TimedOut:
        if not hold:
            return await self.__anext__()
        feed = self._source
        while True:
            feed.hold()
            record = feed.take_ready() or await feed.arrival(deadline)
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
        raise AppError("group_by stands once in an agent, before every operator except `filter`")

    def opened(
        self, upstream: Stream[Any], windows: StreamWindows
    ) -> Stream[WindowResult[Any, Any]]:
        """What the agent gets from its windows, by the part that this instance plays."""
        del upstream, windows
        raise AppError("windows stand once in an agent, and not behind their own results")

    def items(self) -> Stream[tuple[Any, T]]:
        """See `Stream.items`."""
        if self._shape is not None:
            return super().items()
        return SourceStream(self._source, self._keys, self._values, self._item)

    def _item(self, record: Arrival, value: T) -> tuple[Any, T]:
        return (None if record.key is None else self._keys.decode(record.key)), value

    def _key(self) -> Any:
        record = self._source.record
        if record is None or record.key is None:
            return None
        return self._keys.decode(record.key)


def timed(feed: Feed, event_ms: Callable[[T], int] | None) -> Callable[[Arrival, T], T] | None:
    """A source's shape that gives each record the event time that its value says."""
    if event_ms is None:
        return None

    def shape(record: Arrival, value: T) -> T:
        del record
        feed.retime(event_ms(value))
        return value

    return shape


class DerivedStream(Stream[T]):
    """A stream over another one."""

    def __init__(self, upstream: Stream[Any]) -> None:
        self._up = upstream

    @property
    def _feed(self) -> Feed:
        return self._up._feed

    def _upstream(self) -> Stream[Any]:
        return self._up


class FilterStream(DerivedStream[T]):
    """See `Stream.filter`."""

    def __init__(self, up: Stream[T], predicate: Callable[[T], bool | Awaitable[bool]]) -> None:
        super().__init__(up)
        self._predicate = predicate

    async def _pull(self, *, hold: bool, deadline: float | None) -> T | TimedOut:
        while True:
            value = await self._up._pull(hold=hold, deadline=deadline)
            if isinstance(value, TimedOut):
                return value
            kept = self._predicate(value)
            if inspect.isawaitable(kept):
                kept = await kept
            if kept:
                return cast("T", value)


class TakeStream(DerivedStream[list[T]]):
    """See `Stream.take`."""

    def __init__(self, up: Stream[T], most: int, within_s: float) -> None:
        super().__init__(up)
        self._most = most
        self._within_s = within_s

    async def _pull(self, *, hold: bool, deadline: float | None) -> list[T] | TimedOut:
        first = await self._up._pull(hold=hold, deadline=deadline)
        if isinstance(first, TimedOut):
            return first
        values = [first]
        until = self._feed.loop_time() + self._within_s
        while len(values) < self._most:
            value = await self._up._pull(hold=True, deadline=until)
            if isinstance(value, TimedOut):
                break
            values.append(value)
        return values


class ItemsStream(DerivedStream[tuple[Any, T]]):
    """See `Stream.items`."""

    async def _pull(self, *, hold: bool, deadline: float | None) -> tuple[Any, T] | TimedOut:
        while True:
            value = await self._up._pull(hold=hold, deadline=deadline)
            if isinstance(value, TimedOut):
                return value
            try:
                return self._up._key(), value
            except DECODE_ERRORS as error:
                await self._feed.undecodable(error, held=hold)


class EventStream(DerivedStream[Event[T]]):
    """See `Stream.events`."""

    async def _pull(self, *, hold: bool, deadline: float | None) -> Event[T] | TimedOut:
        while True:
            value = await self._up._pull(hold=hold, deadline=deadline)
            if isinstance(value, TimedOut):
                return value
            try:
                key = self._up._key()
            except DECODE_ERRORS as error:
                await self._feed.undecodable(error, held=hold)
                continue
            record = self._feed.record
            assert record is not None
            headers = tuple(record.headers)
            at = record.timestamp / 1000
            return Event(key, value, headers, at, record.topic, record.partition, record.offset)


def by(key: Callable[[T], Any] | str) -> Callable[[T], Any]:
    """A key function from a function or an attribute's (or dict key's) name."""
    if callable(key):
        return key
    attribute, item = operator.attrgetter(key), operator.itemgetter(key)
    return lambda value: item(value) if isinstance(value, dict) else attribute(value)
