"""OffsetForLeaderEpoch (23): where a leader epoch ends: how a reader finds that its log diverged
(KIP-320).

4 is flexible.
"""

from __future__ import annotations

from flowstream.wire.fields import INT16, INT32, INT64, STRING, array, field, message, struct


@struct
class OffsetForLeaderPartition:
    """One of the `partitions` of `OffsetForLeaderTopic`."""

    partition: int = field(INT32, "0+")
    current_leader_epoch: int = field(INT32, "2+", default=-1, ignorable=True)
    leader_epoch: int = field(INT32, "0+")


@struct
class OffsetForLeaderTopic:
    """One of the `topics` of `OffsetForLeaderEpochRequest`."""

    topic: str = field(STRING, "0+")
    partitions: tuple[OffsetForLeaderPartition, ...] = field(array(OffsetForLeaderPartition), "0+")


@message(versions="2-4", flexible="4+")
class OffsetForLeaderEpochRequest:
    """Epochs to look up, by topic and partition."""

    replica_id: int = field(INT32, "3+", default=-2, ignorable=True)
    topics: tuple[OffsetForLeaderTopic, ...] = field(array(OffsetForLeaderTopic), "0+")


@struct
class EpochEndOffset:
    """One of the `partitions` of `OffsetForLeaderTopicResult`."""

    error_code: int = field(INT16, "0+")
    partition: int = field(INT32, "0+")
    leader_epoch: int = field(INT32, "1+", default=-1, ignorable=True)
    end_offset: int = field(INT64, "0+", default=-1)


@struct
class OffsetForLeaderTopicResult:
    """One of the `topics` of `OffsetForLeaderEpochResponse`."""

    topic: str = field(STRING, "0+")
    partitions: tuple[EpochEndOffset, ...] = field(array(EpochEndOffset), "0+")


@message(versions="2-4", flexible="4+")
class OffsetForLeaderEpochResponse:
    """The largest epoch not above the asked one, and its end."""

    throttle_time_ms: int = field(INT32, "2+", ignorable=True)
    topics: tuple[OffsetForLeaderTopicResult, ...] = field(array(OffsetForLeaderTopicResult), "0+")
