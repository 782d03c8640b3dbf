"""DeleteTopics (20): delete topics by name or, from 6 on, by id (KIP-516).

Durable when answered. 1 and 2 do not know TOPIC_DELETION_DISABLED; 5 refuses what would be too much
for its client's quota (KIP-599).
"""

from __future__ import annotations

from collections.abc import Hashable

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.handlers.slicing import Sliced, slices
from flowstream.broker.handlers.throttling import Mutations
from flowstream.broker.metadata.image import Image, Topic
from flowstream.broker.metadata.plan import Plan
from flowstream.broker.metadata.topics import delete_topics
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.delete_topics import (
    DeletableTopicResult,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
    DeleteTopicState,
)
from flowstream.wire.schema import replace

DISABLED_SINCE = 3
STRICT_SINCE = 5


def handle(request: Request[DeleteTopicsRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer when the removal is durable."""
    body, version = request.body, request.to.version
    mutations = Mutations(request, cores, now, strict=version >= STRICT_SINCE)

    def key(state: DeleteTopicState) -> Hashable:
        topic = _named(state, cores.image)
        return state if topic is None else topic.name

    def named(state: DeleteTopicState) -> str:
        topic = _named(state, cores.image)
        return (state.name or "") if topic is None else topic.name

    def partitions(state: DeleteTopicState) -> int:
        topic = _named(state, cores.image)
        return 0 if topic is None else len(topic.partitions)

    def plan(part: tuple[DeleteTopicState, ...], used: int) -> Plan[DeletableTopicResult]:
        asked = replace(body, topics=part, topic_names=())
        return delete_topics(cores.image, cores.config, asked, mutations.charge)

    def answer(results: tuple[DeletableTopicResult, ...]) -> DeleteTopicsResponse:
        told = tuple(_told(each, version) for each in results)
        return DeleteTopicsResponse(throttle_time_ms=mutations.throttle_ms, responses=told)

    asked = body.topics or tuple(DeleteTopicState(name=name) for name in body.topic_names)
    parts = slices(asked, key, partitions)
    return Sliced(request.to, cores, parts, named, plan, answer, last=mutations.muted).go_on(now)


def _named(state: DeleteTopicState, image: Image) -> Topic | None:
    """The topic that is meant, by name or by id."""
    if state.name is not None:
        return image.topics.get(state.name)
    return image.topics_by_id.get(state.topic_id)


def _told(result: DeletableTopicResult, version: int) -> DeletableTopicResult:
    if result.error_code == ErrorCode.TOPIC_DELETION_DISABLED and version < DISABLED_SINCE:
        return replace(result, error_code=ErrorCode.INVALID_REQUEST)
    return result
