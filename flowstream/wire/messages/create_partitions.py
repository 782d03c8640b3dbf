"""CreatePartitions (37): add partitions to topics.

2 is flexible; 3 may be throttled (KIP-599).
"""

from __future__ import annotations

from flowstream.wire.fields import BOOLEAN, INT16, INT32, STRING, array, field, message, struct


@struct
class CreatePartitionsAssignment:
    """One of the `assignments` of `CreatePartitionsTopic`."""

    broker_ids: tuple[int, ...] = field(array(INT32), "0+")


@struct
class CreatePartitionsTopic:
    """One of the `topics` of `CreatePartitionsRequest`."""

    name: str = field(STRING, "0+")
    count: int = field(INT32, "0+")
    assignments: tuple[CreatePartitionsAssignment, ...] | None = field(
        array(CreatePartitionsAssignment), "0+", nullable="0+"
    )


@message(versions="0-3", flexible="2+")
class CreatePartitionsRequest:
    """The new total count, by topic."""

    topics: tuple[CreatePartitionsTopic, ...] = field(array(CreatePartitionsTopic), "0+")
    timeout_ms: int = field(INT32, "0+")
    validate_only: bool = field(BOOLEAN, "0+")


@struct
class CreatePartitionsTopicResult:
    """One of the `results` of `CreatePartitionsResponse`."""

    name: str = field(STRING, "0+")
    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "0+", nullable="0+", default=None)


@message(versions="0-3", flexible="2+")
class CreatePartitionsResponse:
    """The outcome, by topic."""

    throttle_time_ms: int = field(INT32, "0+")
    results: tuple[CreatePartitionsTopicResult, ...] = field(
        array(CreatePartitionsTopicResult), "0+"
    )
