"""Produce (0): append record batches to partitions.

Kafka advertises 0 to 13 but refuses 0 to 2: older librdkafka decides from the lower bound which
codecs it may use (KAFKA-18659). 7 allows zstd (KIP-110); 8 adds errors per record (KIP-467); 9
is flexible; 10 names the new leader in the answer (KIP-951). 11 may answer
TRANSACTION_ABORTABLE; 12 adds partitions to the transaction implicitly (KIP-890); 13 names
topics by id (KIP-516).
"""

from __future__ import annotations

from flowstream.wire.fields import (
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
class PartitionProduceData:
    """One of the `partition_data` of `TopicProduceData`."""

    index: int = field(INT32, "0+")
    records: Records | None = field(RECORDS, "0+", nullable="0+")


@struct
class TopicProduceData:
    """One of the `topic_data` of `ProduceRequest`."""

    name: str = field(STRING, "0-12", ignorable=True)
    topic_id: bytes = field(UUID, "13+", ignorable=True)
    partition_data: tuple[PartitionProduceData, ...] = field(array(PartitionProduceData), "0+")


@message(versions="3-13", flexible="9+")
class ProduceRequest:
    """Batches to append, by topic and partition."""

    transactional_id: str | None = field(STRING, "3+", nullable="3+", default=None)
    acks: int = field(INT16, "0+")
    timeout_ms: int = field(INT32, "0+")
    topic_data: tuple[TopicProduceData, ...] = field(array(TopicProduceData), "0+")


@struct
class BatchIndexAndErrorMessage:
    """One of the `record_errors` of `PartitionProduceResponse`."""

    batch_index: int = field(INT32, "8+")
    batch_index_error_message: str | None = field(STRING, "8+", nullable="8+", default=None)


@struct
class LeaderIdAndEpoch:
    """The `current_leader` of `PartitionProduceResponse`."""

    leader_id: int = field(INT32, "10+", default=-1)
    leader_epoch: int = field(INT32, "10+", default=-1)


@struct
class PartitionProduceResponse:
    """One of the `partition_responses` of `TopicProduceResponse`."""

    index: int = field(INT32, "0+")
    error_code: int = field(INT16, "0+")
    base_offset: int = field(INT64, "0+")
    log_append_time_ms: int = field(INT64, "2+", default=-1, ignorable=True)
    log_start_offset: int = field(INT64, "5+", default=-1, ignorable=True)
    record_errors: tuple[BatchIndexAndErrorMessage, ...] = field(
        array(BatchIndexAndErrorMessage), "8+", ignorable=True
    )
    error_message: str | None = field(STRING, "8+", nullable="8+", default=None, ignorable=True)
    current_leader: LeaderIdAndEpoch = field(LeaderIdAndEpoch, "10+", tag=0, tagged="10+")


@struct
class TopicProduceResponse:
    """One of the `responses` of `ProduceResponse`."""

    name: str = field(STRING, "0-12", ignorable=True)
    topic_id: bytes = field(UUID, "13+", ignorable=True)
    partition_responses: tuple[PartitionProduceResponse, ...] = field(
        array(PartitionProduceResponse), "0+"
    )


@struct
class NodeEndpoint:
    """One of the `node_endpoints` of `ProduceResponse`."""

    node_id: int = field(INT32, "10+")
    host: str = field(STRING, "10+")
    port: int = field(INT32, "10+")
    rack: str | None = field(STRING, "10+", nullable="10+", default=None)


@message(versions="3-13", flexible="9+")
class ProduceResponse:
    """Where each batch went, or why it did not."""

    responses: tuple[TopicProduceResponse, ...] = field(array(TopicProduceResponse), "0+")
    throttle_time_ms: int = field(INT32, "1+", ignorable=True)
    node_endpoints: tuple[NodeEndpoint, ...] = field(
        array(NodeEndpoint), "10+", tag=0, tagged="10+"
    )
