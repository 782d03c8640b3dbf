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
from flowstream.broker.types import Instant, TopicPartition
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
LATEST = -1
EARLIEST = -2
LARGEST_TIMESTAMP = -3
EARLIEST_LOCAL = -4
LATEST_TIERED = -5
EARLIEST_PENDING_UPLOAD = -6
OLDEST_VERSION = {
    LARGEST_TIMESTAMP: 7,
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
    if not error and request.to.version < OLDEST_VERSION.get(asked.timestamp, 0):
        error = ErrorCode.UNSUPPORTED_VERSION
    if error:
        return _failure(asked, error)
    committed = request.body.isolation_level == READ_COMMITTED
    end = log.last_stable if committed else log.high_watermark
    offset, timestamp = _offset_of(log, asked.timestamp, end)
    tells_epoch = offset >= 0 and request.to.version >= LEADER_EPOCH_VERSION
    return ListOffsetsPartitionResponse(
        partition_index=asked.partition_index,
        timestamp=timestamp,
        offset=offset,
        leader_epoch=log.leader_epoch if tells_epoch else -1,
    )


def _offset_of(log: PartitionLog, timestamp: int, end: int) -> tuple[int, int]:
    """Offset and timestamp of what was asked for; (-1, -1) when there is none below `end`."""
    if timestamp == LATEST:
        return end, -1
    if timestamp in (EARLIEST, EARLIEST_LOCAL):
        return log.log_start, -1
    if timestamp in (LATEST_TIERED, EARLIEST_PENDING_UPLOAD):
        return -1, -1  # nothing is ever tiered
    found = log.offset_for_timestamp(timestamp)
    if found is None or found.offset >= end:
        return -1, -1
    return found.offset, found.timestamp


def _failure(asked: ListOffsetsPartition, error: ErrorCode) -> ListOffsetsPartitionResponse:
    return ListOffsetsPartitionResponse(partition_index=asked.partition_index, error_code=error)
