"""The records of `__consumer_offsets` in Kafka's schemas: committed offsets and classic groups.

A key begins with its type (which Kafka calls its version), a value with the version of its schema.
Consumer groups' records (KIP-848) are in `consumer_records`; what this broker does not know at all
is skipped on load, as in Kafka.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from flowstream.broker.groups import consumer_records as consumer
from flowstream.errors import WireError
from flowstream.wire.schema import (
    BYTES,
    INT32,
    INT64,
    STRING,
    UUID,
    ZERO_UUID,
    Buffer,
    array,
    decode,
    encode,
    field,
    message,
    struct,
)

OFFSET_VERSION = 4
EXPIRING_OFFSET_VERSION = 1
"""The only version with an expiry of its own; written for OffsetCommit 2-4 with a retention
time."""
GROUP_VERSION = 3
GROUP_KEY_TYPE = 2
OFFSET_KEY_TYPE = 1


@message(versions="0-1", flexible="none")
class OffsetCommitKey:
    """Whose position in which partition."""

    group: str = field(STRING, "0+")
    topic: str = field(STRING, "0+")
    partition: int = field(INT32, "0+")


@message(versions="0-4", flexible="4+")
class OffsetCommitValue:
    """A committed position."""

    offset: int = field(INT64, "0+")
    leader_epoch: int = field(INT32, "3+", default=-1, ignorable=True)
    metadata: str = field(STRING, "0+")
    commit_timestamp: int = field(INT64, "0+")
    expire_timestamp: int = field(INT64, "1", default=-1, ignorable=True)
    topic_id: bytes = field(UUID, "4+", tag=0, tagged="4+", ignorable=True)


@message(versions="2", flexible="none")
class GroupMetadataKey:
    """Which classic group."""

    group: str = field(STRING, "2+")


@struct
class MemberMetadata:
    """One of the `members` of `GroupMetadataValue`."""

    member_id: str = field(STRING, "0+")
    group_instance_id: str | None = field(STRING, "3+", nullable="3+", default=None, ignorable=True)
    client_id: str = field(STRING, "0+")
    client_host: str = field(STRING, "0+")
    rebalance_timeout: int = field(INT32, "1+", default=-1, ignorable=True)
    session_timeout: int = field(INT32, "0+")
    subscription: bytes = field(BYTES, "0+")
    assignment: bytes = field(BYTES, "0+")


@message(versions="0-4", flexible="4+")
class GroupMetadataValue:
    """A classic group as of its last completed rebalance."""

    protocol_type: str = field(STRING, "0+")
    generation: int = field(INT32, "0+")
    protocol: str | None = field(STRING, "0+", nullable="0+", default=None)
    leader: str | None = field(STRING, "0+", nullable="0+", default=None)
    current_state_timestamp: int = field(INT64, "2+", default=-1, ignorable=True)
    members: tuple[MemberMetadata, ...] = field(array(MemberMetadata), "0+")


@dataclass(frozen=True, slots=True)
class OffsetRecord:
    """A committed offset; without a value, that it is gone."""

    key: OffsetCommitKey
    value: OffsetCommitValue | None
    version: int = OFFSET_VERSION
    key_type: int = OFFSET_KEY_TYPE


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """A classic group's state; without a value, that it is deleted."""

    key: GroupMetadataKey
    value: GroupMetadataValue | None
    version: int = GROUP_VERSION
    key_type: int = GROUP_KEY_TYPE


@dataclass(frozen=True, slots=True)
class ConsumerGroupRecord:
    """A record of a consumer group (KIP-848); without a value, a tombstone."""

    key: object
    value: object | None
    version: int
    key_type: int


Record = OffsetRecord | GroupRecord | ConsumerGroupRecord
"""What the coordinator's durable state is folded from."""


class _Kind(NamedTuple):
    key: type
    key_version: int
    value: type


_KINDS: Mapping[int, _Kind] = {
    0: _Kind(OffsetCommitKey, 0, OffsetCommitValue),
    1: _Kind(OffsetCommitKey, 1, OffsetCommitValue),
    2: _Kind(GroupMetadataKey, 2, GroupMetadataValue),
    **{number: _Kind(key, 0, value) for number, (key, value) in consumer.SCHEMAS.items()},
}


def offset_record(
    group: str, topic: str, partition: int, value: OffsetCommitValue | None
) -> OffsetRecord:
    """A record that commits `value`, or that forgets the offset when it is None."""
    key = OffsetCommitKey(group=group, topic=topic, partition=partition)
    if value is not None and value.expire_timestamp != -1:
        # Version 1 has neither epoch nor topic id: drop them here too, so that live state and
        # replay agree.
        assert value.leader_epoch == -1, "an expiring offset has no leader epoch"
        assert value.topic_id == ZERO_UUID, "an expiring offset has no topic id"
        return OffsetRecord(key, value, EXPIRING_OFFSET_VERSION)
    return OffsetRecord(key, value)


def group_record(group: str, value: GroupMetadataValue | None) -> GroupRecord:
    """A record that keeps `value`, or that deletes the group when it is None."""
    return GroupRecord(GroupMetadataKey(group=group), value)


def encode_record(record: Record) -> tuple[bytes, bytes | None]:
    """The record's key and value as they stand in the log."""
    kind = _KINDS[record.key_type]
    key = record.key_type.to_bytes(2) + encode(record.key, kind.key_version)
    if record.value is None:
        return key, None
    return key, record.version.to_bytes(2) + encode(record.value, record.version)


def decode_record(key: Buffer | None, value: Buffer | None) -> Record | None:
    """The inverse of `encode_record`; None for types that Kafka may add. Raises WireError for what
    cannot be understood."""
    if key is None or len(key) < 2:
        raise WireError("a record of __consumer_offsets without a key")
    key_type = int.from_bytes(key[:2])
    kind = _KINDS.get(key_type)
    if kind is None:
        return None
    decoded_key: object = decode(kind.key, key[2:], kind.key_version)
    version = 0
    decoded: object | None = None
    if value is not None:
        version = int.from_bytes(value[:2])
        decoded = decode(kind.value, value[2:], version)
    return _record(decoded_key, decoded, version, key_type)


def _record(key: object, value: object | None, version: int, key_type: int) -> Record:
    if isinstance(key, OffsetCommitKey):
        assert value is None or isinstance(value, OffsetCommitValue)
        return OffsetRecord(key, value, OFFSET_VERSION if value is None else version, key_type)
    if isinstance(key, GroupMetadataKey):
        assert value is None or isinstance(value, GroupMetadataValue)
        return GroupRecord(key, value, GROUP_VERSION if value is None else version, key_type)
    return ConsumerGroupRecord(key, value, version, key_type)
