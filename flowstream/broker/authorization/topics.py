"""Rules of requests about topics: allowed topics pass, the others are answered with
TOPIC_AUTHORIZATION_FAILED, as Kafka answers them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flowstream.broker.authorization.admission import (
    PASS,
    Admission,
    Rule,
    and_then,
    partition,
)
from flowstream.broker.cores import Cores
from flowstream.broker.events import Request
from flowstream.broker.metadata.image import Image
from flowstream.broker.security.authorizer import Access
from flowstream.wire.acl_codes import Operation
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.create_partitions import (
    CreatePartitionsResponse,
    CreatePartitionsTopicResult,
)
from flowstream.wire.messages.create_topics import (
    CreatableTopicResult,
    CreateTopicsResponse,
)
from flowstream.wire.messages.delete_records import (
    DeleteRecordsPartitionResult,
    DeleteRecordsResponse,
    DeleteRecordsTopicResult,
)
from flowstream.wire.messages.delete_topics import (
    DeletableTopicResult,
    DeleteTopicsResponse,
)
from flowstream.wire.messages.describe_producers import (
    DescribeProducersResponse,
    PartitionResponse,
    TopicResponse,
)
from flowstream.wire.messages.list_offsets import (
    ListOffsetsPartitionResponse,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from flowstream.wire.messages.offset_for_leader_epoch import (
    EpochEndOffset,
    OffsetForLeaderEpochResponse,
    OffsetForLeaderTopicResult,
)
from flowstream.wire.messages.produce import (
    PartitionProduceResponse,
    ProduceResponse,
    TopicProduceResponse,
)
from flowstream.wire.schema import ZERO_UUID, replace

FAILED = ErrorCode.TOPIC_AUTHORIZATION_FAILED
MESSAGE = "Authorization failed."


def name_of(image: Image, name: str | None, topic_id: bytes) -> str | None:
    """The name of a topic that a request may name by id; None when there is no such topic."""
    if name:
        return name
    topic = image.topics_by_id.get(topic_id)
    return None if topic is None else topic.name


def by_name_or_id(
    access: Access, image: Image, operation: Operation, name: Callable[[Any], str]
) -> Callable[[Any], bool]:
    """Whether an item of a request is about an allowed topic. An unknown id is let pass: the
    handler finds nothing under it.
    """

    def allowed(item: Any) -> bool:
        found = name_of(image, name(item), item.topic_id)
        return found is None or access.topic(operation, found)

    return allowed


def refused(
    partitions: Iterable[Any],
    answer: Callable[..., Any],
    error: ErrorCode = FAILED,
    **more: object,
) -> tuple[Any, ...]:
    """The same answer for each of `partitions`."""
    return tuple(
        answer(partition_index=each.partition_index, error_code=error, **more)
        for each in partitions
    )


def _on_each(
    operation: Operation,
    response: Callable[..., Any],
    refusal: Callable[[Any], Any],
    answers: str = "topics",
) -> Rule:
    """`operation` on each topic of a request."""

    def rule(request: Request[Any], access: Access, cores: Cores) -> Admission:
        return partition(
            request.body,
            "topics",
            lambda topic: access.topic(operation, topic.name),
            response,
            answers,
            refusal,
        )

    return rule


def produce(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Write on each topic; with a transactional id Write on it first."""
    body = request.body
    id = body.transactional_id
    everything_fails = id is not None and not access.transactional_id(Operation.WRITE, id)
    allowed = by_name_or_id(access, cores.image, Operation.WRITE, lambda topic: topic.name)
    error = ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED if everything_fails else FAILED

    def refusal(topic: Any) -> Any:
        return TopicProduceResponse(
            name=topic.name,
            topic_id=topic.topic_id,
            partition_responses=tuple(
                PartitionProduceResponse(index=each.index, error_code=error, base_offset=-1)
                for each in topic.partition_data
            ),
        )

    admission = partition(
        body,
        "topic_data",
        lambda topic: not everything_fails and allowed(topic),
        ProduceResponse,
        "responses",
        refusal,
    )
    if body.acks != 0 or admission is PASS:
        return admission
    # There is no answer to say it in: the connection ends, so that the client looks again.
    kept = admission.body or replace(body, topic_data=())
    return Admission(body=kept, close="a produce request with acks=0 is not allowed")


