"""AlterPartitionReassignments (45): move partitions to other replicas, or cancel such a move.

With one node the only place for a partition is where it is: naming that succeeds without a change,
everything else is refused as Kafka does, and there is never a move to cancel. 1 can refuse to
change the number of replicas (KIP-860), which here would name an unknown broker anyway.
"""

from __future__ import annotations

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.metadata.plan import Refusal
from flowstream.broker.metadata.topic_rules import check_replicas
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
    ReassignablePartition,
    ReassignablePartitionResponse,
    ReassignableTopicResponse,
)


def handle(
    request: Request[AlterPartitionReassignmentsRequest], cores: Cores, now: Instant
) -> list[Effect]:
    """Answer at once: nothing ever moves."""
    body = request.body
    response = AlterPartitionReassignmentsResponse(
        allow_replication_factor_change=body.allow_replication_factor_change,
        error_message=None,
        responses=tuple(
            ReassignableTopicResponse(
                name=topic.name,
                partitions=tuple(_reassign(cores, topic.name, each) for each in topic.partitions),
            )
            for topic in body.topics
        ),
    )
    return [Reply(request.to, response)]


def _reassign(
    cores: Cores, name: str, asked: ReassignablePartition
) -> ReassignablePartitionResponse:
    error, message = ErrorCode.NONE, None
    try:
        _check(cores, name, asked)
    except Refusal as refusal:
        error, message = refusal.error, refusal.message or None
    return ReassignablePartitionResponse(
        partition_index=asked.partition_index, error_code=error, error_message=message
    )


def _check(cores: Cores, name: str, asked: ReassignablePartition) -> None:
    topic, number = cores.image.topics.get(name), asked.partition_index
    if topic is None:
        raise Refusal(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Unable to find a topic named {name}.")
    if number not in topic.partitions:
        raise Refusal(
            ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Unable to find partition {name}:{number}."
        )
    if asked.replicas is None:
        raise Refusal(ErrorCode.NO_REASSIGNMENT_IN_PROGRESS, "")
    check_replicas(asked.replicas, cores.address.node_id)
