"""Re-keying: the stages of an agent with `group_by`.

One instance runs everything before it and sends the values on under their new key; another runs
what comes after, on the topic between them. Each stage's source decides what `group_by` gives.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from flowstream.processing.errors import AppError
from flowstream.processing.streams.deduping import DEDUPED_BEFORE, Seen
from flowstream.processing.streams.lookups import Waiting
from flowstream.processing.streams.stateful import GroupBy
from flowstream.processing.streams.stream import DerivedStream, SourceStream, Stream, TimedOut
from flowstream.processing.streams.stream_joins import JoinedStreams
from flowstream.processing.streams.stream_windows import StreamWindows
from flowstream.processing.values.codecs import Codec, codec_of, refusal
from flowstream.processing.values.durations import Seconds

T = TypeVar("T")


class ForwardSource(SourceStream[T]):
    """Stage 0: everything up to `group_by` runs here and its values leave under the new key."""

    def grouped(self, upstream: Stream[T], group: GroupBy) -> Stream[T]:
        """A stream that forwards for ever and never gives the agent's body a value."""
        return ForwardStream(upstream, group)

    def deduped(self, upstream: Stream[T], seen: Seen) -> Stream[T]:
        """Ids are remembered where the values of one key meet."""
        raise AppError(DEDUPED_BEFORE)


class ForwardStream(DerivedStream[T]):
    """Sends every value on under its new key."""

    def __init__(self, up: Stream[T], group: GroupBy) -> None:
        super().__init__(up)
        self._group = group

    async def _pull(self, *, hold: bool, deadline: float | None) -> T | TimedOut:
        while True:
            value = await self._up._pull(hold=hold, deadline=deadline)
            if isinstance(value, TimedOut):
                return value
            record = self._feed.record
            assert record is not None
            by, topic = self._group.key, self._group.topic
            if topic is not None:
                data = record.value if value is None else topic.encode_value(value)
                self._feed.forward(record.key if by is None else topic.encode_key(by(value)), data)
                continue
            assert by is not None
            key = by(value)
            self._feed.forward(None if key is None else self._encoded(key), record.value)

    def _encoded(self, key: Any) -> bytes:
        codec: Codec[Any] = codec_of(self._group.key_type or type(key))
        try:
            return codec.encode(key)
        except (TypeError, ValueError) as error:
            what = "the key that group_by makes"
            raise refusal(codec, key, error, what, "key_type") from None

    def filter(self, predicate: Callable[[T], bool | Awaitable[bool]]) -> Stream[T]:
        """Done on the other side of the topic."""
        del predicate
        return self

    def dedupe(
        self,
        within: Seconds,
        *,
        by: Callable[[T], Any] | str | None = None,
        name: str | None = None,
    ) -> Stream[T]:
        """Done on the other side of the topic."""
        del within, by, name
        return self

    def _looked_up(self, waiting: Waiting) -> Stream[Any]:
        """Joined on the other side of the topic."""
        del waiting
        return self

    def _joined(self, join: JoinedStreams) -> Stream[Any]:
        """Joined on the other side of the topic."""
        del join
        return self

    def windowed(self, windows: StreamWindows) -> Stream[Any]:
        """Filled on the other side of the topic."""
        del windows
        return self


class GroupedSource(SourceStream[T]):
    """Stage 1: records of the repartition topic; what stood before `group_by` has been done.

    `inside` is the stream of those records as the agent goes on with it.
    """

    def __init__(self, inside: SourceStream[T]) -> None:
        super().__init__(inside._source, inside._keys, inside._values)
        self._inside = inside

    def filter(self, predicate: Callable[[T], bool | Awaitable[bool]]) -> Stream[T]:
        """Nothing to do: stage 0 has filtered."""
        del predicate
        return self

    def grouped(self, upstream: Stream[T], group: GroupBy) -> Stream[T]:
        """The records of the repartition topic."""
        del upstream, group
        return self._inside
