"""DeleteRecords (21): move the log start of partitions forward; -1 means the high watermark.

2 is flexible.
"""

from __future__ import annotations

from flowstream.broker.coordination import checkpoint_log_starts
from flowstream.broker.cores import INTERNAL_TOPICS, Cores
from flowstream.broker.effects import Effect, Reply, WhenDurable
from flowstream.broker.events import Request
from flowstream.broker.log.retention import SEGMENTS_AT_ONCE
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsPartitionResult,
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    DeleteRecordsTopicResult,
)

HIGH_WATERMARK = -1


def handle(request: Request[DeleteRecordsRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Delete what is below each offset; never beyond the high watermark (L8)."""
    deletion = _Deletion(cores)
    topics = tuple(
        DeleteRecordsTopicResult(
            name=topic.name,
            partitions=tuple(deletion.of(topic.name, asked) for asked in topic.partitions),
        )
        for topic in request.body.topics
    )
    effects = deletion.effects
    reply: list[Effect] = [Reply(request.to, DeleteRecordsResponse(topics=topics))]
    if effects:
        effects += checkpoint_log_starts(cores)
    return [*effects, WhenDurable(lambda now: reply)]


class _Deletion:
    """What one request deletes. Its partitions share what goes at once: the loop waits for the disk
    once per segment (X4).
    """

    def __init__(self, cores: Cores) -> None:
        self.effects: list[Effect] = []
        self._cores = cores
        self._room = SEGMENTS_AT_ONCE

    def of(self, topic: str, asked: DeleteRecordsPartition) -> DeleteRecordsPartitionResult:
        """Delete from one partition; the answer for it."""
        log = self._cores.logs.by_name.get(TopicPartition(topic, asked.partition_index))
        if log is None:
            return _failure(asked, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        if topic in INTERNAL_TOPICS:
            return _failure(asked, ErrorCode.INVALID_TOPIC_EXCEPTION)
        if log.config.compact and not log.config.delete:
            return _failure(asked, ErrorCode.POLICY_VIOLATION)
        offset = log.high_watermark if asked.offset == HIGH_WATERMARK else asked.offset
        if not 0 <= offset <= log.high_watermark:
            return _failure(asked, ErrorCode.OFFSET_OUT_OF_RANGE)
        before = len(log.segments)
        self.effects += log.delete_before(offset, self._room)
        self._room -= before - len(log.segments)
        self._cores.upkeep.follow(log)
        return DeleteRecordsPartitionResult(
            partition_index=asked.partition_index, low_watermark=log.log_start
        )


def _failure(asked: DeleteRecordsPartition, error: ErrorCode) -> DeleteRecordsPartitionResult:
    return DeleteRecordsPartitionResult(
        partition_index=asked.partition_index, low_watermark=-1, error_code=error
    )
