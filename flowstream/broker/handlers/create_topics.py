"""CreateTopics (19): create topics, each accepted or refused on its own.

Durable when answered, whatever the timeout. -1 asks for the default counts (KIP-464); 5 tells the
configuration (KIP-525); 6 refuses what would be too much for its client's quota (KIP-599); 7 tells
the ids (KIP-516).
"""

from __future__ import annotations

from flowstream.broker.coordination import commit_metadata
from flowstream.broker.cores import Cores
from flowstream.broker.decision import Decision
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.handlers.altering import notices
from flowstream.broker.handlers.throttling import Mutations
from flowstream.broker.metadata.topics import create_topics
from flowstream.broker.types import Instant
from flowstream.wire.messages.create_topics import CreateTopicsRequest, CreateTopicsResponse

STRICT_SINCE = 6


def handle(request: Request[CreateTopicsRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer when the topics are durable."""
    mutations = Mutations(request, cores, now, strict=request.to.version >= STRICT_SINCE)
    plan = create_topics(cores.image, cores.config, request.body, cores.rng, mutations.charge)
    told = CreateTopicsResponse(throttle_time_ms=mutations.throttle_ms, topics=plan.results)
    decision = Decision(records=plan.records, replies=((request.to, told),))
    effects = commit_metadata(cores, decision, now)
    return [*notices(plan.records), *effects, *mutations.muted()]
