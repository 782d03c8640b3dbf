"""Filling windows: the stages of an agent with windows of its stream.

One instance adds every value to its windows and tells their changes or nothing; another is told
what comes due (`firing`). Each stage's source decides what `tumbling` and the like give.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from flowstream.processing.events.event import Arrival
from flowstream.processing.streams.deduping import Seen
from flowstream.processing.streams.lookups import Waiting
from flowstream.processing.streams.stateful import GroupBy
from flowstream.processing.streams.stream import (
    DerivedStream,
    Feed,
    SourceStream,
    Stream,
    TimedOut,
)
from flowstream.processing.streams.stream_joins import JoinedStreams
from flowstream.processing.streams.stream_windows import StreamWindows
from flowstream.processing.tables.closing import WindowResult
from flowstream.processing.time.windowing import Span
from flowstream.processing.values.codecs import Codec
from flowstream.processing.values.joined import Joined

T = TypeVar("T")


class FilledSource(SourceStream[T]):
    """The stream of an agent that fills its windows with it."""

    def __init__(
        self,
        feed: Feed,
        keys: Codec[Any],
        values: Codec[Any],
        shape: Callable[[Arrival, Any], T] | None,
        windows: StreamWindows,
    ) -> None:
        super().__init__(feed, keys, values, shape)
        self._windows = windows

    def opened(
        self, upstream: Stream[Any], windows: StreamWindows
    ) -> Stream[WindowResult[Any, Any]]:
        """The changes of the windows; what the agent asked for is bound already."""
        del windows
        return FillStream(upstream, self._windows)


class FillStream(DerivedStream[WindowResult[Any, Any]]):
    """Adds every value to its windows. Tells the changes, or nothing at all where results are
    told by another instance.
    """

    def __init__(self, up: Stream[Any], windows: StreamWindows) -> None:
        super().__init__(up)
        self._windows = windows
        self._changed: deque[Span] = deque()

    async def _pull(
        self, *, hold: bool, deadline: float | None
    ) -> WindowResult[Any, Any] | TimedOut:
        while not self._changed:
            value = await self._up._pull(hold=hold, deadline=deadline)
            if isinstance(value, TimedOut):
                return value
            spans = self._feed.fill(self._windows, value)
            if self._windows.tells_changes:
                self._changed.extend(spans)
        span = self._changed.popleft()
        result = self._windows.windowing.aggregate.result(span.kept)
        start, end = span.start_ms / 1000, span.end_ms / 1000
        return WindowResult(self._up._key(), start, end, result, is_final=False)


class Passing(SourceStream[T]):
    """A source behind which what stands before windows or a join has been done elsewhere."""

    def filter(self, predicate: Callable[[T], bool | Awaitable[bool]]) -> Stream[T]:
        """Nothing to do."""
        del predicate
        return self

    def grouped(self, upstream: Stream[T], group: GroupBy) -> Stream[T]:
        """Nothing to do."""
        del upstream, group
        return self

    def deduped(self, upstream: Stream[T], seen: Seen) -> Stream[T]:
        """Nothing to do."""
        del upstream, seen
        return self


class ResultsSource(Passing[T]):
    """Results that came due. What stands before the windows was done where they were filled."""

    def looked_up(self, upstream: Stream[Any], waiting: Waiting) -> Stream[Joined[Any, Any]]:
        """Events whose time has come, as the agent goes on with them."""
        del upstream, waiting
        shape: Any = self._shape
        return SourceStream(self._source, self._keys, self._values, shape)

    def joined(self, upstream: Stream[Any], join: JoinedStreams) -> Stream[Joined[Any, Any]]:
        """What met nobody, as the agent goes on with it."""
        del upstream, join
        shape: Any = self._shape
        return SourceStream(self._source, self._keys, self._values, shape)

    def opened(
        self, upstream: Stream[Any], windows: StreamWindows
    ) -> Stream[WindowResult[Any, Any]]:
        """The results, as the agent goes on with them."""
        del upstream, windows
        shape: Any = self._shape
        return SourceStream(self._source, self._keys, self._values, shape)
