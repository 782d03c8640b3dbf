"""DescribeQuorum (55): state of the metadata quorum (KIP-595).

1 adds times of the last contact (KIP-836); 2 adds directory ids and endpoints of the voters
(KIP-853).
"""

from __future__ import annotations

from flowstream.wire.fields import (
    INT16,
    INT32,
    INT64,
    STRING,
    UINT16,
    UUID,
    array,
    field,
    message,
    struct,
)


@struct
class PartitionData:
    """One of the `partitions` of `TopicData`."""

    partition_index: int = field(INT32, "0+")


@struct
class TopicData:
    """One of the `topics` of `DescribeQuorumRequest`."""

    topic_name: str = field(STRING, "0+")
    partitions: tuple[PartitionData, ...] = field(array(PartitionData), "0+")


@message(versions="0-2", flexible="0+")
class DescribeQuorumRequest:
    """The partitions asked about."""

    topics: tuple[TopicData, ...] = field(array(TopicData), "0+")


@struct
class ReplicaState:
    """One of the `current_voters` of `PartitionData`."""

    replica_id: int = field(INT32, "0+")
    replica_directory_id: bytes = field(UUID, "2+")
    log_end_offset: int = field(INT64, "0+")
    last_fetch_timestamp: int = field(INT64, "1+", default=-1, ignorable=True)
    last_caught_up_timestamp: int = field(INT64, "1+", default=-1, ignorable=True)


@struct
class PartitionDataResponse:
    """One of the `partitions` of `TopicData`."""

    partition_index: int = field(INT32, "0+")
    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "2+", nullable="2+", ignorable=True)
    leader_id: int = field(INT32, "0+")
    leader_epoch: int = field(INT32, "0+")
    high_watermark: int = field(INT64, "0+")
    current_voters: tuple[ReplicaState, ...] = field(array(ReplicaState), "0+")
    observers: tuple[ReplicaState, ...] = field(array(ReplicaState), "0+")


@struct
class TopicDataResponse:
    """One of the `topics` of `DescribeQuorumResponse`."""

    topic_name: str = field(STRING, "0+")
    partitions: tuple[PartitionDataResponse, ...] = field(array(PartitionDataResponse), "0+")


@struct
class Listener:
    """One of the `listeners` of `Node`."""

    name: str = field(STRING, "2+")
    host: str = field(STRING, "2+")
    port: int = field(UINT16, "2+")


@struct
class Node:
    """One of the `nodes` of `DescribeQuorumResponse`."""

    node_id: int = field(INT32, "2+")
    listeners: tuple[Listener, ...] = field(array(Listener), "2+")


@message(versions="0-2", flexible="0+")
class DescribeQuorumResponse:
    """Leader, voters and observers."""

    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "2+", nullable="2+", ignorable=True)
    topics: tuple[TopicDataResponse, ...] = field(array(TopicDataResponse), "0+")
    nodes: tuple[Node, ...] = field(array(Node), "2+")
