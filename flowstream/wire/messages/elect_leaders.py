"""ElectLeaders (43): elect leaders: 0 the preferred, 1 even one out of sync (KIP-460).

1 adds the kind of election; 2 is flexible.
"""

from __future__ import annotations

from flowstream.wire.fields import INT8, INT16, INT32, STRING, array, field, message, struct


@struct
class TopicPartitions:
    """One of the `topic_partitions` of `ElectLeadersRequest`."""

    topic: str = field(STRING, "0+")
    partitions: tuple[int, ...] = field(array(INT32), "0+")


@message(versions="0-2", flexible="2+")
class ElectLeadersRequest:
    """Partitions; null means all."""

    election_type: int = field(INT8, "1+")
    topic_partitions: tuple[TopicPartitions, ...] | None = field(
        array(TopicPartitions), "0+", nullable="0+"
    )
    timeout_ms: int = field(INT32, "0+", default=60000)


@struct
class PartitionResult:
    """One of the `partition_result` of `ReplicaElectionResult`."""

    partition_id: int = field(INT32, "0+")
    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "0+", nullable="0+")


@struct
class ReplicaElectionResult:
    """One of the `replica_election_results` of `ElectLeadersResponse`."""

    topic: str = field(STRING, "0+")
    partition_result: tuple[PartitionResult, ...] = field(array(PartitionResult), "0+")


@message(versions="0-2", flexible="2+")
class ElectLeadersResponse:
    """The outcome, by partition."""

    throttle_time_ms: int = field(INT32, "0+")
    error_code: int = field(INT16, "1+")
    replica_election_results: tuple[ReplicaElectionResult, ...] = field(
        array(ReplicaElectionResult), "0+"
    )
