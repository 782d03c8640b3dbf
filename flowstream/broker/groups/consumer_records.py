"""The records of KIP-848 consumer groups in `__consumer_offsets`: schemas only.

What they mean is in `consumer_group`, how they are made in `consumer_changes`.
"""

from __future__ import annotations

from collections.abc import Mapping

from flowstream.errors import WireError
from flowstream.wire.schema import (
    BYTES,
    INT8,
    INT32,
    INT64,
    STRING,
    UUID,
    array,
    decode,
    encode,
    field,
    message,
    struct,
    unknown_tags,
)


@message(versions="0", flexible="none")
class ConsumerGroupMetadataKey:
    """Which group."""

    group_id: str = field(STRING, "0+")


@message(versions="0", flexible="0+")
class ConsumerGroupMetadataValue:
    """The group's epoch and a hash of what it is subscribed to."""

    epoch: int = field(INT32, "0+")
    metadata_hash: int = field(INT64, "0+", tag=0, tagged="0+")


@message(versions="0", flexible="none")
class ConsumerGroupPartitionMetadataKey:
    """Which group; no longer written since 4.1."""

    group_id: str = field(STRING, "0+")


@struct
class PartitionMetadata:
    """One of the `partition_metadata` of `TopicMetadata`."""

    partition: int = field(INT32, "0+")
    racks: tuple[str, ...] = field(array(STRING), "0+")


@struct
class TopicMetadata:
    """One of the `topics` of `ConsumerGroupPartitionMetadataValue`."""

    topic_id: bytes = field(UUID, "0+")
    topic_name: str = field(STRING, "0+")
    num_partitions: int = field(INT32, "0+")
    partition_metadata: tuple[PartitionMetadata, ...] = field(array(PartitionMetadata), "0+")


@message(versions="0", flexible="0+")
class ConsumerGroupPartitionMetadataValue:
    """The topics that the group knew."""

    topics: tuple[TopicMetadata, ...] = field(array(TopicMetadata), "0+")


@message(versions="0", flexible="none")
class ConsumerGroupMemberMetadataKey:
    """Which member of which group."""

    group_id: str = field(STRING, "0+")
    member_id: str = field(STRING, "0+")


@struct
class ClassicProtocol:
    """One of the `supported_protocols` of `ClassicMemberMetadata`."""

    name: str = field(STRING, "0+")
    metadata: bytes = field(BYTES, "0+")


@message(versions="0", flexible="0+")
class ClassicMemberMetadata:
    """What a member that speaks the classic protocol said when it joined."""

    session_timeout_ms: int = field(INT32, "0+")
    supported_protocols: tuple[ClassicProtocol, ...] = field(array(ClassicProtocol), "0+")


@message(versions="0", flexible="0+")
class ConsumerGroupMemberMetadataValue:
    """What a member subscribes to. What a classic member said travels in tag 0: `classic_tag`."""

    instance_id: str | None = field(STRING, "0+", nullable="0+")
    rack_id: str | None = field(STRING, "0+", nullable="0+")
    client_id: str = field(STRING, "0+")
    client_host: str = field(STRING, "0+")
    subscribed_topic_names: tuple[str, ...] = field(array(STRING), "0+")
    subscribed_topic_regex: str | None = field(STRING, "0+", nullable="0+")
    rebalance_timeout_ms: int = field(INT32, "0+", default=-1)
    server_assignor: str | None = field(STRING, "0+", nullable="0+")


@message(versions="0", flexible="none")
class ConsumerGroupTargetAssignmentMetadataKey:
    """Which group."""

    group_id: str = field(STRING, "0+")


@message(versions="0", flexible="0+")
class ConsumerGroupTargetAssignmentMetadataValue:
    """The epoch of the target assignment."""

    assignment_epoch: int = field(INT32, "0+")
    assignment_timestamp: int = field(INT64, "0+", tag=0, tagged="0+")


@message(versions="0", flexible="none")
class ConsumerGroupTargetAssignmentMemberKey:
    """Which member of which group."""

    group_id: str = field(STRING, "0+")
    member_id: str = field(STRING, "0+")


@struct
class TargetTopicPartition:
    """One of the `topic_partitions` of `ConsumerGroupTargetAssignmentMemberValue`."""

    topic_id: bytes = field(UUID, "0+")
    partitions: tuple[int, ...] = field(array(INT32), "0+")


@message(versions="0", flexible="0+")
class ConsumerGroupTargetAssignmentMemberValue:
    """What a member shall own."""

    topic_partitions: tuple[TargetTopicPartition, ...] = field(array(TargetTopicPartition), "0+")


@message(versions="0", flexible="none")
class ConsumerGroupCurrentMemberAssignmentKey:
    """Which member of which group."""

    group_id: str = field(STRING, "0+")
    member_id: str = field(STRING, "0+")


@struct
class CurrentTopicPartitions:
    """One of the `assigned_partitions` of `ConsumerGroupCurrentMemberAssignmentValue`."""

    topic_id: bytes = field(UUID, "0+")
    partitions: tuple[int, ...] = field(array(INT32), "0+")
    assignment_epochs: tuple[int, ...] | None = field(
        array(INT32), "0+", nullable="0+", default=None, tag=0, tagged="0+"
    )


@message(versions="0", flexible="0+")
class ConsumerGroupCurrentMemberAssignmentValue:
    """What a member owns and what it still has to give up."""

    member_epoch: int = field(INT32, "0+")
    previous_member_epoch: int = field(INT32, "0+")
    state: int = field(INT8, "0+")
    assigned_partitions: tuple[CurrentTopicPartitions, ...] = field(
        array(CurrentTopicPartitions), "0+"
    )
    partitions_pending_revocation: tuple[CurrentTopicPartitions, ...] = field(
        array(CurrentTopicPartitions), "0+"
    )


@message(versions="0", flexible="none")
class ConsumerGroupRegularExpressionKey:
    """Which regular expression of which group."""

    group_id: str = field(STRING, "0+")
    regular_expression: str = field(STRING, "0+")


@message(versions="0", flexible="0+")
class ConsumerGroupRegularExpressionValue:
    """The topics that a regular expression matched."""

    topics: tuple[str, ...] = field(array(STRING), "0+")
    version: int = field(INT64, "0+")
    timestamp: int = field(INT64, "0+")


_ABSENT, _PRESENT = b"\0", b"\1"


def classic_tag(said: ClassicMemberMetadata | None) -> tuple[tuple[int, bytes], ...]:
    """Tag 0 of a member's metadata. Kafka writes it even when there is nothing in it, and marks a
    tagged struct that may be null by a count instead of the usual byte."""
    return ((0, _ABSENT if said is None else _PRESENT + encode(said, 0)),)


def classic_metadata(value: ConsumerGroupMemberMetadataValue) -> ClassicMemberMetadata | None:
    """What is in tag 0; None for a member of the consumer protocol. Raises WireError."""
    data = dict(unknown_tags(value)).get(0, _ABSENT)
    if data[:1] not in (_ABSENT, _PRESENT):
        raise WireError(f"classic member metadata begins with {data[:1]!r}")
    return decode(ClassicMemberMetadata, data[1:], 0) if data[:1] == _PRESENT else None


SCHEMAS: Mapping[int, tuple[type, type]] = {
    3: (ConsumerGroupMetadataKey, ConsumerGroupMetadataValue),
    4: (ConsumerGroupPartitionMetadataKey, ConsumerGroupPartitionMetadataValue),
    5: (ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue),
    6: (ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue),
    7: (ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue),
    8: (ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue),
    16: (ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue),
}
"""Key and value by key type; all at version 0."""
