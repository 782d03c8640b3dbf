"""What Fetch answers about one partition, with or without a session."""

from __future__ import annotations

from flowstream.broker.cores import Cores
from flowstream.broker.events import Request
from flowstream.broker.handlers.leader_epoch import epoch_error
from flowstream.broker.log.partition import PartitionLog
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.fetch import (
    AbortedTransaction,
    EpochEndOffset,
    FetchPartition,
    FetchRequest,
    PartitionData,
)

Served = list[tuple[PartitionLog, int]]
"""What an answer takes from which log, in bytes."""

READ_COMMITTED = 1
UNREAD = (
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode.UNKNOWN_TOPIC_ID,
    ErrorCode.TOPIC_AUTHORIZATION_FAILED,
)
"""Errors of partitions that were not looked into."""


def unknown(cores: Cores, topic_id: bytes, *, by_id: bool) -> ErrorCode:
    """Why there is no log: a topic named by an id that is not known has an error of its own."""
    if by_id and topic_id not in cores.image.topics_by_id:
        return ErrorCode.UNKNOWN_TOPIC_ID
    return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def is_denied(request: Request[FetchRequest], cores: Cores, topic: str, topic_id: bytes) -> bool:
    """Whether the client may not read a topic, named by name or by id."""
    if request.allows is None:
        return False
    if not topic:
        known = cores.image.topics_by_id.get(topic_id)
        if known is None:
            return False  # there is nothing to read
        topic = known.name
    return not request.allows(topic)


def read(
    log: PartitionLog, asked: FetchPartition, left: int, isolation: int, *, first: bool
) -> PartitionData:
    """Whole batches of at most `left` bytes; one more than that may be the `first` of an answer."""
    error = epoch_error(log, asked.current_leader_epoch)
    if error:
        return failure(asked, error)
    if asked.last_fetched_epoch >= 0:
        diverging = _diverging(log, asked)
        if diverging is not None:
            return diverging
    if not log.log_start <= asked.fetch_offset <= log.log_end:
        return failure(asked, ErrorCode.OFFSET_OUT_OF_RANGE)
    committed = isolation == READ_COMMITTED
    records: memoryview | bytes = b""
    aborted: tuple[AbortedTransaction, ...] = ()
    most = min(left, asked.partition_max_bytes)
    if most > 0 or first:
        read = log.read(
            asked.fetch_offset,
            max(most, 0),
            committed_only=committed,
            upto="last_stable" if committed else "high_watermark",
            min_one=first,
        )
        if read.error:
            return failure(asked, read.error)
        records = read.buffers[0] if len(read.buffers) == 1 else b"".join(read.buffers)
        aborted = tuple(
            AbortedTransaction(producer_id=producer_id, first_offset=first_offset)
            for producer_id, first_offset in read.aborted or ()
        )
    return PartitionData(
        partition_index=asked.partition,
        high_watermark=log.high_watermark,
        last_stable_offset=log.last_stable,
        log_start_offset=log.log_start,
        aborted_transactions=aborted if committed else None,
        records=records,
    )


def count(served: Served) -> None:
    """An answer leaves; one that is parked is read again, and would count twice."""
    for log, size in served:
        log.bytes_out += size


def _diverging(log: PartitionLog, asked: FetchPartition) -> PartitionData | None:
    """What a reader is told whose log went another way than this one (KIP-595): where its last
    epoch ends here.
    """
    epoch, end = log.leader_epoch_end(asked.last_fetched_epoch)
    if epoch < 0:
        return failure(asked, ErrorCode.OFFSET_OUT_OF_RANGE)
    if epoch == asked.last_fetched_epoch and end >= asked.fetch_offset:
        return None
    return PartitionData(
        partition_index=asked.partition,
        high_watermark=log.high_watermark,
        last_stable_offset=log.last_stable,
        log_start_offset=log.log_start,
        diverging_epoch=EpochEndOffset(epoch=epoch, end_offset=end),
        aborted_transactions=None,
        records=b"",
    )


def is_urgent(data: PartitionData) -> bool:
    """Whether an answer with `data` does not wait for more."""
    return data.error_code != 0 or data.diverging_epoch.epoch >= 0


def is_at_end(log: PartitionLog, asked: FetchPartition, isolation: int) -> bool:
    """Whether nothing more can be read from there, however much room an answer has."""
    end = log.last_stable if isolation == READ_COMMITTED else log.high_watermark
    return asked.fetch_offset >= end


def failure(asked: FetchPartition, error: ErrorCode) -> PartitionData:
    """Nothing but why. Kafka tells no offset with an error, and an empty list of aborted
    transactions where it did not look into a log.
    """
    looked = error not in UNREAD
    return PartitionData(
        partition_index=asked.partition,
        error_code=error,
        high_watermark=-1,
        aborted_transactions=None if looked else (),
        records=b"",
    )
