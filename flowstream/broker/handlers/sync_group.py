"""SyncGroup (14): the leader brings the assignment, every member takes its share.

3 knows static members (KIP-345); from 5 on the protocol must be named (KIP-559).
"""

from __future__ import annotations

from flowstream.broker.coordination import commit_group
from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.types import Instant
from flowstream.wire.messages.sync_group import SyncGroupRequest


def handle(request: Request[SyncGroupRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer once the assignment is durable; followers wait for the leader."""
    decision = cores.groups.sync(request, now)
    return commit_group(cores, request.body.group_id, decision, now)
