"""DeleteGroups (42): forget groups that have no members, with their offsets (KIP-229)."""

from __future__ import annotations

from flowstream.broker.coordination import commit_group, replies_when_durable
from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.types import Instant
from flowstream.wire.messages.delete_groups import (
    DeletableGroupResult,
    DeleteGroupsRequest,
    DeleteGroupsResponse,
)


def handle(request: Request[DeleteGroupsRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer when the tombstones are durable."""
    effects: list[Effect] = []
    results = []
    for group_id in dict.fromkeys(request.body.groups_names):
        error, decision = cores.groups.delete(group_id)
        effects += commit_group(cores, group_id, decision, now)
        results.append(DeletableGroupResult(group_id=group_id, error_code=error))
    answer = DeleteGroupsResponse(results=tuple(results))
    return effects + replies_when_durable([(request.to, answer)])
