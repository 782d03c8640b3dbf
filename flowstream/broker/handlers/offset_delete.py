"""OffsetDelete (47): forget a group's offsets in topics that none of its members reads
(KIP-496)."""

from __future__ import annotations

from flowstream.broker.coordination import commit_group, replies_when_durable
from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteResponse,
    OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
)


def handle(request: Request[OffsetDeleteRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer when the tombstones are durable."""
    body = request.body
    if not body.group_id:
        nameless = OffsetDeleteResponse(error_code=ErrorCode.INVALID_GROUP_ID)
        return replies_when_durable([(request.to, nameless)])
    asked = [
        TopicPartition(topic.name, each.partition_index)
        for topic in body.topics
        for each in topic.partitions
    ]
    known = [each for each in asked if _is_known(cores, each)]
    error, answers, decision = cores.groups.delete_offsets(body.group_id, known)
    if error:
        return replies_when_durable([(request.to, OffsetDeleteResponse(error_code=error))])
    found = dict(zip(known, answers, strict=True))
    topics = tuple(
        OffsetDeleteResponseTopic(
            name=topic.name,
            partitions=tuple(
                OffsetDeleteResponsePartition(
                    partition_index=each.partition_index,
                    error_code=found.get(
                        TopicPartition(topic.name, each.partition_index),
                        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
                    ),
                )
                for each in topic.partitions
            ),
        )
        for topic in body.topics
    )
    effects = commit_group(cores, body.group_id, decision, now)
    return effects + replies_when_durable([(request.to, OffsetDeleteResponse(topics=topics))])


def _is_known(cores: Cores, name: TopicPartition) -> bool:
    topic = cores.image.topics.get(name.topic)
    return topic is not None and name.partition in topic.partitions