def fetch(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Read on each topic; ClusterAction on the cluster for a follower.

    A session (KIP-227) reads what no request names, so that its handler asks, each time it reads.
    """
    body = request.body
    if max(body.replica_id, body.replica_state.replica_id) >= 0:
        trusted = access.cluster(Operation.CLUSTER_ACTION)
        return Admission(allows=lambda topic: trusted)
    return Admission(allows=lambda topic: access.topic(Operation.READ, topic))


list_offsets = _on_each(
    Operation.DESCRIBE,
    ListOffsetsResponse,
    lambda topic: ListOffsetsTopicResponse(
        name=topic.name, partitions=refused(topic.partitions, ListOffsetsPartitionResponse)
    ),
)


def offset_for_leader_epoch(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Describe on each topic, or ClusterAction on the cluster."""
    if request.body.replica_id >= 0 and access.cluster(Operation.CLUSTER_ACTION):
        return PASS

    def refusal(topic: Any) -> Any:
        return OffsetForLeaderTopicResult(
            topic=topic.topic,
            partitions=tuple(
                EpochEndOffset(partition=each.partition, error_code=FAILED)
                for each in topic.partitions
            ),
        )

    return partition(
        request.body,
        "topics",
        lambda topic: access.topic(Operation.DESCRIBE, topic.topic),
        OffsetForLeaderEpochResponse,
        "topics",
        refusal,
    )


def create_topics(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Create on the cluster, or on each topic; the answer tells configurations where
    DescribeConfigs is allowed.
    """
    anywhere = access.cluster(Operation.CREATE)
    admission = partition(
        request.body,
        "topics",
        lambda topic: anywhere or access.topic(Operation.CREATE, topic.name),
        CreateTopicsResponse,
        "topics",
        lambda topic: CreatableTopicResult(
            name=topic.name,
            error_code=FAILED,
            error_message=MESSAGE,
            num_partitions=-1,
            replication_factor=-1,
            configs=(),
        ),
    )
    if admission.answer is not None:
        return admission

    def told(topic: Any) -> Any:
        if topic.error_code or access.topic(Operation.DESCRIBE_CONFIGS, topic.name):
            return topic
        return replace(
            topic,
            topic_config_error_code=FAILED,
            num_partitions=-1,
            replication_factor=-1,
            configs=(),
        )

    def amend(answer: Any) -> Any:
        return replace(answer, topics=tuple(told(each) for each in answer.topics))

    return and_then(admission, amend)


def delete_topics(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Delete on each topic, by name Describe too: who may describe is told that one is not there,
    whether it may delete or not. One that is named by id is not told by name without Describe.
    """
    body, image = request.body, cores.image
    by_id = by_name_or_id(access, image, Operation.DELETE, lambda topic: "")

    def by_name(name: str) -> bool:
        if not access.topic(Operation.DESCRIBE, name):
            return False
        return name not in image.topics or access.topic(Operation.DELETE, name)

    if body.topics:
        return partition(
            body,
            "topics",
            lambda topic: by_id(topic) if topic.name is None else by_name(topic.name),
            DeleteTopicsResponse,
            "responses",
            lambda topic: DeletableTopicResult(
                name=topic.name or _shown(access, image, topic.topic_id),
                topic_id=topic.topic_id,
                error_code=FAILED,
                error_message=MESSAGE,
            ),
        )
    return partition(
        body,
        "topic_names",
        by_name,
        DeleteTopicsResponse,
        "responses",
        lambda name: DeletableTopicResult(
            name=name, topic_id=ZERO_UUID, error_code=FAILED, error_message=MESSAGE
        ),
    )


def _shown(access: Access, image: Image, topic_id: bytes) -> str | None:
    name = name_of(image, None, topic_id)
    return name if name and access.topic(Operation.DESCRIBE, name) else None


delete_records = _on_each(
    Operation.DELETE,
    DeleteRecordsResponse,
    lambda topic: DeleteRecordsTopicResult(
        name=topic.name,
        partitions=refused(topic.partitions, DeleteRecordsPartitionResult, low_watermark=-1),
    ),
)


create_partitions = _on_each(
    Operation.ALTER,
    CreatePartitionsResponse,
    lambda topic: CreatePartitionsTopicResult(
        name=topic.name, error_code=FAILED, error_message=MESSAGE
    ),
    answers="results",
)


describe_producers = _on_each(
    Operation.READ,
    DescribeProducersResponse,
    lambda topic: TopicResponse(
        name=topic.name,
        partitions=tuple(
            PartitionResponse(partition_index=number, error_code=FAILED, error_message=None)
            for number in topic.partition_indexes
        ),
    ),
)
