"""CreatePartitions (37): grow topics, durable when answered. Keys may change their partition.

3 refuses what would be too much for its client's quota (KIP-599).
"""

from __future__ import annotations

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.handlers.slicing import Sliced, slices
from flowstream.broker.handlers.throttling import Mutations
from flowstream.broker.metadata.plan import Plan
from flowstream.broker.metadata.topics import create_partitions
from flowstream.broker.types import Instant
from flowstream.wire.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopic,
    CreatePartitionsTopicResult,
)
from flowstream.wire.schema import replace

STRICT_SINCE = 3


def handle(request: Request[CreatePartitionsRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer when the partitions are durable."""
    body = request.body
    mutations = Mutations(request, cores, now, strict=request.to.version >= STRICT_SINCE)

    def named(topic: CreatePartitionsTopic) -> str:
        return topic.name

    def partitions(topic: CreatePartitionsTopic) -> int:
        return topic.count - cores.logs.partitions.get(topic.name, 0)

    def plan(
        part: tuple[CreatePartitionsTopic, ...], used: int
    ) -> Plan[CreatePartitionsTopicResult]:
        asked = replace(body, topics=part)
        return create_partitions(cores.image, cores.config, asked, mutations.charge, used)

    def answer(results: tuple[CreatePartitionsTopicResult, ...]) -> CreatePartitionsResponse:
        return CreatePartitionsResponse(throttle_time_ms=mutations.throttle_ms, results=results)

    parts = slices(body.topics, named, partitions)
    return Sliced(request.to, cores, parts, named, plan, answer, last=mutations.muted).go_on(now)
