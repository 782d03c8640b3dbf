"""CreateAcls (30): add access rules (KIP-140); from 1 on prefixed ones (KIP-290)."""

from __future__ import annotations

from flowstream.broker.coordination import commit_metadata
from flowstream.broker.cores import Cores
from flowstream.broker.decision import Decision
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.handlers.describe_acls import DISABLED
from flowstream.broker.metadata.access_rules import create
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.create_acls import (
    AclCreationResult,
    CreateAclsRequest,
    CreateAclsResponse,
)


def handle(request: Request[CreateAclsRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer when the rules are durable."""
    if cores.authorizer is None:
        refusal = AclCreationResult(error_code=ErrorCode.SECURITY_DISABLED, error_message=DISABLED)
        results = (refusal,) * len(request.body.creations)
        return [Reply(request.to, CreateAclsResponse(results=results))]
    plan = create(cores.image.acls, request.body, cores.rng)
    reply = (request.to, CreateAclsResponse(results=plan.results))
    return commit_metadata(cores, Decision(records=plan.records, replies=(reply,)), now)
