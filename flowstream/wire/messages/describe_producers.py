"""DescribeProducers (61): producers with state in a partition (KIP-664)."""

from __future__ import annotations

from flowstream.wire.fields import INT16, INT32, INT64, STRING, array, field, message, struct


@struct
class TopicRequest:
    """One of the `topics` of `DescribeProducersRequest`."""

    name: str = field(STRING, "0+")
    partition_indexes: tuple[int, ...] = field(array(INT32), "0+")


@message(versions="0", flexible="0+")
class DescribeProducersRequest:
    """The partitions asked about."""

    topics: tuple[TopicRequest, ...] = field(array(TopicRequest), "0+")


@struct
class ProducerState:
    """One of the `active_producers` of `PartitionResponse`."""

    producer_id: int = field(INT64, "0+")
    producer_epoch: int = field(INT32, "0+")
    last_sequence: int = field(INT32, "0+", default=-1)
    last_timestamp: int = field(INT64, "0+", default=-1)
    coordinator_epoch: int = field(INT32, "0+")
    current_txn_start_offset: int = field(INT64, "0+", default=-1)


@struct
class PartitionResponse:
    """One of the `partitions` of `TopicResponse`."""

    partition_index: int = field(INT32, "0+")
    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "0+", nullable="0+", default=None)
    active_producers: tuple[ProducerState, ...] = field(array(ProducerState), "0+")


@struct
class TopicResponse:
    """One of the `topics` of `DescribeProducersResponse`."""

    name: str = field(STRING, "0+")
    partitions: tuple[PartitionResponse, ...] = field(array(PartitionResponse), "0+")


@message(versions="0", flexible="0+")
class DescribeProducersResponse:
    """The producers, by partition."""

    throttle_time_ms: int = field(INT32, "0+")
    topics: tuple[TopicResponse, ...] = field(array(TopicResponse), "0+")
