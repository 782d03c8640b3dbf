"""SyncGroup (14): the leader brings the assignment, every member takes its share.

3 knows static members (KIP-345); from 5 on the protocol must be named (KIP-559).

When the shares are more than a group may hold all members are refused, and librdkafka joins again
at once, two hundred times a second: their connections are not read for a moment.
"""

from __future__ import annotations

from flowstream.broker.coordination import commit_group
from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Mute
from flowstream.broker.events import Request
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse

REFUSED_MS = 1_000
"""For so long a connection is not read whose member was refused its share."""


def handle(request: Request[SyncGroupRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer once the assignment is durable; followers wait for the leader."""
    decision = cores.groups.sync(request, now)
    effects = commit_group(cores, request.body.group_id, decision, now)
    for to, body in decision.replies:
        error = body.error_code if isinstance(body, SyncGroupResponse) else ErrorCode.NONE
        if error == ErrorCode.GROUP_MAX_SIZE_REACHED:
            effects.append(Mute(to.connection, REFUSED_MS))
    return effects
