"""ListPartitionReassignments (46): moves of replicas under way (KIP-455)."""

from __future__ import annotations

from flowstream.wire.fields import INT16, INT32, STRING, array, field, message, struct


@struct
class ListPartitionReassignmentsTopics:
    """One of the `topics` of `ListPartitionReassignmentsRequest`."""

    name: str = field(STRING, "0+")
    partition_indexes: tuple[int, ...] = field(array(INT32), "0+")


@message(versions="0", flexible="0+")
class ListPartitionReassignmentsRequest:
    """The partitions asked about; null means all."""

    timeout_ms: int = field(INT32, "0+", default=60000)
    topics: tuple[ListPartitionReassignmentsTopics, ...] | None = field(
        array(ListPartitionReassignmentsTopics), "0+", nullable="0+", default=None
    )


@struct
class OngoingPartitionReassignment:
    """One of the `partitions` of `OngoingTopicReassignment`."""

    partition_index: int = field(INT32, "0+")
    replicas: tuple[int, ...] = field(array(INT32), "0+")
    adding_replicas: tuple[int, ...] = field(array(INT32), "0+")
    removing_replicas: tuple[int, ...] = field(array(INT32), "0+")


@struct
class OngoingTopicReassignment:
    """One of the `topics` of `ListPartitionReassignmentsResponse`."""

    name: str = field(STRING, "0+")
    partitions: tuple[OngoingPartitionReassignment, ...] = field(
        array(OngoingPartitionReassignment), "0+"
    )


@message(versions="0", flexible="0+")
class ListPartitionReassignmentsResponse:
    """Replicas being added and removed."""

    throttle_time_ms: int = field(INT32, "0+")
    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "0+", nullable="0+")
    topics: tuple[OngoingTopicReassignment, ...] = field(array(OngoingTopicReassignment), "0+")
