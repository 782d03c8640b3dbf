"""AlterPartitionReassignments (45): move replicas (KIP-455).

1 can refuse to change the replication factor (KIP-860).
"""

from __future__ import annotations

from flowstream.wire.fields import BOOLEAN, INT16, INT32, STRING, array, field, message, struct


@struct
class ReassignablePartition:
    """One of the `partitions` of `ReassignableTopic`."""

    partition_index: int = field(INT32, "0+")
    replicas: tuple[int, ...] | None = field(array(INT32), "0+", nullable="0+", default=None)


@struct
class ReassignableTopic:
    """One of the `topics` of `AlterPartitionReassignmentsRequest`."""

    name: str = field(STRING, "0+")
    partitions: tuple[ReassignablePartition, ...] = field(array(ReassignablePartition), "0+")


@message(versions="0-1", flexible="0+")
class AlterPartitionReassignmentsRequest:
    """The wanted replicas; null cancels."""

    timeout_ms: int = field(INT32, "0+", default=60000)
    allow_replication_factor_change: bool = field(BOOLEAN, "1+", default=True)
    topics: tuple[ReassignableTopic, ...] = field(array(ReassignableTopic), "0+")


@struct
class ReassignablePartitionResponse:
    """One of the `partitions` of `ReassignableTopicResponse`."""

    partition_index: int = field(INT32, "0+")
    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "0+", nullable="0+")


@struct
class ReassignableTopicResponse:
    """One of the `responses` of `AlterPartitionReassignmentsResponse`."""

    name: str = field(STRING, "0+")
    partitions: tuple[ReassignablePartitionResponse, ...] = field(
        array(ReassignablePartitionResponse), "0+"
    )


@message(versions="0-1", flexible="0+")
class AlterPartitionReassignmentsResponse:
    """The outcome, by partition."""

    throttle_time_ms: int = field(INT32, "0+")
    allow_replication_factor_change: bool = field(BOOLEAN, "1+", default=True, ignorable=True)
    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "0+", nullable="0+")
    responses: tuple[ReassignableTopicResponse, ...] = field(array(ReassignableTopicResponse), "0+")
