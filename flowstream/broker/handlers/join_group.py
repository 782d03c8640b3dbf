"""JoinGroup (11): become a member of the group's next generation. The answer waits for the others.

1 tells the rebalance timeout apart from the session timeout (KIP-62); from 4 on a member without an
id gets one and joins again (KIP-394); 5 knows static members (KIP-345); 9 lets a static leader that
came back skip the assignment (KIP-814). Reasons (KIP-800, from 8 on) are for people only.
"""

from __future__ import annotations

from flowstream.broker.coordination import commit_group
from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.types import Instant
from flowstream.wire.messages.join_group import JoinGroupRequest


def handle(request: Request[JoinGroupRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Let the coordinator decide; it may answer others that wait, and this one later."""
    decision = cores.groups.join(request, now)
    return commit_group(cores, request.body.group_id, decision, now)
