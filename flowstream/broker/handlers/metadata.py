"""Metadata (3): brokers, topics, who leads which partition.

A topic that does not exist is created when both sides want that, and is answered with its
partitions once it is durable (Kafka answers UNKNOWN_TOPIC_OR_PARTITION and lets the client ask
again). 0 asks for all topics with an empty list, later versions with null; 12 asks by id (KIP-516),
which 10 and 11 can write but have no answer to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from flowstream.broker.coordination import commit_metadata, replies_when_durable
from flowstream.broker.cores import INTERNAL_TOPICS, Cores
from flowstream.broker.decision import Decision
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.handlers.describe_cluster import CLUSTER_OPERATIONS, NOT_ASKED
from flowstream.broker.handlers.describe_topic_partitions import TOPIC_OPERATIONS
from flowstream.broker.handlers.slicing import prepared
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
    # Repetitions would only multiply the answer (X3), with ids that no name needs, too.
    once = {asked.topic_id if asked.name is None else asked.name: asked for asked in body.topics}
    missing = _missing(once.values(), body, cores)
    if missing:
        return _created(missing, once.values(), request, cores, now)
    return [Reply(request.to, _told(once.values(), request, cores, {}))]


def _told(
    asked: Iterable[MetadataRequestTopic],
    request: Request[MetadataRequest],
    cores: Cores,
    refused: dict[str, int],
) -> MetadataResponse:
    """What is known of each; `refused` are the errors of those that cannot be made."""
    topics = [_answer(each, request.body, cores, refused) for each in asked]
    return _response(topics, request, cores)


def _refusal(body: MetadataRequest) -> MetadataResponse:
    """Every topic has the error, for want of a place for it alone."""
    topics = tuple(
        MetadataResponseTopic(
            error_code=ErrorCode.INVALID_REQUEST, name=asked.name or "", topic_id=asked.topic_id
        )
        for asked in body.topics or ()
    )
    return MetadataResponse(topics=topics)


def _missing(
    asked: Iterable[MetadataRequestTopic], body: MetadataRequest, cores: Cores
) -> list[str]:
    """The topics to be created. What is being made is unknown for now: clients ask again."""
    names = [
        each.name
        for each in asked
        if each.name is not None
        and each.name not in cores.image.topics
        and problem_with(each.name) is None
        and folded(each.name) not in cores.changing
    ]
    if not (body.allow_auto_topic_creation and cores.config.auto_create_topics_enable):
        return []
    return names


def _created(
    missing: Sequence[str],
    asked: Collection[MetadataRequestTopic],
    request: Request[MetadataRequest],
    cores: Cores,
    now: Instant,
) -> list[Effect]:
    """Create the missing topics, and answer. What a quota forbids or would hold up everybody is
    unknown for now, as in Kafka: clients ask again.
    """
    internal: list[MetadataRecord] = []
    for name in missing:
        if name in INTERNAL_TOPICS:
            internal += internal_topic(cores.image, cores.config, name, cores.rng)
    # At once: whoever needs one of these makes it, whatever else is being made.
    effects = commit_metadata(cores, Decision(records=tuple(internal)), now)
    ordinary = [name for name in missing if name not in INTERNAL_TOPICS]
    most = max(1, CREATED_PARTITIONS // cores.config.num_partitions)
    charge = Mutations(request, cores, now, strict=True).charge
    plan = auto_create(cores.image, cores.config, ordinary[:most], cores.rng, charge)
    refused = {
        each.name: each.error_code
        for each in plan.results
        if each.error_code not in (ErrorCode.NONE, ErrorCode.THROTTLING_QUOTA_EXCEEDED)
    }

    def write(now: Instant) -> list[Effect]:
        written = commit_metadata(cores, Decision(records=plan.records), now)
        reply = (request.to, _told(asked, request, cores, refused))
        return [*written, *replies_when_durable([reply])]

    return effects + prepared(cores, plan.records, write, now)


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
