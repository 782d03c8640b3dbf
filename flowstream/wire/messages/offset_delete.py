"""OffsetDelete (47): delete a group's stored offsets (KIP-496)."""

from __future__ import annotations

from flowstream.wire.fields import INT16, INT32, STRING, array, field, message, struct


@struct
class OffsetDeleteRequestPartition:
    """One of the `partitions` of `OffsetDeleteRequestTopic`."""

    partition_index: int = field(INT32, "0+")


@struct
class OffsetDeleteRequestTopic:
    """One of the `topics` of `OffsetDeleteRequest`."""

    name: str = field(STRING, "0+")
    partitions: tuple[OffsetDeleteRequestPartition, ...] = field(
        array(OffsetDeleteRequestPartition), "0+"
    )


@message(versions="0", flexible="none")
class OffsetDeleteRequest:
    """The group and the partitions."""

    group_id: str = field(STRING, "0+")
    topics: tuple[OffsetDeleteRequestTopic, ...] = field(array(OffsetDeleteRequestTopic), "0+")


@struct
class OffsetDeleteResponsePartition:
    """One of the `partitions` of `OffsetDeleteResponseTopic`."""

    partition_index: int = field(INT32, "0+")
    error_code: int = field(INT16, "0+")


@struct
class OffsetDeleteResponseTopic:
    """One of the `topics` of `OffsetDeleteResponse`."""

    name: str = field(STRING, "0+")
    partitions: tuple[OffsetDeleteResponsePartition, ...] = field(
        array(OffsetDeleteResponsePartition), "0+"
    )


@message(versions="0", flexible="none")
class OffsetDeleteResponse:
    """The outcome, by partition."""

    error_code: int = field(INT16, "0+")
    throttle_time_ms: int = field(INT32, "0+", ignorable=True)
    topics: tuple[OffsetDeleteResponseTopic, ...] = field(array(OffsetDeleteResponseTopic), "0+")
