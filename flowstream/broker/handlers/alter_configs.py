"""AlterConfigs (33): replace the whole configuration of resources: what is not named goes back to
its default. Superseded by IncrementalAlterConfigs, whose checks it shares.

2 is flexible.
"""

from __future__ import annotations

from flowstream.broker.coordination import commit_metadata
from flowstream.broker.cores import Cores
from flowstream.broker.decision import Decision
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.metadata.alterations import Change, Operation, Wanted, alter_configs
from flowstream.broker.types import Instant
from flowstream.wire.messages.alter_configs import (
    AlterConfigsRequest,
    AlterConfigsResourceResponse,
    AlterConfigsResponse,
)


def handle(request: Request[AlterConfigsRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer when the changes are durable."""
    body = request.body
    wanted = [
        Wanted(
            each.resource_type,
            each.resource_name,
            tuple(Change(c.name, Operation.SET, c.value) for c in each.configs),
            replaces=True,
        )
        for each in body.resources
    ]
    plan = alter_configs(cores.image, cores.config, wanted, validate_only=body.validate_only)
    responses = tuple(
        AlterConfigsResourceResponse(
            error_code=outcome.error,
            error_message=outcome.message,
            resource_type=each.resource_type,
            resource_name=each.resource_name,
        )
        for each, outcome in zip(body.resources, plan.results, strict=True)
    )
    reply = (request.to, AlterConfigsResponse(responses=responses))
    return commit_metadata(cores, Decision(records=plan.records, replies=(reply,)), now)
