"""The values that transport hands to the worker. Plain data: knows no connection and no library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

Headers = Sequence[tuple[str, bytes | None]]
"""Headers of a record, in order; keys may repeat."""


class TopicPartition(NamedTuple):
    """A partition of a topic. Equal to any (topic, partition) tuple."""

    topic: str
    partition: int


class LogRecord(Protocol):
    """A record as a partition reader delivers it."""

    @property
    def offset(self) -> int:
        """Place in the partition."""

    @property
    def timestamp(self) -> int:
        """Milliseconds since the Unix epoch."""

    @property
    def key(self) -> bytes | None:
        """Key, if any."""

    @property
    def value(self) -> bytes | None:
        """Value; None is a tombstone."""

    @property
    def headers(self) -> Headers:
        """Headers in order."""


class ConsumerRecord(LogRecord, Protocol):
    """A record as the group consumer delivers it."""

    @property
    def topic(self) -> str:
        """The topic."""

    @property
    def partition(self) -> int:
        """The partition."""


class Position(NamedTuple):
    """What a group has committed for a partition."""

    offset: int
    note: str
    """A text of its own beside it (Kafka's metadata of an offset)."""


class RecordMetadata(NamedTuple):
    """Where a sent record went."""

    topic: str
    partition: int
    offset: int


class Generation(NamedTuple):
    """A group member in one generation: what the coordinator checks before it takes offsets
    (KIP-447).
    """

    group: str
    generation_id: int
    member_id: str
    instance_id: str | None = None


class NewTopic(NamedTuple):
    """A topic to create. Partitions or replication -1: the broker's default (KIP-464)."""

    name: str
    partitions: int = -1
    replication: int = -1
    configs: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """A topic as the cluster describes it. `configs` is None unless they were asked for."""

    name: str
    topic_id: bytes
    partitions: int
    internal: bool
    configs: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class GroupListing:
    """A group as its coordinator lists it."""

    group: str
    state: str
    protocol_type: str
    type: str
    """`classic` or `consumer` (KIP-848); empty when the cluster does not say."""


@dataclass(frozen=True, slots=True)
class GroupMember:
    """A member of a group and the partitions it owns."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    partitions: tuple[TopicPartition, ...] = ()
    user_data: bytes = b""
    """What a member of a classic group says to its leader, beside its topics."""
    assigned_data: bytes = b""
    """What the leader of a classic group says to a member, beside its partitions."""


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """A group with its members. State is Kafka's word: Empty, Stable, Dead, ..."""

    group: str
    state: str
    protocol: str
    members: tuple[GroupMember, ...] = field(default=())
