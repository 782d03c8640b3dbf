"""Heartbeat (12): a member is alive, and learns whether it must join again. 3 knows static
members."""

from __future__ import annotations

from flowstream.broker.coordination import commit_group
from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.types import Instant
from flowstream.wire.messages.heartbeat import HeartbeatRequest


def handle(request: Request[HeartbeatRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer at once."""
    decision = cores.groups.heartbeat(request, now)
    return commit_group(cores, request.body.group_id, decision, now)
