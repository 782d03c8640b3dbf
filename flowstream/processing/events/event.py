"""One record as an agent sees it with `stream.events()`, and the record as it arrives.

Values only.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from flowstream.processing.errors import AppError
from flowstream.processing.events.replies import CORRELATION, REPLY_TO
from flowstream.processing.instead import missing
from flowstream.transport.types import TopicPartition

if TYPE_CHECKING:
    from flowstream.processing.events.current import Headers
    from flowstream.processing.events.topic import RecordMetadata, Topic

T = TypeVar("T")


class Arrival(Protocol):
    """A consumed record: what processing needs of the consumer's own class."""

    @property
    def topic(self) -> str:
        """The topic."""

    @property
    def partition(self) -> int:
        """The partition."""

    @property
    def offset(self) -> int:
        """The offset."""

    @property
    def timestamp(self) -> int:
        """Milliseconds since the epoch."""

    @property
    def key(self) -> bytes | None:
        """The key's bytes."""

    @property
    def value(self) -> bytes | None:
        """The value's bytes; None is a tombstone."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Headers in order."""


@dataclass(frozen=True, slots=True)
class Retimed:
    """A record whose event time was read from its value."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


def retimed(record: Arrival, timestamp_ms: int) -> Arrival:
    """The record with another timestamp."""
    return Retimed(
        record.topic, record.partition, record.offset, timestamp_ms, record.key, record.value,
        record.headers,
    )  # fmt: skip


class Came:
    """A record that `came`, in the shape of one that says something else."""

    __slots__ = ()
    came: Arrival

    @property
    def topic(self) -> str:
        """The topic."""
        return self.came.topic

    @property
    def partition(self) -> int:
        """The partition."""
        return self.came.partition

    @property
    def offset(self) -> int:
        """The offset."""
        return self.came.offset


@dataclass(frozen=True, slots=True)
class Mistimed(Came):
    """A record whose own time is none, in the shape of one that says another of time; it is passed
    over, and stays so if its unit is tried again.
    """

    came: Arrival
    timestamp: int
    """Milliseconds since the epoch."""

    @property
    def key(self) -> bytes | None:
        """The key's bytes."""
        return self.came.key

    @property
    def value(self) -> bytes | None:
        """The value's bytes."""
        return self.came.value

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Headers in order."""
        return self.came.headers


def as_it_came(record: Arrival) -> Arrival:
    """The record with the time that it has."""
    return record.came if isinstance(record, Mistimed) else record


def without_headers(record: Arrival, timestamp_ms: int) -> Arrival:
    """The record as one that wants nothing, with another timestamp."""
    return Retimed(
        record.topic, record.partition, record.offset, timestamp_ms, record.key, record.value, ()
    )


SAME: Final = object()
"""What an event itself has."""


@dataclass(frozen=True, slots=True)
class Message:
    """Where an event's record is, as Faust's `event.message` says it; `timestamp` is in seconds."""

    topic: str
    partition: int
    offset: int
    timestamp: float
    headers: tuple[tuple[str, bytes | None], ...]

    @property
    def tp(self) -> TopicPartition:
        """Topic and partition."""
        return TopicPartition(self.topic, self.partition)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            told = "`event.key` and `event.value` are decoded, the bytes are not kept"
            raise AttributeError(f"'Message' object has no attribute {name!r}: {told}")


@dataclass(frozen=True, slots=True)
class Event(Generic[T]):
    """A value with everything its record said; `timestamp` is in seconds."""

    key: Any
    value: T
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: float
    topic: str
    partition: int
    offset: int
    origin: str = field(default="", repr=False, compare=False)
    """App and agent that got it."""

    if not TYPE_CHECKING:  # checkers know what is there

        def __getattr__(self, name: str) -> Any:
            raise missing("Event", name, f"{type(self).__name__!r} object")

    @property
    def message(self) -> Message:
        """Where its record is; key and value are the event's alone, decoded."""
        return Message(self.topic, self.partition, self.offset, self.timestamp, self.headers)

    @property
    def idempotency_key(self) -> str:
        """A name for what this agent does with this event, the same in every try, after a restart
        and on any worker: for services that must not act on one event twice.

        AppError for events that are in no topic (of windows, timers, joins and tables).
        """
        if self.offset < 0:
            raise AppError(
                f"an event of {self.topic!r} has no place in a topic and so no key of its own: name"
                " the effect by what the event says, such as its key and the window's start"
            )
        return f"{self.origin}/{self.topic}/{self.partition}/{self.offset}"

    def send(
        self,
        topic: Topic[Any, Any],
        key: Any = SAME,
        value: Any = SAME,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: Headers | None = None,
    ) -> Coroutine[Any, Any, RecordMetadata]:
        """Send the event on to a topic, in the unit: with its own key, value, timestamp and headers
        but for those that are given. A request's headers stay: its reply is this agent's to give.
        """
        own = tuple(pair for pair in self.headers if pair[0] not in (REPLY_TO, CORRELATION))
        return topic.send(
            key=self.key if key is SAME else key,
            value=self.value if value is SAME else value,
            partition=partition,
            timestamp=self.timestamp if timestamp is None else timestamp,
            headers=own if headers is None else headers,
        )

    forward = send
    """By Faust's name; the value is encoded as the topic says."""


def event_of(record: Arrival, key: Any, value: T, origin: str = "") -> Event[T]:
    """The event of a record whose key and value are decoded.

    >>> event_of(Retimed("orders", 0, 7, 1_500, b"a", b"1", ()), "a", 1).timestamp
    1.5
    """
    headers, at = tuple(record.headers), record.timestamp / 1000
    return Event(key, value, headers, at, record.topic, record.partition, record.offset, origin)
