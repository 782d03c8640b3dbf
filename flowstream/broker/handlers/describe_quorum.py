"""DescribeQuorum (55): the voters of `__cluster_metadata`, which is this node alone (KIP-595).

1 adds when a voter was last heard of (KIP-836), 2 directory ids and where the voters listen
(KIP-853): on the listeners that clients use, for there are no others.
"""

from __future__ import annotations

from flowstream.broker.cores import METADATA_LOG, Cores
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.fields import ZERO_UUID
from flowstream.wire.messages.describe_quorum import (
    DescribeQuorumRequest,
    DescribeQuorumResponse,
    Listener,
    Node,
    PartitionDataResponse,
    ReplicaState,
    TopicData,
    TopicDataResponse,
)

LOCATED_SINCE = 2
"""The version that tells where voters keep the log and listen."""


def handle(request: Request[DescribeQuorumRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer at once; asked for anything else than the one partition, that is unknown."""
    topics = request.body.topics
    asked = [(each.topic_name, part.partition_index) for each in topics for part in each.partitions]
    if asked != [METADATA_LOG]:
        refused = DescribeQuorumResponse(error_message=None, topics=tuple(map(_unknown, topics)))
        return [Reply(request.to, refused)]
    located = request.to.version >= LOCATED_SINCE
    topic = TopicDataResponse(
        topic_name=METADATA_LOG.topic, partitions=(_quorum(cores, now, located=located),)
    )
    response = DescribeQuorumResponse(
        error_message=None, topics=(topic,), nodes=(_node(cores),) if located else ()
    )
    return [Reply(request.to, response)]


def _node(cores: Cores) -> Node:
    here = cores.address
    listeners = tuple(
        Listener(name=name, host=each.host, port=each.port) for name, each in here.known().items()
    )
    return Node(node_id=here.node_id, listeners=listeners)


def _quorum(cores: Cores, now: Instant, *, located: bool) -> PartitionDataResponse:
    log, here = cores.metadata_log, cores.address
    voter = ReplicaState(
        replica_id=here.node_id,
        replica_directory_id=here.directory_id if located else ZERO_UUID,
        log_end_offset=log.log_end,
        last_fetch_timestamp=now,
        last_caught_up_timestamp=now,
    )
    return PartitionDataResponse(
        partition_index=METADATA_LOG.partition,
        error_message=None,
        leader_id=here.node_id,
        leader_epoch=cores.metadata_log.leader_epoch,
        high_watermark=log.high_watermark,
        current_voters=(voter,),
    )


def _unknown(topic: TopicData) -> TopicDataResponse:
    return TopicDataResponse(
        topic_name=topic.topic_name,
        partitions=tuple(
            PartitionDataResponse(
                partition_index=each.partition_index,
                error_code=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
                error_message="This server does not host this topic-partition.",
            )
            for each in topic.partitions
        ),
    )
