"""Rules of requests that describe the cluster: who may not see a topic is not told of it, and the
operations that are told are those that are allowed (KIP-430).
"""

from __future__ import annotations

from typing import Any

from flowstream.broker.authorization.admission import (
    PASS,
    Admission,
    and_then,
    only,
    refuse,
)
from flowstream.broker.authorization.topics import FAILED, by_name_or_id
from flowstream.broker.cores import Cores
from flowstream.broker.events import Request
from flowstream.broker.metadata.names import by_id_too_early
from flowstream.broker.security.acl import OPERATIONS_OF
from flowstream.broker.security.authorizer import Access
from flowstream.wire.acl_codes import CLUSTER_NAME, Operation, ResourceType
from flowstream.wire.messages.describe_topic_partitions import (
    Cursor,
    DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponseTopic,
    TopicRequest,
)
from flowstream.wire.messages.metadata import MetadataResponseTopic
from flowstream.wire.schema import ZERO_UUID, replace


def operations(access: Access, type: ResourceType, name: str) -> int:
    """A bit for each operation that is allowed on a resource."""
    return sum(1 << each for each in OPERATIONS_OF[type] if access.may(each, type, name))


def cluster_operations(access: Access) -> int:
    """A bit for each operation that is allowed on the cluster; none without Describe."""
    if not access.cluster(Operation.DESCRIBE):
        return 0
    return operations(access, ResourceType.CLUSTER, CLUSTER_NAME)


def metadata(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Describe on each topic; Create to have a missing one created."""
    body = request.body
    if body.topics is None or (request.to.version == 0 and not body.topics):
        admission = only("topics", lambda each: access.topic(Operation.DESCRIBE, each.name or ""))
    elif by_id_too_early(body.topics, request.to.version):
        return PASS  # to be refused as a whole
    else:
        admission = _named(body, access, cores)
    if not (body.include_topic_authorized_operations or body.include_cluster_authorized_operations):
        return admission
    return and_then(admission, lambda answer: _with_operations(answer, body, access))


def _named(body: Any, access: Access, cores: Cores) -> Admission:
    describe = by_name_or_id(access, cores.image, Operation.DESCRIBE, lambda each: each.name or "")
    creates = body.allow_auto_topic_creation and cores.config.auto_create_topics_enable
    anywhere = creates and access.cluster(Operation.CREATE)

    def allowed(topic: Any) -> bool:
        if not describe(topic):
            return False
        if not creates or anywhere or topic.name is None or topic.name in cores.image.topics:
            return True
        return access.topic(Operation.CREATE, topic.name)

    def refusal(topic: Any) -> Any:
        return MetadataResponseTopic(
            error_code=FAILED,
            name=topic.name,
            topic_id=ZERO_UUID if topic.name is not None else topic.topic_id,
        )

    told = tuple(refusal(each) for each in body.topics if not allowed(each))
    if not told:
        return PASS
    # Brokers are for everyone: the handler answers even when no topic is left to tell of.
    kept = tuple(each for each in body.topics if allowed(each))
    return Admission(
        body=replace(body, topics=kept),
        amend=lambda answer: replace(answer, topics=(*(answer.topics if kept else ()), *told)),
    )


def _with_operations(answer: Any, body: Any, access: Access) -> Any:
    if body.include_cluster_authorized_operations:
        answer = replace(answer, cluster_authorized_operations=cluster_operations(access))
    if body.include_topic_authorized_operations:
        answer = replace(answer, topics=tuple(_topic(each, access) for each in answer.topics))
    return answer


def _topic(topic: Any, access: Access) -> Any:
    if topic.error_code:
        return topic
    found = operations(access, ResourceType.TOPIC, topic.name or "")
    return replace(topic, topic_authorized_operations=found)


def describe_cluster(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Nothing; without Describe on the cluster no operations are told."""
    if not request.body.include_cluster_authorized_operations:
        return PASS

    def amend(answer: Any) -> Any:
        if answer.error_code:
            return answer
        return replace(answer, cluster_authorized_operations=cluster_operations(access))

    return Admission(amend=amend)


def describe_topic_partitions(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Describe on each topic from the cursor on. What is to be seen is named one by one: a cursor
    must not tell a name that is not, and goes on behind a topic that is gone or hidden meanwhile.
    """
    body, cursor = request.body, request.body.cursor
    asked = sorted({each.name for each in body.topics} or cores.image.topics)
    if cursor is not None:
        if body.topics and cursor.topic_name not in asked:
            return PASS  # to be refused as a whole
        asked = [name for name in asked if name >= cursor.topic_name]
    seen = {name: None for name in asked if access.topic(Operation.DESCRIBE, name)}
    hidden = tuple(
        DescribeTopicPartitionsResponseTopic(error_code=FAILED, name=name)
        for name in (asked if body.topics else ())
        if name not in seen
    )
    if not seen:
        return refuse(DescribeTopicPartitionsResponse(topics=hidden))
    if cursor is not None and cursor.topic_name not in seen:
        cursor = Cursor(topic_name=next(iter(seen)), partition_index=min(cursor.partition_index, 0))
    topics = tuple(TopicRequest(name=name) for name in seen)

    def amend(answer: Any) -> Any:
        told = (*answer.topics, *hidden)
        return replace(answer, topics=tuple(_topic(each, access) for each in told))

    if body.topics and not hidden and cursor is body.cursor:
        return Admission(amend=amend)
    return Admission(body=replace(body, topics=topics, cursor=cursor), amend=amend)
