"""The records of KIP-848 consumer groups in `__consumer_offsets`: schemas only.

A directory that a real Kafka wrote may hold them; they are understood so that nothing in such a
log is a riddle.
"""

from __future__ import annotations

from collections.abc import Mapping

from flowstream.wire.schema import (
    INT8,
    INT32,
    INT64,
    STRING,
    UUID,
    array,
    field,
    message,
    struct,
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


@message(versions="0", flexible="0+")
class ConsumerGroupMemberMetadataValue:
    """What a member subscribes to. What a classic member of such a group says travels in tag 0 and
    is kept as it is.
    """

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
