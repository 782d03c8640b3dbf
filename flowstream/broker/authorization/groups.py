"""Rules of requests about groups: GROUP_AUTHORIZATION_FAILED for the group, then
TOPIC_AUTHORIZATION_FAILED for topics, as Kafka answers them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowstream.broker.authorization.admission import (
    PASS,
    Admission,
    Rule,
    and_then,
    only,
    partition,
    refuse,
)
from flowstream.broker.authorization.describing import operations
from flowstream.broker.authorization.topics import FAILED as TOPIC_FAILED
from flowstream.broker.authorization.topics import by_name_or_id, refused
from flowstream.broker.cores import Cores
from flowstream.broker.events import Request
from flowstream.broker.security.authorizer import Access
from flowstream.wire.acl_codes import Operation, ResourceType
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.consumer_group_describe import (
    ConsumerGroupDescribeResponse,
)
from flowstream.wire.messages.consumer_group_describe import (
    DescribedGroup as DescribedConsumerGroup,
)
from flowstream.wire.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatResponse
from flowstream.wire.messages.delete_groups import DeletableGroupResult, DeleteGroupsResponse
from flowstream.wire.messages.describe_groups import DescribedGroup, DescribeGroupsResponse
from flowstream.wire.messages.heartbeat import HeartbeatResponse
from flowstream.wire.messages.join_group import JoinGroupResponse
from flowstream.wire.messages.leave_group import LeaveGroupResponse
from flowstream.wire.messages.offset_commit import (
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)
from flowstream.wire.messages.offset_delete import (
    OffsetDeleteResponse,
    OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
)
from flowstream.wire.messages.sync_group import SyncGroupResponse
from flowstream.wire.schema import replace

FAILED = ErrorCode.GROUP_AUTHORIZATION_FAILED
NO_NAME_SINCE = 7
"""The version of JoinGroup that has a word for no protocol."""


def _member(refusal: Callable[[Request[Any]], object]) -> Rule:
    """Read on the group: what every member needs."""

    def rule(request: Request[Any], access: Access, cores: Cores) -> Admission:
        if access.group(Operation.READ, request.body.group_id):
            return PASS
        return refuse(refusal(request))

    return rule


join_group = _member(
    lambda request: JoinGroupResponse(
        error_code=FAILED,
        generation_id=-1,
        protocol_name="" if request.to.version < NO_NAME_SINCE else None,
        member_id=request.body.member_id,
    )
)
heartbeat = _member(lambda request: HeartbeatResponse(error_code=FAILED))
leave_group = _member(lambda request: LeaveGroupResponse(error_code=FAILED))
sync_group = _member(lambda request: SyncGroupResponse(error_code=FAILED))


def consumer_group_heartbeat(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Read on the group, Describe on the topics of the subscription; a pattern matches those alone
    that the member may describe.
    """
    body = request.body
    if not access.group(Operation.READ, body.group_id):
        return refuse(_beat(FAILED, "Group authorization failed."))

    def allows(topic: str) -> bool:
        return access.topic(Operation.DESCRIBE, topic)

    def told(answer: Any) -> Any:
        """A pattern is shared: one who may see more may have brought in what this member may not
        see.
        """
        assigned = answer.assignment.topic_partitions if answer.assignment else ()
        topics = (cores.image.topics_by_id.get(each.topic_id) for each in assigned)
        if all(topic is None or allows(topic.name) for topic in topics):
            return answer
        return _beat(TOPIC_FAILED, "Topic authorization failed.")

    if not all(map(allows, body.subscribed_topic_names or ())):
        return refuse(_beat(TOPIC_FAILED, "Topic authorization failed."))
    return Admission(amend=told, allows=allows)


def _beat(error: ErrorCode, message: str) -> ConsumerGroupHeartbeatResponse:
    return ConsumerGroupHeartbeatResponse(
        error_code=error, error_message=message, member_id=None, assignment=None
    )


def consumer_group_describe(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Describe on each group and on every topic that its members are told about."""
    admission = partition(
        request.body,
        "group_ids",
        lambda group: access.group(Operation.DESCRIBE, group),
        ConsumerGroupDescribeResponse,
        "groups",
        lambda group: DescribedConsumerGroup(error_code=FAILED, error_message=None, group_id=group),
    )

    def seen(group: Any) -> Any:
        topics = {
            each.topic_name
            for member in group.members
            for part in (member.assignment, member.target_assignment)
            for each in part.topic_partitions
        }
        topics |= {name for member in group.members for name in member.subscribed_topic_names}
        if all(access.topic(Operation.DESCRIBE, topic) for topic in sorted(topics)):
            return group
        message = "The group has topics that this client may not describe."
        return DescribedConsumerGroup(
            error_code=TOPIC_FAILED, error_message=message, group_id=group.group_id
        )

    amended = and_then(
        admission,
        lambda answer: replace(answer, groups=tuple(seen(each) for each in answer.groups)),
    )
    return _with_operations(request.body, amended, access)


def describe_groups(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Describe on each group."""
    admission = partition(
        request.body,
        "groups",
        lambda group: access.group(Operation.DESCRIBE, group),
        DescribeGroupsResponse,
        "groups",
        lambda group: DescribedGroup(error_code=FAILED, error_message=None, group_id=group),
    )
    return _with_operations(request.body, admission, access)


def _with_operations(body: Any, admission: Admission, access: Access) -> Admission:
    if not body.include_authorized_operations:
        return admission

    def told(group: Any) -> Any:
        if group.error_code:
            return group
        found = operations(access, ResourceType.GROUP, group.group_id)
        return replace(group, authorized_operations=found)

    return and_then(
        admission,
        lambda answer: replace(answer, groups=tuple(told(each) for each in answer.groups)),
    )


def list_groups(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Describe on the cluster for all groups, else on each that is told."""
    if access.cluster(Operation.DESCRIBE):
        return PASS
    return only("groups", lambda group: access.group(Operation.DESCRIBE, group.group_id))


def delete_groups(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Delete on each group."""
    return partition(
        request.body,
        "groups_names",
        lambda group: access.group(Operation.DELETE, group),
        DeleteGroupsResponse,
        "results",
        lambda group: DeletableGroupResult(group_id=group, error_code=FAILED),
    )


def offset_commit(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Read on the group, Read on each topic."""
    body = request.body
    member = access.group(Operation.READ, body.group_id)
    allowed = by_name_or_id(access, cores.image, Operation.READ, lambda topic: topic.name)
    error = TOPIC_FAILED if member else FAILED

    def refusal(topic: Any) -> Any:
        return OffsetCommitResponseTopic(
            name=topic.name,
            topic_id=topic.topic_id,
            partitions=refused(topic.partitions, OffsetCommitResponsePartition, error),
        )

    return partition(
        body,
        "topics",
        lambda topic: member and allowed(topic),
        OffsetCommitResponse,
        "topics",
        refusal,
    )


def offset_delete(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Delete on the group, Read on each topic."""
    body = request.body
    if not access.group(Operation.DELETE, body.group_id):
        return refuse(OffsetDeleteResponse(error_code=FAILED))

    def refusal(topic: Any) -> Any:
        return OffsetDeleteResponseTopic(
            name=topic.name,
            partitions=refused(topic.partitions, OffsetDeleteResponsePartition),
        )

    return partition(
        body,
        "topics",
        lambda topic: access.topic(Operation.READ, topic.name),
        OffsetDeleteResponse,
        "topics",
        refusal,
    )
