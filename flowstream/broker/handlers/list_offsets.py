"""ListOffsets (2): the offset of a timestamp, or the start or end of a partition.

2 adds the isolation level, 4 leader epochs; negative timestamps ask: -1 latest, -2 earliest, -3 (7)
largest timestamp, -4 (8) earliest local, -5 (9) latest tiered, -6 (11) earliest to be tiered.
"""

from __future__ import annotations

from collections import Counter

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.handlers.leader_epoch import epoch_error
from flowstream.broker.log.partition import PartitionLog
from flowstream.broker.log.reading import (
    EARLIEST_LOCAL,
    EARLIEST_PENDING_UPLOAD,
    LATEST,
    LATEST_TIERED,
    MAX_TIMESTAMP,
    TimestampOffset,
)
from flowstream.broker.types import Instant, TopicPartition
from flowstream.errors import CorruptLog
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)

READ_COMMITTED = 1
LEADER_EPOCH_VERSION = 4
OLDEST_VERSION = {
    MAX_TIMESTAMP: 7,
    EARLIEST_LOCAL: 8,
    LATEST_TIERED: 9,
    EARLIEST_PENDING_UPLOAD: 11,
}
"""Since which version a special timestamp means something."""


def handle(request: Request[ListOffsetsRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Look every timestamp up."""
    body = request.body
    asked_for = Counter(
        (topic.name, partition.partition_index)
        for topic in body.topics
        for partition in topic.partitions
    )
    topics = []
    for topic in body.topics:
        answers = []
        for asked in topic.partitions:
            if asked_for[topic.name, asked.partition_index] > 1:
                answers.append(_failure(asked, ErrorCode.INVALID_REQUEST))
                continue
            log = cores.logs.by_name.get(TopicPartition(topic.name, asked.partition_index))
            if log is None:
                answers.append(_failure(asked, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION))
                continue
            answers.append(_look_up(request, log, asked))
        topics.append(ListOffsetsTopicResponse(name=topic.name, partitions=tuple(answers)))
    return [Reply(request.to, ListOffsetsResponse(topics=tuple(topics)))]


def _look_up(
    request: Request[ListOffsetsRequest], log: PartitionLog, asked: ListOffsetsPartition
) -> ListOffsetsPartitionResponse:
    error = epoch_error(log, asked.current_leader_epoch)
    unsupported = request.to.version < OLDEST_VERSION.get(asked.timestamp, 0)
    if not error and (unsupported or asked.timestamp < EARLIEST_PENDING_UPLOAD):
        error = ErrorCode.UNSUPPORTED_VERSION
    if error:
        return _failure(asked, error)
    committed = request.body.isolation_level == READ_COMMITTED
    end = log.last_stable if committed else log.high_watermark
    try:
        found = _find(log, asked.timestamp, end)
    except CorruptLog:
        return _failure(asked, ErrorCode.KAFKA_STORAGE_ERROR)
    return ListOffsetsPartitionResponse(
        partition_index=asked.partition_index,
        timestamp=found.timestamp,
        offset=found.offset,
        leader_epoch=found.leader_epoch if request.to.version >= LEADER_EPOCH_VERSION else -1,
    )


def _find(log: PartitionLog, timestamp: int, end: int) -> TimestampOffset:
    """What was asked for; nothing but -1 when there is no such record below `end`."""
    found = log.offset_for_timestamp(timestamp)
    if timestamp == LATEST and found is not None:
        return found._replace(offset=end)
    is_record = timestamp >= 0 or timestamp == MAX_TIMESTAMP
    if found is None or (is_record and found.offset >= end):
        return TimestampOffset(-1, -1, -1)
    return found


def _failure(asked: ListOffsetsPartition, error: ErrorCode) -> ListOffsetsPartitionResponse:
    return ListOffsetsPartitionResponse(partition_index=asked.partition_index, error_code=error)
