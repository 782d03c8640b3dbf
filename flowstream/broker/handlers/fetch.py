"""Fetch (1): read record batches, waiting for a minimum of bytes or a maximum of time.

4 adds isolation levels with the aborted transactions; 7 fetch sessions (KIP-227), which are
refused: the answer's session id is 0 and clients go on without; 9 the reader's leader epoch
(KIP-320); 10 allows zstd; 13 names topics by id; 15 moves the replica id into a tag.
"""

from __future__ import annotations

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.handlers.leader_epoch import epoch_error
from flowstream.broker.handlers.throttling import fetch_max_bytes, fetched
from flowstream.broker.log.partition import PartitionLog
from flowstream.broker.types import Instant
from flowstream.broker.waiting import Parked
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.fetch import (
    AbortedTransaction,
    FetchableTopicResponse,
    FetchPartition,
    FetchRequest,
    FetchResponse,
    PartitionData,
)

READ_COMMITTED = 1
TOPIC_ID_VERSION = 13


def handle(request: Request[FetchRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer at once when there is enough, an error, or no wait asked; else park the request."""
    body = request.body
    if body.session_id != 0:
        missing = FetchResponse(error_code=ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
        return [Reply(request.to, missing)]
    response = _attempt(request, cores, last=body.max_wait_ms <= 0)
    if response is not None:
        return fetched(request, response, cores, now)

    def attempt(now: Instant, last: bool) -> list[Effect] | None:
        found = _attempt(request, cores, last=last)
        return None if found is None else fetched(request, found, cores, now)

    names = tuple(
        log.name
        for topic in body.topics
        for asked in topic.partitions
        if (log := cores.logs.find(topic.topic, topic.topic_id, asked.partition)) is not None
    )
    deadline = Instant(now + body.max_wait_ms)
    cores.waiting.park(Parked(request.to.connection, names, deadline, attempt))
    return []


def _attempt(request: Request[FetchRequest], cores: Cores, *, last: bool) -> FetchResponse | None:
    """The answer as of now; None when it is worth waiting for more."""
    body = request.body
    left = fetch_max_bytes(request, cores)
    found = 0
    failed = False
    responses = []
    for topic in body.topics:
        partitions = []
        for asked in topic.partitions:
            log = cores.logs.find(topic.topic, topic.topic_id, asked.partition)
            if log is None:
                data = _failure(asked, _unknown(request.to.version))
            else:
                data = _read(log, asked, left - found, body.isolation_level, first=found == 0)
            failed = failed or data.error_code != 0
            found += len(data.records or b"")
            partitions.append(data)
        responses.append(
            FetchableTopicResponse(
                topic=topic.topic, topic_id=topic.topic_id, partitions=tuple(partitions)
            )
        )
    if failed or last or found >= min(body.min_bytes, left) or not responses:
        return FetchResponse(responses=tuple(responses))
    return None


def _read(
    log: PartitionLog, asked: FetchPartition, left: int, isolation: int, *, first: bool
) -> PartitionData:
    error = epoch_error(log, asked.current_leader_epoch)
    if error:
        return _failure(asked, error)
    if not log.log_start <= asked.fetch_offset <= log.log_end:
        return _failure(asked, ErrorCode.OFFSET_OUT_OF_RANGE, log)
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
            return _failure(asked, read.error, log)
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


def _failure(
    asked: FetchPartition, error: ErrorCode, log: PartitionLog | None = None
) -> PartitionData:
    if log is None:
        return PartitionData(
            partition_index=asked.partition,
            error_code=error,
            high_watermark=-1,
            aborted_transactions=None,
            records=b"",
        )
    return PartitionData(
        partition_index=asked.partition,
        error_code=error,
        high_watermark=log.high_watermark,
        last_stable_offset=log.last_stable,
        log_start_offset=log.log_start,
        aborted_transactions=None,
        records=b"",
    )


def _unknown(version: int) -> ErrorCode:
    if version < TOPIC_ID_VERSION:
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    return ErrorCode.UNKNOWN_TOPIC_ID
