"""CreatePartitions (37): grow topics, durable when answered. Keys may change their partition."""

from __future__ import annotations

from flowstream.broker.coordination import commit_metadata
from flowstream.broker.cores import Cores
from flowstream.broker.decision import Decision
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.metadata.topics import create_partitions
from flowstream.broker.types import Instant
from flowstream.wire.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
)


def handle(request: Request[CreatePartitionsRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer when the partitions are durable."""
    plan = create_partitions(cores.image, cores.config, request.body)
    reply = (request.to, CreatePartitionsResponse(results=plan.results))
    return commit_metadata(cores, Decision(records=plan.records, replies=(reply,)), now)
