"""OffsetCommit (8): store a group's offsets.

2 to 4 carry a retention time; 6 the committed leader epoch (KIP-320); 7 static members
(KIP-345); 8 is flexible. 9 serves KIP-848 members (generation is then their epoch); 10 names
topics by id (KIP-516).
"""

from __future__ import annotations

from flowstream.wire.fields import INT16, INT32, INT64, STRING, UUID, array, field, message, struct


@struct
class OffsetCommitRequestPartition:
    """One of the `partitions` of `OffsetCommitRequestTopic`."""

    partition_index: int = field(INT32, "0+")
    committed_offset: int = field(INT64, "0+")
    committed_leader_epoch: int = field(INT32, "6+", default=-1, ignorable=True)
    committed_metadata: str | None = field(STRING, "0+", nullable="0+")


@struct
class OffsetCommitRequestTopic:
    """One of the `topics` of `OffsetCommitRequest`."""

    name: str = field(STRING, "0-9", ignorable=True)
    topic_id: bytes = field(UUID, "10+", ignorable=True)
    partitions: tuple[OffsetCommitRequestPartition, ...] = field(
        array(OffsetCommitRequestPartition), "0+"
    )


@message(versions="2-10", flexible="8+")
class OffsetCommitRequest:
    """Offsets to store, and the member that stores them."""

    group_id: str = field(STRING, "0+")
    generation_id_or_member_epoch: int = field(INT32, "1+", default=-1, ignorable=True)
    member_id: str = field(STRING, "1+", ignorable=True)
    group_instance_id: str | None = field(STRING, "7+", nullable="7+", default=None)
    retention_time_ms: int = field(INT64, "2-4", default=-1, ignorable=True)
    topics: tuple[OffsetCommitRequestTopic, ...] = field(array(OffsetCommitRequestTopic), "0+")


@struct
class OffsetCommitResponsePartition:
    """One of the `partitions` of `OffsetCommitResponseTopic`."""

    partition_index: int = field(INT32, "0+")
    error_code: int = field(INT16, "0+")


@struct
class OffsetCommitResponseTopic:
    """One of the `topics` of `OffsetCommitResponse`."""

    name: str = field(STRING, "0-9", ignorable=True)
    topic_id: bytes = field(UUID, "10+", ignorable=True)
    partitions: tuple[OffsetCommitResponsePartition, ...] = field(
        array(OffsetCommitResponsePartition), "0+"
    )


@message(versions="2-10", flexible="8+")
class OffsetCommitResponse:
    """An error code for each partition."""

    throttle_time_ms: int = field(INT32, "3+", ignorable=True)
    topics: tuple[OffsetCommitResponseTopic, ...] = field(array(OffsetCommitResponseTopic), "0+")
