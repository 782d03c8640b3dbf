"""Events of two streams that meet: the stages of an agent with a join.

One instance reads the left topic, one the right; each enters its events and gives the pairs that
they make. A third is told what met nobody (`firing`). Each stage's source decides what `join`
gives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from flowstream.processing.events.event import Arrival
from flowstream.processing.running.filling import Passing
from flowstream.processing.streams.joining import Side
from flowstream.processing.streams.stream import (
    DerivedStream,
    Feed,
    SourceStream,
    Stream,
    TimedOut,
)
from flowstream.processing.streams.stream_joins import JoinedStreams
from flowstream.processing.values.codecs import Codec
from flowstream.processing.values.joined import Joined

T = TypeVar("T")


class LeftSource(SourceStream[T]):
    """The left side of a join: the agent's own stream."""

    def __init__(
        self,
        feed: Feed,
        keys: Codec[Any],
        values: Codec[Any],
        shape: Callable[[Arrival, Any], T] | None,
        join: JoinedStreams,
    ) -> None:
        super().__init__(feed, keys, values, shape)
        self._join = join

    def joined(self, upstream: Stream[Any], join: JoinedStreams) -> Stream[Joined[Any, Any]]:
        """Pairs as they meet; what the agent asked for is bound already."""
        del join
        return JoinStream(upstream, self._join, "left")


class RightSource(Passing[T], LeftSource[T]):
    """The right side. What stands before the join is the left stream's affair."""

    def joined(self, upstream: Stream[Any], join: JoinedStreams) -> Stream[Joined[Any, Any]]:
        """Pairs as they meet."""
        del join
        return JoinStream(upstream, self._join, "right")


class JoinStream(DerivedStream[Joined[Any, Any]]):
    """Enters every event of one side, and gives the pairs that it makes."""

    def __init__(self, up: Stream[Any], join: JoinedStreams, side: Side) -> None:
        super().__init__(up)
        self._join = join
        self._side: Side = side
        self._decode = join.values["right" if side == "left" else "left"].decode
        self._met: deque[tuple[int, Joined[Any, Any]]] = deque()

    async def _pull(self, *, hold: bool, deadline: float | None) -> Joined[Any, Any] | TimedOut:
        feed = self._feed
        while not self._met:
            value = await self._up._pull(hold=hold, deadline=deadline)
            if isinstance(value, TimedOut):
                return value
            record = feed.record
            assert record is not None
            own_ms = record.timestamp
            for at_ms, _, data in feed.meet(self._join, self._side):
                other = self._decode(data)
                pair = Joined(value, other) if self._side == "left" else Joined(other, value)
                self._met.append((max(at_ms, own_ms), pair))
        at_ms, pair = self._met.popleft()
        feed.show_at(at_ms)
        return pair
