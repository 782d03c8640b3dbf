"""CreateTopics (19): create topics, each accepted or refused on its own.

Durable when answered, whatever the timeout. -1 asks for the default counts (KIP-464); 5 tells the
configuration (KIP-525); 6 refuses what would be too much for its client's quota (KIP-599); 7 tells
the ids (KIP-516).
"""

from __future__ import annotations

from collections.abc import Sequence

from flowstream.broker.breadth import TOPICS_MOST
from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.handlers.altering import notices
from flowstream.broker.handlers.slicing import Sliced, slices
from flowstream.broker.handlers.throttling import Mutations
from flowstream.broker.metadata.plan import Plan
from flowstream.broker.metadata.topics import create_topics
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicResult,
    CreateTopicsRequest,
    CreateTopicsResponse,
)
from flowstream.wire.schema import replace

STRICT_SINCE = 6


def handle(request: Request[CreateTopicsRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer when the topics are durable."""
    body = request.body
    mutations = Mutations(request, cores, now, strict=request.to.version >= STRICT_SINCE)

    valid: list[str] = []

    def named(topic: CreatableTopic) -> str:
        return topic.name

    def partitions(topic: CreatableTopic) -> int:
        default = cores.config.num_partitions if topic.num_partitions == -1 else 0
        many = len(topic.assignments) or max(topic.num_partitions, default)
        return 0 if body.validate_only else many

    def plan(part: tuple[CreatableTopic, ...], used: int) -> Plan[CreatableTopicResult]:
        asked = replace(body, topics=part)
        plan = create_topics(
            cores.image, cores.config, asked, cores.rng, mutations.charge, used, valid
        )
        if body.validate_only:
            valid.extend(each.name for each in plan.results if not each.error_code)
        return plan

    def answer(results: tuple[CreatableTopicResult, ...]) -> CreateTopicsResponse:
        return CreateTopicsResponse(throttle_time_ms=mutations.throttle_ms, topics=results)

    if len(body.topics) > TOPICS_MOST:
        return [Reply(request.to, answer(_too_many(body.topics)))]
    sliced = Sliced(
        request.to,
        cores,
        slices(body.topics, named, partitions),
        named,
        plan,
        answer,
        told=lambda plan: [*notices(plan.records)],
        last=mutations.muted,
    )
    return sliced.go_on(now)


def _too_many(topics: Sequence[CreatableTopic]) -> tuple[CreatableTopicResult, ...]:
    return tuple(
        CreatableTopicResult(
            name=name,
            error_code=ErrorCode.POLICY_VIOLATION,
            error_message=f"Excessively many topics in one request: at most {TOPICS_MOST}.",
            configs=(),
        )
        for name in dict.fromkeys(topic.name for topic in topics)
    )
