"""LeaveGroup (13): members leave without waiting for their sessions to end.

From 3 on many at once, static ones by instance id alone (KIP-345); 5 gives reasons (KIP-800).
"""

from __future__ import annotations

from flowstream.broker.coordination import commit_group
from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.types import Instant
from flowstream.wire.messages.leave_group import LeaveGroupRequest


def handle(request: Request[LeaveGroupRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Let them go; the others are called to share anew."""
    decision = cores.groups.leave(request, now)
    return commit_group(cores, request.body.group_id, decision, now)
