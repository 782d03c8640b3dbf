"""DeleteTopics (20): delete topics by name or, from 6 on, by id (KIP-516).

Durable when answered. 1 and 2 do not know TOPIC_DELETION_DISABLED; 5 refuses what would be too much
for its client's quota (KIP-599).
"""

from __future__ import annotations

from flowstream.broker.coordination import commit_metadata
from flowstream.broker.cores import Cores
from flowstream.broker.decision import Decision
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.handlers.throttling import Mutations
from flowstream.broker.metadata.topics import delete_topics
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.delete_topics import (
    DeletableTopicResult,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
)
from flowstream.wire.schema import replace

DISABLED_SINCE = 3
STRICT_SINCE = 5


def handle(request: Request[DeleteTopicsRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer when the removal is durable."""
    mutations = Mutations(request, cores, now, strict=request.to.version >= STRICT_SINCE)
    plan = delete_topics(cores.image, cores.config, request.body, mutations.charge)
    results = tuple(_told(each, request.to.version) for each in plan.results)
    told = DeleteTopicsResponse(throttle_time_ms=mutations.throttle_ms, responses=results)
    decision = Decision(records=plan.records, replies=((request.to, told),))
    return commit_metadata(cores, decision, now) + mutations.muted()


def _told(result: DeletableTopicResult, version: int) -> DeletableTopicResult:
    if result.error_code == ErrorCode.TOPIC_DELETION_DISABLED and version < DISABLED_SINCE:
        return replace(result, error_code=ErrorCode.INVALID_REQUEST)
    return result
