"""The rule of OffsetFetch: Describe on the group, Describe on each topic; topics that were not
named are left out where they are not to be seen.
"""

from __future__ import annotations

from typing import Any

from flowstream.broker.authorization.admission import (
    Admission,
    only,
    partition,
    refuse,
)
from flowstream.broker.authorization.topics import FAILED as TOPIC_FAILED
from flowstream.broker.authorization.topics import by_name_or_id
from flowstream.broker.cores import Cores
from flowstream.broker.events import Request
from flowstream.broker.security.authorizer import Access
from flowstream.wire.acl_codes import Operation
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.offset_fetch import (
    OffsetFetchRequestTopic,
    OffsetFetchResponse,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
)
from flowstream.wire.schema import replace

FAILED = ErrorCode.GROUP_AUTHORIZATION_FAILED
MANY_GROUPS = 8
ERROR_OF_GROUP = 2


def offset_fetch(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Many groups from 8 on, one before."""
    if request.to.version >= MANY_GROUPS:
        return _groups(request.body, access, cores)
    body = request.body
    if not access.group(Operation.DESCRIBE, body.group_id):
        if request.to.version >= ERROR_OF_GROUP:
            return refuse(OffsetFetchResponse(error_code=FAILED))
        topics = tuple(_refused(each, FAILED) for each in body.topics or ())
        return refuse(OffsetFetchResponse(topics=topics))
    if body.topics is None:
        return only("topics", lambda topic: access.topic(Operation.DESCRIBE, topic.name))
    return partition(
        body,
        "topics",
        lambda topic: access.topic(Operation.DESCRIBE, topic.name),
        OffsetFetchResponse,
        "topics",
        lambda topic: _refused(topic, TOPIC_FAILED),
    )


def _refused(topic: OffsetFetchRequestTopic, error: ErrorCode) -> OffsetFetchResponseTopic:
    return OffsetFetchResponseTopic(
        name=topic.name,
        partitions=tuple(
            OffsetFetchResponsePartition(
                partition_index=number, committed_offset=-1, metadata="", error_code=error
            )
            for number in topic.partition_indexes
        ),
    )


def _groups(body: Any, access: Access, cores: Cores) -> Admission:
    seen = by_name_or_id(access, cores.image, Operation.DESCRIBE, lambda topic: topic.name)
    kept = []
    failed: list[OffsetFetchResponseGroup] = []
    hidden: dict[str, list[OffsetFetchResponseTopics]] = {}
    for group in body.groups:
        if not access.group(Operation.DESCRIBE, group.group_id):
            failed.append(OffsetFetchResponseGroup(group_id=group.group_id, error_code=FAILED))
            continue
        if group.topics is not None:
            hidden.setdefault(group.group_id, []).extend(
                _hidden(topic) for topic in group.topics if not seen(topic)
            )
            group = replace(group, topics=tuple(topic for topic in group.topics if seen(topic)))
        kept.append(group)
    if not kept:
        return refuse(OffsetFetchResponse(groups=tuple(failed)))

    def told(group: Any) -> Any:
        topics = (topic for topic in group.topics if seen(topic))
        return replace(group, topics=(*topics, *hidden.pop(group.group_id, ())))

    return Admission(
        body=replace(body, groups=tuple(kept)),
        amend=lambda answer: replace(
            answer, groups=(*(told(each) for each in answer.groups), *failed)
        ),
    )


def _hidden(topic: Any) -> OffsetFetchResponseTopics:
    return OffsetFetchResponseTopics(
        name=topic.name,
        topic_id=topic.topic_id,
        partitions=tuple(
            OffsetFetchResponsePartitions(
                partition_index=number,
                committed_offset=-1,
                metadata="",
                error_code=TOPIC_FAILED,
            )
            for number in topic.partition_indexes
        ),
    )
