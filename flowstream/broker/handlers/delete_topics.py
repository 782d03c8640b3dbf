"""DeleteTopics (20): delete topics by name or, from 6 on, by id (KIP-516).

Durable when answered. 1 and 2 do not know TOPIC_DELETION_DISABLED.
"""

from __future__ import annotations

from flowstream.broker.coordination import commit_metadata
from flowstream.broker.cores import Cores
from flowstream.broker.decision import Decision
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
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


def handle(request: Request[DeleteTopicsRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer when the removal is durable."""
    plan = delete_topics(cores.image, cores.config, request.body)
    results = tuple(_told(each, request.to.version) for each in plan.results)
    reply = (request.to, DeleteTopicsResponse(responses=results))
    return commit_metadata(cores, Decision(records=plan.records, replies=(reply,)), now)


def _told(result: DeletableTopicResult, version: int) -> DeletableTopicResult:
    if result.error_code == ErrorCode.TOPIC_DELETION_DISABLED and version < DISABLED_SINCE:
        return replace(result, error_code=ErrorCode.INVALID_REQUEST)
    return result
