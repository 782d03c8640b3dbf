"""OffsetForLeaderEpoch (23): where a leader epoch ends, so that a reader finds a diverged log
(KIP-320).

2 is the only version that librdkafka sends; 3 adds the replica id, 4 is flexible.
"""

from __future__ import annotations

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.handlers.leader_epoch import epoch_error
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.offset_for_leader_epoch import (
    EpochEndOffset,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
)


def handle(
    request: Request[OffsetForLeaderEpochRequest], cores: Cores, now: Instant
) -> list[Effect]:
    """The largest epoch not above each asked one, and the offset after its last record."""
    topics = tuple(
        OffsetForLeaderTopicResult(
            topic=topic.topic,
            partitions=tuple(_look_up(cores, topic.topic, asked) for asked in topic.partitions),
        )
        for topic in request.body.topics
    )
    return [Reply(request.to, OffsetForLeaderEpochResponse(topics=topics))]


def _look_up(cores: Cores, topic: str, asked: OffsetForLeaderPartition) -> EpochEndOffset:
    log = cores.logs.by_name.get(TopicPartition(topic, asked.partition))
    error = (
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        if log is None
        else epoch_error(log, asked.current_leader_epoch)
    )
    if log is None or error:
        return EpochEndOffset(error_code=error or 0, partition=asked.partition)
    epoch, end = log.leader_epoch_end(asked.leader_epoch)
    return EpochEndOffset(partition=asked.partition, leader_epoch=epoch, end_offset=end)
