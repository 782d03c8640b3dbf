"""CreateTopics (19): create topics, each accepted or refused on its own.

Durable when answered, whatever the timeout. -1 asks for the default counts (KIP-464); 5 tells the
configuration (KIP-525); 7 the ids (KIP-516).
"""

from __future__ import annotations

from flowstream.broker.coordination import commit_metadata
from flowstream.broker.cores import Cores
from flowstream.broker.decision import Decision
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.metadata.topics import create_topics
from flowstream.broker.types import Instant
from flowstream.wire.messages.create_topics import CreateTopicsRequest, CreateTopicsResponse


def handle(request: Request[CreateTopicsRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer when the topics are durable."""
    plan = create_topics(cores.image, cores.config, request.body, cores.rng)
    reply = (request.to, CreateTopicsResponse(topics=plan.results))
    return commit_metadata(cores, Decision(records=plan.records, replies=(reply,)), now)
