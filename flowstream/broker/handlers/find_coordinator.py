"""FindCoordinator (10): who coordinates a group or a transactional id: always this node.

1 tells the kind of key; from 4 on many keys at once (KIP-699). Share groups (kind 2, from 6 on) are
not served. As in Kafka the first look-up creates the topic that the coordinator writes to.
"""

from __future__ import annotations

from flowstream.broker.coordination import ensure_internal_topic, replies_when_durable
from flowstream.broker.cores import OFFSETS_TOPIC, TRANSACTIONS_TOPIC, Cores
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.find_coordinator import (
    Coordinator,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
)

TOPICS = {0: OFFSETS_TOPIC, 1: TRANSACTIONS_TOPIC}
"""Where the coordinators of each kind of key write."""
MANY_KEYS = 4
UNKNOWN_KIND = "this broker coordinates groups (0) and transactions (1) only"


def handle(request: Request[FindCoordinatorRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer with this node's address, once the coordinator's topic exists."""
    body = request.body
    topic = TOPICS.get(body.key_type)
    effects = [] if topic is None else ensure_internal_topic(cores, topic, now)
    if request.to.version >= MANY_KEYS:
        found = tuple(_find(key, request, cores) for key in body.coordinator_keys)
        answer = FindCoordinatorResponse(coordinators=found)
    else:
        one = _find(body.key, request, cores)
        answer = FindCoordinatorResponse(
            error_code=one.error_code,
            error_message=one.error_message or ErrorCode.NONE.name,
            node_id=one.node_id,
            host=one.host,
            port=one.port,
        )
    return effects + replies_when_durable([(request.to, answer)])


def _find(key: str, request: Request[FindCoordinatorRequest], cores: Cores) -> Coordinator:
    if request.body.key_type not in TOPICS:
        error = ErrorCode.INVALID_REQUEST
        return Coordinator(
            key=key, node_id=-1, port=-1, error_code=error, error_message=UNKNOWN_KIND
        )
    seen = cores.address.seen_by(request.session)
    node_id = cores.address.node_id
    return Coordinator(key=key, node_id=node_id, host=seen.host, port=seen.port, error_message="")
