"""ListPartitionReassignments (46): moves of partitions under way. With one node there are none."""

from __future__ import annotations

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.types import Instant
from flowstream.wire.messages.list_partition_reassignments import (
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
)


def handle(
    request: Request[ListPartitionReassignmentsRequest], cores: Cores, now: Instant
) -> list[Effect]:
    """Answer at once; partitions that do not move are not told, unknown ones neither, as in
    Kafka."""
    return [Reply(request.to, ListPartitionReassignmentsResponse(error_message=None))]
