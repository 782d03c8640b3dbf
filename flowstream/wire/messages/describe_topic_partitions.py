"""DescribeTopicPartitions (75): topics page by page (KIP-966)."""

from __future__ import annotations

from flowstream.wire.fields import (
    BOOLEAN,
    INT16,
    INT32,
    STRING,
    UUID,
    array,
    field,
    message,
    struct,
)


@struct
class TopicRequest:
    """One of the `topics` of `DescribeTopicPartitionsRequest`."""

    name: str = field(STRING, "0+")


@struct
class Cursor:
    """The `cursor` of `DescribeTopicPartitionsRequest`."""

    topic_name: str = field(STRING, "0+")
    partition_index: int = field(INT32, "0+")


@message(versions="0", flexible="0+")
class DescribeTopicPartitionsRequest:
    """The topics, and where to go on."""

    topics: tuple[TopicRequest, ...] = field(array(TopicRequest), "0+")
    response_partition_limit: int = field(INT32, "0+", default=2000)
    cursor: Cursor | None = field(Cursor, "0+", nullable="0+", default=None)


@struct
class DescribeTopicPartitionsResponsePartition:
    """One of the `partitions` of `DescribeTopicPartitionsResponseTopic`."""

    error_code: int = field(INT16, "0+")
    partition_index: int = field(INT32, "0+")
    leader_id: int = field(INT32, "0+")
    leader_epoch: int = field(INT32, "0+", default=-1, ignorable=True)
    replica_nodes: tuple[int, ...] = field(array(INT32), "0+")
    isr_nodes: tuple[int, ...] = field(array(INT32), "0+")
    eligible_leader_replicas: tuple[int, ...] | None = field(
        array(INT32), "0+", nullable="0+", default=None
    )
    last_known_elr: tuple[int, ...] | None = field(array(INT32), "0+", nullable="0+", default=None)
    offline_replicas: tuple[int, ...] = field(array(INT32), "0+", ignorable=True)


@struct
class DescribeTopicPartitionsResponseTopic:
    """One of the `topics` of `DescribeTopicPartitionsResponse`."""

    error_code: int = field(INT16, "0+")
    name: str | None = field(STRING, "0+", nullable="0+")
    topic_id: bytes = field(UUID, "0+", ignorable=True)
    is_internal: bool = field(BOOLEAN, "0+", ignorable=True)
    partitions: tuple[DescribeTopicPartitionsResponsePartition, ...] = field(
        array(DescribeTopicPartitionsResponsePartition), "0+"
    )
    topic_authorized_operations: int = field(INT32, "0+", default=-2147483648)


@message(versions="0", flexible="0+")
class DescribeTopicPartitionsResponse:
    """Partitions, and the cursor of the next page."""

    throttle_time_ms: int = field(INT32, "0+", ignorable=True)
    topics: tuple[DescribeTopicPartitionsResponseTopic, ...] = field(
        array(DescribeTopicPartitionsResponseTopic), "0+"
    )
    next_cursor: Cursor | None = field(Cursor, "0+", nullable="0+", default=None)
