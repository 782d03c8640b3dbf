"""Operators of a stream that need no state: each pulls from the stream before it."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar, cast

from flowstream.processing.declaring import described
from flowstream.processing.events.event import Event, event_of
from flowstream.processing.events.topic import Topic
from flowstream.processing.streams.stream import AT_ITS_END, DerivedStream, Stream, TimedOut
from flowstream.processing.values.codecs import DECODE_ERRORS

T = TypeVar("T")
R = TypeVar("R")


class FilterStream(DerivedStream[T]):
    """See `Stream.filter`."""

    is_transparent = True

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
        feed = self._feed
        before = feed.taken
        first = await self._next(hold=hold, deadline=deadline)
        if isinstance(first, TimedOut):
            return first
        values = [first]
        # A list that begins in the middle of a record ends with it: else a unit might never end,
        # as each list would share a record with the one before.
        until = AT_ITS_END if feed.taken == before else feed.loop_time() + self._within_s
        while len(values) < self._most:
            value = await self._next(hold=True, deadline=until)
            if isinstance(value, TimedOut):
                break
            values.append(value)
        return values

    async def _next(self, *, hold: bool, deadline: float | None) -> T | TimedOut:
        feed = self._feed
        before = feed.taken
        try:
            value = await self._up._pull(hold=hold, deadline=deadline)
        except Exception:
            if feed.taken > before:
                feed.gave()  # it failed on this one
            raise
        if not isinstance(value, TimedOut):
            feed.gave()
        return value


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
            return event_of(record, key, value, self._feed.origin)


class MapStream(DerivedStream[R]):
    """See `Stream.map`."""

    def __init__(self, up: Stream[T], function: Callable[[T], Awaitable[R] | R]) -> None:
        super().__init__(up)
        self._function = function

    async def _pull(self, *, hold: bool, deadline: float | None) -> R | TimedOut:
        value = await self._up._pull(hold=hold, deadline=deadline)
        if isinstance(value, TimedOut):
            return value
        made = self._function(value)
        return cast("R", await made if inspect.isawaitable(made) else made)


class FlatMapStream(DerivedStream[R]):
    """See `Stream.flat_map`."""

    def __init__(self, up: Stream[T], function: Callable[[T], Iterable[R]]) -> None:
        super().__init__(up)
        self._function = function
        self._made: deque[R] = deque()

    async def _pull(self, *, hold: bool, deadline: float | None) -> R | TimedOut:
        while not self._made:
            value = await self._up._pull(hold=hold, deadline=deadline)
            if isinstance(value, TimedOut):
                return value
            made = self._function(value)
            try:
                values = iter(made)
            except TypeError:
                raise _no_values(made) from None
            self._made.extend(values)
        return self._made.popleft()


def _no_values(made: object) -> TypeError:
    if inspect.iscoroutine(made):
        made.close()
        return TypeError(
            "flat_map's function is async, and it takes a plain one: `async for` over the stream,"
            " and await in the agent"
        )
    return TypeError(f"flat_map's function gives a list of values, not {described(made)}")


class EnumerateStream(DerivedStream[tuple[int, T]]):
    """See `Stream.enumerate`."""

    def __init__(self, up: Stream[T], start: int) -> None:
        super().__init__(up)
        self._next = start

    async def _pull(self, *, hold: bool, deadline: float | None) -> tuple[int, T] | TimedOut:
        value = await self._up._pull(hold=hold, deadline=deadline)
        if isinstance(value, TimedOut):
            return value
        number, self._next = self._next, self._next + 1
        return number, value


class EchoStream(DerivedStream[T]):
    """See `Stream.echo`."""

    def __init__(self, up: Stream[T], topics: Sequence[Topic[Any, T]]) -> None:
        super().__init__(up)
        self._topics = topics

    async def _pull(self, *, hold: bool, deadline: float | None) -> T | TimedOut:
        value = await self._up._pull(hold=hold, deadline=deadline)
        if isinstance(value, TimedOut):
            return value
        key = self._up._key()
        for topic in self._topics:
            await topic.send(key=key, value=value)
        return cast("T", value)
