"""ConsumerGroupHeartbeat (68): the one request of a member of a consumer group (KIP-848): it joins,
reports, acknowledges and leaves.

1 subscribes by regular expression and lets clients make up their member ids (KIP-1082).
"""

from __future__ import annotations

from flowstream.broker.coordination import commit_group
from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.types import Instant
from flowstream.wire.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest


def handle(
    request: Request[ConsumerGroupHeartbeatRequest], cores: Cores, now: Instant
) -> list[Effect]:
    """Answer when what was decided is durable."""
    decision = cores.groups.consumer_heartbeat(request, now)
    return commit_group(cores, request.body.group_id, decision, now)
