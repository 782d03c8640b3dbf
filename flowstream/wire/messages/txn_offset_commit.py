"""TxnOffsetCommit (28): store a group's offsets as part of a transaction.

2 adds the leader epoch; 3 is flexible and fences by member and generation (KIP-447); 4 may
answer TRANSACTION_ABORTABLE; 5 adds the group implicitly (KIP-890).
"""

from __future__ import annotations

from flowstream.wire.fields import INT16, INT32, INT64, STRING, array, field, message, struct


@struct
class TxnOffsetCommitRequestPartition:
    """One of the `partitions` of `TxnOffsetCommitRequestTopic`."""

    partition_index: int = field(INT32, "0+")
    committed_offset: int = field(INT64, "0+")
    committed_leader_epoch: int = field(INT32, "2+", default=-1, ignorable=True)
    committed_metadata: str | None = field(STRING, "0+", nullable="0+")


@struct
class TxnOffsetCommitRequestTopic:
    """One of the `topics` of `TxnOffsetCommitRequest`."""

    name: str = field(STRING, "0+")
    partitions: tuple[TxnOffsetCommitRequestPartition, ...] = field(
        array(TxnOffsetCommitRequestPartition), "0+"
    )


@message(versions="0-5", flexible="3+")
class TxnOffsetCommitRequest:
    """Offsets, the transaction and the member."""

    transactional_id: str = field(STRING, "0+")
    group_id: str = field(STRING, "0+")
    producer_id: int = field(INT64, "0+")
    producer_epoch: int = field(INT16, "0+")
    generation_id: int = field(INT32, "3+", default=-1)
    member_id: str = field(STRING, "3+")
    group_instance_id: str | None = field(STRING, "3+", nullable="3+", default=None)
    topics: tuple[TxnOffsetCommitRequestTopic, ...] = field(
        array(TxnOffsetCommitRequestTopic), "0+"
    )


@struct
class TxnOffsetCommitResponsePartition:
    """One of the `partitions` of `TxnOffsetCommitResponseTopic`."""

    partition_index: int = field(INT32, "0+")
    error_code: int = field(INT16, "0+")


@struct
class TxnOffsetCommitResponseTopic:
    """One of the `topics` of `TxnOffsetCommitResponse`."""

    name: str = field(STRING, "0+")
    partitions: tuple[TxnOffsetCommitResponsePartition, ...] = field(
        array(TxnOffsetCommitResponsePartition), "0+"
    )


@message(versions="0-5", flexible="3+")
class TxnOffsetCommitResponse:
    """An error code for each partition."""

    throttle_time_ms: int = field(INT32, "0+")
    topics: tuple[TxnOffsetCommitResponseTopic, ...] = field(
        array(TxnOffsetCommitResponseTopic), "0+"
    )
