"""DescribeTopicPartitions (75): topics in pages of partitions (KIP-966).

Topics are answered in order of name from the cursor on, all of them when none is named, at most
`response_partition_limit` partitions; the next cursor says where to go on.
"""

from __future__ import annotations

from flowstream.broker.cores import INTERNAL_TOPICS, Cores
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.metadata.image import Topic
from flowstream.broker.metadata.names import problem_with
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.describe_topic_partitions import (
    Cursor,
    DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
)

MAX_PARTITIONS = 2_000
"""Kafka's max.request.partition.size.limit."""

TOPIC_OPERATIONS = sum(1 << operation for operation in (3, 4, 5, 6, 7, 8, 10, 11))
"""Read, write, create, delete, alter, describe, describe and alter configs: Kafka's answer to
everyone when nothing is restricted."""


def handle(
    request: Request[DescribeTopicPartitionsRequest], cores: Cores, now: Instant
) -> list[Effect]:
    """Answer one page at once."""
    body, cursor = request.body, request.body.cursor
    names = sorted({each.name for each in body.topics} or cores.image.topics)
    if cursor is not None:
        elsewhere = body.topics and cursor.topic_name not in names
        if elsewhere or cursor.partition_index < 0:
            return [Reply(request.to, _refusal(body))]
        names = [name for name in names if name >= cursor.topic_name]
    room = min(max(body.response_partition_limit, 1), MAX_PARTITIONS)
    topics: list[DescribeTopicPartitionsResponseTopic] = []
    following: Cursor | None = None
    for name in names:
        topic = cores.image.topics.get(name)
        resumed = cursor is not None and cursor.topic_name == name
        first = cursor.partition_index if cursor is not None and resumed else 0
        if room == 0:
            following = Cursor(topic_name=name, partition_index=first)
            break
        if topic is None:
            topics.append(_unknown(name))
            continue
        topics.append(_page(topic, range(first, first + room)))
        room -= len(topics[-1].partitions)
        if first + len(topics[-1].partitions) < len(topic.partitions):
            reached = first + len(topics[-1].partitions)
            following = Cursor(topic_name=name, partition_index=reached)
            break
    response = DescribeTopicPartitionsResponse(topics=tuple(topics), next_cursor=following)
    return [Reply(request.to, response)]


def _refusal(body: DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse:
    """A cursor that leads nowhere: the answer has no error of its own, so every topic has it."""
    refused = tuple(
        DescribeTopicPartitionsResponseTopic(error_code=ErrorCode.INVALID_REQUEST, name=name)
        for name in dict.fromkeys(each.name for each in body.topics)
    )
    return DescribeTopicPartitionsResponse(topics=refused)


def _unknown(name: str) -> DescribeTopicPartitionsResponseTopic:
    legal = problem_with(name) is None
    return DescribeTopicPartitionsResponseTopic(
        error_code=(
            ErrorCode.UNKNOWN_TOPIC_OR_PARTITION if legal else ErrorCode.INVALID_TOPIC_EXCEPTION
        ),
        name=name,
        is_internal=name in INTERNAL_TOPICS,
    )


def _page(topic: Topic, numbers: range) -> DescribeTopicPartitionsResponseTopic:
    return DescribeTopicPartitionsResponseTopic(
        error_code=ErrorCode.NONE,
        name=topic.name,
        topic_id=topic.topic_id,
        is_internal=topic.name in INTERNAL_TOPICS,
        partitions=tuple(
            DescribeTopicPartitionsResponsePartition(
                error_code=ErrorCode.NONE,
                partition_index=number,
                leader_id=partition.leader,
                leader_epoch=partition.leader_epoch,
                replica_nodes=partition.replicas,
                isr_nodes=partition.isr,
                eligible_leader_replicas=partition.eligible_leader_replicas,
                last_known_elr=partition.last_known_elr,
            )
            for number, partition in sorted(topic.partitions.items())
            if number in numbers
        ),
        topic_authorized_operations=TOPIC_OPERATIONS,
    )
