"""One record as an agent sees it with `stream.events()`, and the record as it arrives.

Values only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

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


def without_headers(record: Arrival, timestamp_ms: int) -> Arrival:
    """The record as one that wants nothing, with another timestamp."""
    return Retimed(
        record.topic, record.partition, record.offset, timestamp_ms, record.key, record.value, ()
    )


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
