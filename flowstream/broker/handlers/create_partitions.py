"""CreatePartitions (37): grow topics, durable when answered. Keys may change their partition.

3 refuses what would be too much for its client's quota (KIP-599).
"""

from __future__ import annotations

from flowstream.broker.coordination import commit_metadata
from flowstream.broker.cores import Cores
from flowstream.broker.decision import Decision
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.handlers.throttling import Mutations
from flowstream.broker.metadata.topics import create_partitions
from flowstream.broker.types import Instant
from flowstream.wire.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
)

STRICT_SINCE = 3


def handle(request: Request[CreatePartitionsRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer when the partitions are durable."""
    mutations = Mutations(request, cores, now, strict=request.to.version >= STRICT_SINCE)
    plan = create_partitions(cores.image, cores.config, request.body, mutations.charge)
    told = CreatePartitionsResponse(throttle_time_ms=mutations.throttle_ms, results=plan.results)
    decision = Decision(records=plan.records, replies=((request.to, told),))
    return commit_metadata(cores, decision, now) + mutations.muted()
