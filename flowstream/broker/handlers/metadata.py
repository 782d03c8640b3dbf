"""Metadata (3): brokers, topics, who leads which partition.

A topic that does not exist is created when both sides want that, and is answered with its
partitions once it is durable (Kafka answers UNKNOWN_TOPIC_OR_PARTITION and lets the client ask
again). 0 asks for all topics with an empty list, later versions with null; 12 asks by id (KIP-516),
which 10 and 11 can write but have no answer to.
"""

from __future__ import annotations

from collections.abc import Iterable

from flowstream.broker.coordination import commit_metadata, replies_when_durable
from flowstream.broker.cores import INTERNAL_TOPICS, Cores
from flowstream.broker.decision import Decision
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.handlers.describe_cluster import CLUSTER_OPERATIONS, NOT_ASKED
from flowstream.broker.handlers.describe_topic_partitions import TOPIC_OPERATIONS
from flowstream.broker.handlers.throttling import Mutations
from flowstream.broker.metadata.controller import internal_topic
from flowstream.broker.metadata.image import Topic
from flowstream.broker.metadata.names import by_id_too_early, folded, problem_with
from flowstream.broker.metadata.records import MetadataRecord
from flowstream.broker.metadata.topics import auto_create
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.fields import ZERO_UUID
from flowstream.wire.messages.metadata import (
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)

CREATED_PARTITIONS = 512
"""Of the topics that one request creates (X4): each takes the loop up to a tenth of a millisecond,
and clients ask again for what is not there yet.
"""


def handle(request: Request[MetadataRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer at once, or when created topics are durable."""
    body, version = request.body, request.to.version
    if body.topics is None or (version == 0 and not body.topics):
        topics = [_described(topic, body) for topic in cores.image.topics.values()]
        return [Reply(request.to, _response(topics, request, cores))]
    if by_id_too_early(body.topics, version):
        return [Reply(request.to, _refusal(body))]
    refused, effects = _create_missing(request, cores, now)
    # Repetitions would only multiply the answer (X3), with ids that no name needs, too.
    once = {asked.topic_id if asked.name is None else asked.name: asked for asked in body.topics}
    topics = [_answer(asked, body, cores, refused) for asked in once.values()]
    response = _response(topics, request, cores)
    if effects:
        return effects + replies_when_durable([(request.to, response)])
    return [Reply(request.to, response)]


def _refusal(body: MetadataRequest) -> MetadataResponse:
    """Every topic has the error, for want of a place for it alone."""
    topics = tuple(
        MetadataResponseTopic(
            error_code=ErrorCode.INVALID_REQUEST, name=asked.name or "", topic_id=asked.topic_id
        )
        for asked in body.topics or ()
    )
    return MetadataResponse(topics=topics)


def _create_missing(
    request: Request[MetadataRequest], cores: Cores, now: Instant
) -> tuple[dict[str, int], list[Effect]]:
    """Create the topics that are asked for and missing. Returns the errors of those that cannot
    be. What a quota forbids, would hold up everybody or is being made is unknown for now, as in
    Kafka: clients ask again.
    """
    body = request.body
    names = dict.fromkeys(
        asked.name
        for asked in body.topics or ()
        if asked.name is not None and asked.name not in cores.image.topics
    )
    missing = [
        name for name in names if problem_with(name) is None and folded(name) not in cores.changing
    ]
    if not missing:
        return {}, []
    if not (body.allow_auto_topic_creation and cores.config.auto_create_topics_enable):
        return {}, []
    records: list[MetadataRecord] = []
    for name in missing:
        if name in INTERNAL_TOPICS:
            records += internal_topic(cores.image, cores.config, name, cores.rng)
    ordinary = [name for name in missing if name not in INTERNAL_TOPICS]
    most = max(1, CREATED_PARTITIONS // cores.config.num_partitions)
    charge = Mutations(request, cores, now, strict=True).charge
    plan = auto_create(cores.image, cores.config, ordinary[:most], cores.rng, charge)
    refused = {
        each.name: each.error_code
        for each in plan.results
        if each.error_code not in (ErrorCode.NONE, ErrorCode.THROTTLING_QUOTA_EXCEEDED)
    }
    decision = Decision(records=(*records, *plan.records))
    return refused, commit_metadata(cores, decision, now)


def _answer(
    asked: MetadataRequestTopic, body: MetadataRequest, cores: Cores, refused: dict[str, int]
) -> MetadataResponseTopic:
    image = cores.image
    if asked.name is None:
        by_id = image.topics_by_id.get(asked.topic_id)
        if by_id is not None:
            return _described(by_id, body)
        error = ErrorCode.INVALID_REQUEST
        if asked.topic_id != ZERO_UUID:
            error = ErrorCode.UNKNOWN_TOPIC_ID
        return MetadataResponseTopic(error_code=error, name=None, topic_id=asked.topic_id)
    topic = image.topics.get(asked.name)
    if topic is not None:
        return _described(topic, body)
    error_code: int = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    if problem_with(asked.name) is not None:
        error_code = ErrorCode.INVALID_TOPIC_EXCEPTION
    error_code = refused.get(asked.name, error_code)
    internal = asked.name in INTERNAL_TOPICS
    return MetadataResponseTopic(error_code=error_code, name=asked.name, is_internal=internal)


def _described(topic: Topic, body: MetadataRequest) -> MetadataResponseTopic:
    wanted = body.include_topic_authorized_operations
    return MetadataResponseTopic(
        error_code=ErrorCode.NONE,
        name=topic.name,
        topic_id=topic.topic_id,
        is_internal=topic.name in INTERNAL_TOPICS,
        partitions=tuple(
            MetadataResponsePartition(
                error_code=ErrorCode.NONE,
                partition_index=number,
                leader_id=partition.leader,
                leader_epoch=partition.leader_epoch,
                replica_nodes=partition.replicas,
                isr_nodes=partition.isr,
            )
            for number, partition in topic.partitions.items()
        ),
        topic_authorized_operations=TOPIC_OPERATIONS if wanted else NOT_ASKED,
    )


def _response(
    topics: Iterable[MetadataResponseTopic], request: Request[MetadataRequest], cores: Cores
) -> MetadataResponse:
    here, seen = cores.address, cores.address.seen_by(request.session)
    wanted = request.body.include_cluster_authorized_operations
    return MetadataResponse(
        brokers=(
            MetadataResponseBroker(
                node_id=here.node_id, host=seen.host, port=seen.port, rack=here.rack
            ),
        ),
        cluster_id=here.cluster_id,
        controller_id=here.node_id,
        topics=tuple(topics),
        cluster_authorized_operations=CLUSTER_OPERATIONS if wanted else NOT_ASKED,
    )
