"""Members of a group as their coordinator describes them, in either protocol.

Bytes to values; whatever a member says that is not the consumer protocol's is nothing here.
"""

from __future__ import annotations

from typing import Any

from flowstream.errors import WireError
from flowstream.transport.types import GroupMember, TopicPartition
from flowstream.wire.messages.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
)
from flowstream.wire.schema import decode


def classic_member(member: Any) -> GroupMember:
    """A member of a classic group."""
    partitions, assigned_data = _assigned(bytes(member.member_assignment))
    return GroupMember(
        member.member_id,
        member.group_instance_id,
        member.client_id,
        member.client_host,
        partitions,
        _user_data(bytes(member.member_metadata)),
        assigned_data,
    )


def consumer_member(member: Any) -> GroupMember:
    """A member of a consumer group (KIP-848)."""
    return GroupMember(
        member.member_id,
        member.instance_id,
        member.client_id,
        member.client_host,
        tuple(
            TopicPartition(each.topic_name, partition)
            for each in member.assignment.topic_partitions
            for partition in each.partitions
        ),
    )


def _user_data(data: bytes) -> bytes:
    """The user data in a subscription of the consumer protocol; none in any other."""
    if len(data) < 2:
        return b""
    version = int.from_bytes(data[:2], "big", signed=True)
    try:
        found: Any = decode(ConsumerProtocolSubscription, data[2:], min(max(version, 0), 3))
    except WireError:
        return b""
    return bytes(found.user_data or b"")


def _assigned(data: bytes) -> tuple[tuple[TopicPartition, ...], bytes]:
    """The partitions in an assignment of the consumer protocol, and the user data beside them;
    none in any other.
    """
    if len(data) < 2:
        return (), b""
    version = int.from_bytes(data[:2], "big", signed=True)
    try:
        found: Any = decode(ConsumerProtocolAssignment, data[2:], min(max(version, 0), 3))
    except WireError:
        return (), b""
    partitions = tuple(
        TopicPartition(topic.topic, partition)
        for topic in found.assigned_partitions
        for partition in topic.partitions
    )
    return partitions, bytes(found.user_data or b"")
