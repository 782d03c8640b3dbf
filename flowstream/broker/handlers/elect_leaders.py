"""ElectLeaders (43): let a preferred, or an unclean, leader take over.

One node leads every partition that it has, so no election is ever needed. 1 adds the type of
election (KIP-460); asked about all partitions, a topic is answered without those that need none.
"""

from __future__ import annotations

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.elect_leaders import (
    ElectLeadersRequest,
    ElectLeadersResponse,
    PartitionResult,
    ReplicaElectionResult,
)

ELECTION_TYPES = (0, 1)
"""Preferred and unclean."""


def handle(request: Request[ElectLeadersRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer at once."""
    body = request.body
    unknown_type = body.election_type not in ELECTION_TYPES
    asked: dict[str, tuple[int, ...]] = {}
    if body.topic_partitions is not None:
        for each in body.topic_partitions:
            asked[each.topic] = asked.get(each.topic, ()) + each.partitions
    elif not unknown_type:
        asked = dict.fromkeys(cores.image.topics, ())
    results = tuple(
        ReplicaElectionResult(
            topic=topic,
            partition_result=tuple(
                _unknown_type(body, number) if unknown_type else _elect(cores, topic, number)
                for number in dict.fromkeys(numbers)
            ),
        )
        for topic, numbers in asked.items()
    )
    error = ErrorCode.INVALID_REQUEST if unknown_type else ErrorCode.NONE
    response = ElectLeadersResponse(error_code=error, replica_election_results=results)
    return [Reply(request.to, response)]


def _unknown_type(body: ElectLeadersRequest, number: int) -> PartitionResult:
    return PartitionResult(
        partition_id=number,
        error_code=ErrorCode.INVALID_REQUEST,
        error_message=f"Unknown election type {body.election_type}",
    )


def _elect(cores: Cores, name: str, number: int) -> PartitionResult:
    topic = cores.image.topics.get(name)
    if topic is not None and number in topic.partitions:
        error = ErrorCode.ELECTION_NOT_NEEDED
        message = "Leader election not needed for topic partition."
    else:
        error = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        message = (
            f"No such topic as {name}" if topic is None else f"No such partition as {name}-{number}"
        )
    return PartitionResult(partition_id=number, error_code=error, error_message=message)
