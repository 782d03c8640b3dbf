"""OffsetFetch (9): read a group's stored offsets; -1 where there is none.

2 tells "all topics" (null); 5 adds leader epochs; 6 is flexible; 7 can demand stable offsets
(KIP-447); 8 asks for many groups at once. 9 identifies a KIP-848 member; 10 names topics by id.
"""

from __future__ import annotations

from flowstream.wire.fields import (
    BOOLEAN,
    INT16,
    INT32,
    INT64,
    STRING,
    UUID,
    array,
    field,
    message,
    struct,
)


@struct
class OffsetFetchRequestTopic:
    """One of the `topics` of `OffsetFetchRequest`."""

    name: str = field(STRING, "0-7")
    partition_indexes: tuple[int, ...] = field(array(INT32), "0-7")


@struct
class OffsetFetchRequestTopics:
    """One of the `topics` of `OffsetFetchRequestGroup`."""

    name: str = field(STRING, "8-9", ignorable=True)
    topic_id: bytes = field(UUID, "10+", ignorable=True)
    partition_indexes: tuple[int, ...] = field(array(INT32), "8+")


@struct
class OffsetFetchRequestGroup:
    """One of the `groups` of `OffsetFetchRequest`."""

    group_id: str = field(STRING, "8+")
    member_id: str | None = field(STRING, "9+", nullable="9+", default=None, ignorable=True)
    member_epoch: int = field(INT32, "9+", default=-1, ignorable=True)
    topics: tuple[OffsetFetchRequestTopics, ...] | None = field(
        array(OffsetFetchRequestTopics), "8+", nullable="8+"
    )


@message(versions="1-10", flexible="6+")
class OffsetFetchRequest:
    """The partitions asked about; null topics mean all."""

    group_id: str = field(STRING, "0-7")
    topics: tuple[OffsetFetchRequestTopic, ...] | None = field(
        array(OffsetFetchRequestTopic), "0-7", nullable="2-7"
    )
    groups: tuple[OffsetFetchRequestGroup, ...] = field(array(OffsetFetchRequestGroup), "8+")
    require_stable: bool = field(BOOLEAN, "7+")


@struct
class OffsetFetchResponsePartition:
    """One of the `partitions` of `OffsetFetchResponseTopic`."""

    partition_index: int = field(INT32, "0-7")
    committed_offset: int = field(INT64, "0-7")
    committed_leader_epoch: int = field(INT32, "5-7", default=-1, ignorable=True)
    metadata: str | None = field(STRING, "0-7", nullable="0-7")
    error_code: int = field(INT16, "0-7")


@struct
class OffsetFetchResponseTopic:
    """One of the `topics` of `OffsetFetchResponse`."""

    name: str = field(STRING, "0-7")
    partitions: tuple[OffsetFetchResponsePartition, ...] = field(
        array(OffsetFetchResponsePartition), "0-7"
    )


@struct
class OffsetFetchResponsePartitions:
    """One of the `partitions` of `OffsetFetchResponseTopics`."""

    partition_index: int = field(INT32, "8+")
    committed_offset: int = field(INT64, "8+")
    committed_leader_epoch: int = field(INT32, "8+", default=-1, ignorable=True)
    metadata: str | None = field(STRING, "8+", nullable="8+")
    error_code: int = field(INT16, "8+")


@struct
class OffsetFetchResponseTopics:
    """One of the `topics` of `OffsetFetchResponseGroup`."""

    name: str = field(STRING, "8-9", ignorable=True)
    topic_id: bytes = field(UUID, "10+", ignorable=True)
    partitions: tuple[OffsetFetchResponsePartitions, ...] = field(
        array(OffsetFetchResponsePartitions), "8+"
    )


@struct
class OffsetFetchResponseGroup:
    """One of the `groups` of `OffsetFetchResponse`."""

    group_id: str = field(STRING, "8+")
    topics: tuple[OffsetFetchResponseTopics, ...] = field(array(OffsetFetchResponseTopics), "8+")
    error_code: int = field(INT16, "8+")


@message(versions="1-10", flexible="6+")
class OffsetFetchResponse:
    """Offsets, in the shape of one group up to version 7 and of many after."""

    throttle_time_ms: int = field(INT32, "3+", ignorable=True)
    topics: tuple[OffsetFetchResponseTopic, ...] = field(array(OffsetFetchResponseTopic), "0-7")
    error_code: int = field(INT16, "2-7", ignorable=True)
    groups: tuple[OffsetFetchResponseGroup, ...] = field(array(OffsetFetchResponseGroup), "8+")
