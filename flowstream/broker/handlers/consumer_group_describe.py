"""ConsumerGroupDescribe (69): state, epochs and members of consumer groups (KIP-848).

1 tells which protocol a member speaks (KIP-1099). A group of another kind is
GROUP_ID_NOT_FOUND: admin clients then ask DescribeGroups.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from flowstream.broker.coordination import replies_when_durable
from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.groups.consumer_group import ConsumerGroup
from flowstream.broker.groups.consumer_member import ConsumerMember
from flowstream.broker.handlers.describe_groups import ALL_OPERATIONS, NOT_ASKED
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.consumer_group_describe import (
    Assignment,
    ConsumerGroupDescribeRequest,
    ConsumerGroupDescribeResponse,
    DescribedGroup,
    Member,
    TopicPartitions,
)

CLASSIC_MEMBER, CONSUMER_MEMBER = 0, 1


def handle(
    request: Request[ConsumerGroupDescribeRequest], cores: Cores, now: Instant
) -> list[Effect]:
    """Answer with what is durable."""
    body = request.body
    operations = ALL_OPERATIONS if body.include_authorized_operations else NOT_ASKED
    described = tuple(
        _describe(cores, each, operations)
        for each in dict.fromkeys(body.group_ids)  # repetitions only multiply the answer (X3)
    )
    return replies_when_durable([(request.to, ConsumerGroupDescribeResponse(groups=described))])


def _describe(cores: Cores, group_id: str, operations: int) -> DescribedGroup:
    group = cores.groups.consumers.get(group_id)
    if group is None:
        return DescribedGroup(
            error_code=ErrorCode.GROUP_ID_NOT_FOUND if group_id else ErrorCode.INVALID_GROUP_ID,
            error_message=f"There is no consumer group {group_id!r}.",
            group_id=group_id,
        )
    return DescribedGroup(
        group_id=group_id,
        group_state=group.state.value,
        group_epoch=group.epoch,
        assignment_epoch=group.assignment_epoch,
        assignor_name=cores.groups.assignor_of(group),
        members=tuple(_member(cores, group, each) for each in group.members.values()),
        authorized_operations=operations,
    )


def _member(cores: Cores, group: ConsumerGroup, member: ConsumerMember) -> Member:
    has: dict[bytes, set[int]] = {}
    for topic_id, partition, _ in member.owned():
        has.setdefault(topic_id, set()).add(partition)
    return Member(
        member_id=member.member_id,
        instance_id=member.instance_id,
        rack_id=member.rack_id,
        member_epoch=member.epoch,
        client_id=member.client_id,
        client_host=member.client_host,
        subscribed_topic_names=tuple(sorted(member.names)),
        subscribed_topic_regex=member.regex,
        assignment=_assignment(cores, has),
        target_assignment=_assignment(cores, group.targets.get(member.member_id, {})),
        member_type=CONSUMER_MEMBER if member.classic is None else CLASSIC_MEMBER,
    )


def _assignment(cores: Cores, partitions: Mapping[bytes, Set[int]]) -> Assignment:
    """Topics that are gone are left out: they have no name."""
    topics = cores.image.topics_by_id
    listed = tuple(
        TopicPartitions(
            topic_id=topic_id,
            topic_name=topics[topic_id].name,
            partitions=tuple(sorted(numbers)),
        )
        for topic_id, numbers in partitions.items()
        if topic_id in topics
    )
    return Assignment(topic_partitions=listed)
