"""OffsetCommit (8): store a group's positions.

2-4 may give a retention time; 6 stores leader epochs (KIP-320); 7 knows static members (KIP-345);
9 tells GROUP_ID_NOT_FOUND (KIP-848); 10 names topics by id (KIP-848). Retention times of all other
requests are the broker's `offsets.retention.minutes`.
"""

from __future__ import annotations

from flowstream.broker.coordination import commit_group, replies_when_durable
from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.groups.commits import Claim, NewOffset
from flowstream.broker.metadata.image import Topic
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)

TOPIC_IDS = 10


def handle(request: Request[OffsetCommitRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer when the offsets are durable."""
    body = request.body
    by_id = request.to.version >= TOPIC_IDS
    offsets: list[NewOffset] = []
    for named in body.topics:
        topic = _topic(cores, named, by_id)
        offsets += [
            _offset(topic, each)
            for each in named.partitions
            if topic is not None and not _error(cores, topic, each, by_id)
        ]
    error, effects = ErrorCode.NONE, list[Effect]()
    if offsets:
        claim = Claim(body.member_id, body.group_instance_id, body.generation_id_or_member_epoch)
        error, decision = cores.groups.commit(
            body.group_id,
            claim,
            offsets,
            now,
            version=request.to.version,
            retention_ms=body.retention_time_ms,
        )
        effects = commit_group(cores, body.group_id, decision, now)
    answers = tuple(_answer(cores, each, by_id, error) for each in body.topics)
    return effects + replies_when_durable([(request.to, OffsetCommitResponse(topics=answers))])


def _topic(cores: Cores, named: OffsetCommitRequestTopic, by_id: bool) -> Topic | None:
    image = cores.image
    return image.topics_by_id.get(named.topic_id) if by_id else image.topics.get(named.name)


def _offset(topic: Topic, each: OffsetCommitRequestPartition) -> NewOffset:
    return NewOffset(
        TopicPartition(topic.name, each.partition_index),
        each.committed_offset,
        each.committed_leader_epoch,
        each.committed_metadata,
        topic.topic_id,
    )


def _error(
    cores: Cores, topic: Topic | None, each: OffsetCommitRequestPartition, by_id: bool
) -> ErrorCode:
    if topic is None:
        return ErrorCode.UNKNOWN_TOPIC_ID if by_id else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    if each.partition_index not in topic.partitions:
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    if len(each.committed_metadata or "") > cores.config.offset_metadata_max_bytes:
        return ErrorCode.OFFSET_METADATA_TOO_LARGE
    return ErrorCode.NONE


def _answer(
    cores: Cores, named: OffsetCommitRequestTopic, by_id: bool, error: ErrorCode
) -> OffsetCommitResponseTopic:
    topic = _topic(cores, named, by_id)
    partitions = tuple(
        OffsetCommitResponsePartition(
            partition_index=each.partition_index,
            error_code=_error(cores, topic, each, by_id) or error,
        )
        for each in named.partitions
    )
    return OffsetCommitResponseTopic(
        name=named.name, topic_id=named.topic_id, partitions=partitions
    )
