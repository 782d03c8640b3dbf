"""ListOffsets (2): find the offset of a timestamp, or of the start or end of a partition.

Timestamps below zero are questions: -1 latest, -2 earliest, -3 largest timestamp (7, KIP-734),
-4 earliest local (8), -5 tiered (9), -6 (11, KIP-1023). 2 adds the isolation level; 4 leader
epochs; 6 is flexible; 10 a timeout for remote lookups (KIP-1075).
"""

from __future__ import annotations

from flowstream.wire.fields import INT8, INT16, INT32, INT64, STRING, array, field, message, struct


@struct
class ListOffsetsPartition:
    """One of the `partitions` of `ListOffsetsTopic`."""

    partition_index: int = field(INT32, "0+")
    current_leader_epoch: int = field(INT32, "4+", default=-1, ignorable=True)
    timestamp: int = field(INT64, "0+")


@struct
class ListOffsetsTopic:
    """One of the `topics` of `ListOffsetsRequest`."""

    name: str = field(STRING, "0+")
    partitions: tuple[ListOffsetsPartition, ...] = field(array(ListOffsetsPartition), "0+")


@message(versions="1-11", flexible="6+")
class ListOffsetsRequest:
    """Timestamps to look up, by topic and partition."""

    replica_id: int = field(INT32, "0+")
    isolation_level: int = field(INT8, "2+")
    topics: tuple[ListOffsetsTopic, ...] = field(array(ListOffsetsTopic), "0+")
    timeout_ms: int = field(INT32, "10+", ignorable=True)


@struct
class ListOffsetsPartitionResponse:
    """One of the `partitions` of `ListOffsetsTopicResponse`."""

    partition_index: int = field(INT32, "0+")
    error_code: int = field(INT16, "0+")
    timestamp: int = field(INT64, "1+", default=-1)
    offset: int = field(INT64, "1+", default=-1)
    leader_epoch: int = field(INT32, "4+", default=-1)


@struct
class ListOffsetsTopicResponse:
    """One of the `topics` of `ListOffsetsResponse`."""

    name: str = field(STRING, "0+")
    partitions: tuple[ListOffsetsPartitionResponse, ...] = field(
        array(ListOffsetsPartitionResponse), "0+"
    )


@message(versions="1-11", flexible="6+")
class ListOffsetsResponse:
    """The offset of each."""

    throttle_time_ms: int = field(INT32, "2+", ignorable=True)
    topics: tuple[ListOffsetsTopicResponse, ...] = field(array(ListOffsetsTopicResponse), "0+")
