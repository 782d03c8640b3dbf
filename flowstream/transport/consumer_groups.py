"""Groups of the new protocol (KIP-848), described as their coordinator knows them."""

from __future__ import annotations

from flowstream.transport.cluster import Cluster, Coordinator, same
from flowstream.transport.errors import RequestRefused, UnsupportedByBroker
from flowstream.transport.types import GroupDescription, GroupMember, TopicPartition
from flowstream.wire.api import ApiKey
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.consumer_group_describe import ConsumerGroupDescribeRequest, Member


async def describe_consumer_group(cluster: Cluster, group: str) -> GroupDescription | None:
    """The group with its members; None when it is none of this protocol."""
    request = ConsumerGroupDescribeRequest(group_ids=(group,))
    try:
        answer = await cluster.request(
            Coordinator("group", group), ApiKey.CONSUMER_GROUP_DESCRIBE, same(request)
        )
    except UnsupportedByBroker:
        return None
    (found,) = answer.groups
    if found.error_code in (ErrorCode.GROUP_ID_NOT_FOUND, ErrorCode.UNSUPPORTED_VERSION):
        return None
    if found.error_code:
        raise RequestRefused(f"describing group {group!r}", found.error_code, found.error_message)
    members = sorted((_member(each) for each in found.members), key=lambda each: each.member_id)
    return GroupDescription(group, found.group_state, found.assignor_name, tuple(members))


def _member(member: Member) -> GroupMember:
    partitions = tuple(
        TopicPartition(topic.topic_name, number)
        for topic in member.assignment.topic_partitions
        for number in topic.partitions
    )
    return GroupMember(
        member.member_id, member.instance_id, member.client_id, member.client_host, partitions
    )
