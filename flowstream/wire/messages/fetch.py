"""Fetch (1): read record batches of partitions, waiting for a minimum of bytes.

7 adds fetch sessions (KIP-227); 9 the reader's leader epoch (KIP-320); 10 allows zstd; 11 adds
the rack (KIP-392). 12 is flexible and reports truncation (KIP-595); 13 names topics by id; 15
moves the replica into a tag (KIP-903). 16 names new leaders (KIP-951); 17 carries the replica's
directory (KIP-853); 18 a follower's high watermark (KIP-1166).
"""

from __future__ import annotations

from flowstream.wire.fields import (
    INT8,
    INT16,
    INT32,
    INT64,
    RECORDS,
    STRING,
    UUID,
    Records,
    array,
    field,
    message,
    struct,
)


@struct
class ReplicaState:
    """The `replica_state` of `FetchRequest`."""

    replica_id: int = field(INT32, "15+", default=-1)
    replica_epoch: int = field(INT64, "15+", default=-1)


@struct
class FetchPartition:
    """One of the `partitions` of `FetchTopic`."""

    partition: int = field(INT32, "0+")
    current_leader_epoch: int = field(INT32, "9+", default=-1, ignorable=True)
    fetch_offset: int = field(INT64, "0+")
    last_fetched_epoch: int = field(INT32, "12+", default=-1)
    log_start_offset: int = field(INT64, "5+", default=-1, ignorable=True)
    partition_max_bytes: int = field(INT32, "0+")
    replica_directory_id: bytes = field(UUID, "17+", ignorable=True, tag=0, tagged="17+")
    high_watermark: int = field(
        INT64, "18+", default=9223372036854775807, ignorable=True, tag=1, tagged="18+"
    )


@struct
class FetchTopic:
    """One of the `topics` of `FetchRequest`."""

    topic: str = field(STRING, "0-12", ignorable=True)
    topic_id: bytes = field(UUID, "13+", ignorable=True)
    partitions: tuple[FetchPartition, ...] = field(array(FetchPartition), "0+")


@struct
class ForgottenTopic:
    """One of the `forgotten_topics_data` of `FetchRequest`."""

    topic: str = field(STRING, "7-12", ignorable=True)
    topic_id: bytes = field(UUID, "13+", ignorable=True)
    partitions: tuple[int, ...] = field(array(INT32), "7+")


@message(versions="4-18", flexible="12+")
class FetchRequest:
    """What to read, from where, and how long to wait."""

    cluster_id: str | None = field(
        STRING, "12+", nullable="12+", default=None, ignorable=True, tag=0, tagged="12+"
    )
    replica_id: int = field(INT32, "0-14", default=-1)
    replica_state: ReplicaState = field(ReplicaState, "15+", tag=1, tagged="15+")
    max_wait_ms: int = field(INT32, "0+")
    min_bytes: int = field(INT32, "0+")
    max_bytes: int = field(INT32, "3+", default=2147483647, ignorable=True)
    isolation_level: int = field(INT8, "4+", ignorable=True)
    session_id: int = field(INT32, "7+", ignorable=True)
    session_epoch: int = field(INT32, "7+", default=-1, ignorable=True)
    topics: tuple[FetchTopic, ...] = field(array(FetchTopic), "0+")
    forgotten_topics_data: tuple[ForgottenTopic, ...] = field(array(ForgottenTopic), "7+")
    rack_id: str = field(STRING, "11+", ignorable=True)


@struct
class EpochEndOffset:
    """The `diverging_epoch` of `PartitionData`."""

    epoch: int = field(INT32, "12+", default=-1)
    end_offset: int = field(INT64, "12+", default=-1)


@struct
class LeaderIdAndEpoch:
    """The `current_leader` of `PartitionData`."""

    leader_id: int = field(INT32, "12+", default=-1)
    leader_epoch: int = field(INT32, "12+", default=-1)


@struct
class SnapshotId:
    """The `snapshot_id` of `PartitionData`."""

    end_offset: int = field(INT64, "0+", default=-1)
    epoch: int = field(INT32, "0+", default=-1)


@struct
class AbortedTransaction:
    """One of the `aborted_transactions` of `PartitionData`."""

    producer_id: int = field(INT64, "4+")
    first_offset: int = field(INT64, "4+")


@struct
class PartitionData:
    """One of the `partitions` of `FetchableTopicResponse`."""

    partition_index: int = field(INT32, "0+")
    error_code: int = field(INT16, "0+")
    high_watermark: int = field(INT64, "0+")
    last_stable_offset: int = field(INT64, "4+", default=-1, ignorable=True)
    log_start_offset: int = field(INT64, "5+", default=-1, ignorable=True)
    diverging_epoch: EpochEndOffset = field(EpochEndOffset, "12+", tag=0, tagged="12+")
    current_leader: LeaderIdAndEpoch = field(LeaderIdAndEpoch, "12+", tag=1, tagged="12+")
    snapshot_id: SnapshotId = field(SnapshotId, "12+", tag=2, tagged="12+")
    aborted_transactions: tuple[AbortedTransaction, ...] | None = field(
        array(AbortedTransaction), "4+", nullable="4+", ignorable=True
    )
    preferred_read_replica: int = field(INT32, "11+", default=-1)
    records: Records | None = field(RECORDS, "0+", nullable="0+")


@struct
class FetchableTopicResponse:
    """One of the `responses` of `FetchResponse`."""

    topic: str = field(STRING, "0-12", ignorable=True)
    topic_id: bytes = field(UUID, "13+", ignorable=True)
    partitions: tuple[PartitionData, ...] = field(array(PartitionData), "0+")


@struct
class NodeEndpoint:
    """One of the `node_endpoints` of `FetchResponse`."""

    node_id: int = field(INT32, "16+")
    host: str = field(STRING, "16+")
    port: int = field(INT32, "16+")
    rack: str | None = field(STRING, "16+", nullable="16+", default=None)


@message(versions="4-18", flexible="12+")
class FetchResponse:
    """The batches, with watermarks and the aborted transactions among them."""

    throttle_time_ms: int = field(INT32, "1+", ignorable=True)
    error_code: int = field(INT16, "7+", ignorable=True)
    session_id: int = field(INT32, "7+")
    responses: tuple[FetchableTopicResponse, ...] = field(array(FetchableTopicResponse), "0+")
    node_endpoints: tuple[NodeEndpoint, ...] = field(
        array(NodeEndpoint), "16+", tag=0, tagged="16+"
    )
