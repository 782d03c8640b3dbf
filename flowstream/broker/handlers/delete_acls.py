"""DeleteAcls (31): remove the access rules that filters mean (KIP-140)."""

from __future__ import annotations

from flowstream.broker.coordination import commit_metadata
from flowstream.broker.cores import Cores
from flowstream.broker.decision import Decision
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.handlers.describe_acls import DISABLED
from flowstream.broker.metadata.access_rules import delete
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.delete_acls import (
    DeleteAclsFilterResult,
    DeleteAclsRequest,
    DeleteAclsResponse,
)


def handle(request: Request[DeleteAclsRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer when the removal is durable."""
    if cores.authorizer is None:
        refusal = DeleteAclsFilterResult(
            error_code=ErrorCode.SECURITY_DISABLED, error_message=DISABLED
        )
        results = (refusal,) * len(request.body.filters)
        return [Reply(request.to, DeleteAclsResponse(filter_results=results))]
    plan = delete(cores.image.acls, request.body)
    reply = (request.to, DeleteAclsResponse(filter_results=plan.results))
    return commit_metadata(cores, Decision(records=plan.records, replies=(reply,)), now)
