"""Metadata (3): brokers of the cluster, and topics with their partitions and leaders.

1 tells "all topics" (null) from "none" (empty); 4 lets the client forbid auto-creation; 7 adds
leader epochs (KIP-320). 9 is flexible; 10 adds topic ids, 12 asks by them (KIP-516); 11 drops
the cluster's authorized operations; 13 has a top-level error (KIP-1102).
"""

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
class MetadataRequestTopic:
    """One of the `topics` of `MetadataRequest`."""

    topic_id: bytes = field(UUID, "10+", ignorable=True)
    name: str | None = field(STRING, "0+", nullable="10+")


@message(versions="0-13", flexible="9+")
class MetadataRequest:
    """The topics asked about; null means all."""

    topics: tuple[MetadataRequestTopic, ...] | None = field(
        array(MetadataRequestTopic), "0+", nullable="1+"
    )
    allow_auto_topic_creation: bool = field(BOOLEAN, "4+", default=True)
    include_cluster_authorized_operations: bool = field(BOOLEAN, "8-10")
    include_topic_authorized_operations: bool = field(BOOLEAN, "8+")


@struct
class MetadataResponseBroker:
    """One of the `brokers` of `MetadataResponse`."""

    node_id: int = field(INT32, "0+")
    host: str = field(STRING, "0+")
    port: int = field(INT32, "0+")
    rack: str | None = field(STRING, "1+", nullable="1+", default=None, ignorable=True)


@struct
class MetadataResponsePartition:
    """One of the `partitions` of `MetadataResponseTopic`."""

    error_code: int = field(INT16, "0+")
    partition_index: int = field(INT32, "0+")
    leader_id: int = field(INT32, "0+")
    leader_epoch: int = field(INT32, "7+", default=-1, ignorable=True)
    replica_nodes: tuple[int, ...] = field(array(INT32), "0+")
    isr_nodes: tuple[int, ...] = field(array(INT32), "0+")
    offline_replicas: tuple[int, ...] = field(array(INT32), "5+", ignorable=True)


@struct
class MetadataResponseTopic:
    """One of the `topics` of `MetadataResponse`."""

    error_code: int = field(INT16, "0+")
    name: str | None = field(STRING, "0+", nullable="12+")
    topic_id: bytes = field(UUID, "10+", ignorable=True)
    is_internal: bool = field(BOOLEAN, "1+", ignorable=True)
    partitions: tuple[MetadataResponsePartition, ...] = field(
        array(MetadataResponsePartition), "0+"
    )
    topic_authorized_operations: int = field(INT32, "8+", default=-2147483648)


@message(versions="0-13", flexible="9+")
class MetadataResponse:
    """Brokers, controller and topics."""

    throttle_time_ms: int = field(INT32, "3+", ignorable=True)
    brokers: tuple[MetadataResponseBroker, ...] = field(array(MetadataResponseBroker), "0+")
    cluster_id: str | None = field(STRING, "2+", nullable="2+", default=None, ignorable=True)
    controller_id: int = field(INT32, "1+", default=-1, ignorable=True)
    topics: tuple[MetadataResponseTopic, ...] = field(array(MetadataResponseTopic), "0+")
    cluster_authorized_operations: int = field(INT32, "8-10", default=-2147483648)
    error_code: int = field(INT16, "13+", ignorable=True)
