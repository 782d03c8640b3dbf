"""DescribeGroups (15): state, protocol and members of groups.

3 can ask for the authorized operations (KIP-430: all of them, as nothing is forbidden); 4 tells
instance ids (KIP-345); from 6 on an unknown group is GROUP_ID_NOT_FOUND, before it was "Dead".
Consumer groups are unknown here: ConsumerGroupDescribe is for those (KIP-848).
"""

from __future__ import annotations

from flowstream.broker.coordination import replies_when_durable
from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.groups.group import ClassicGroup, Member
from flowstream.broker.groups.states import State
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.describe_groups import (
    DescribedGroup,
    DescribedGroupMember,
    DescribeGroupsRequest,
    DescribeGroupsResponse,
)

NOT_FOUND_SINCE = 6
ALL_OPERATIONS = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11
"""Read, delete, describe, describe configs, alter configs: a bit for each operation on a group."""
NOT_ASKED = -(1 << 31)


def handle(request: Request[DescribeGroupsRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer with what is durable; assignments are shown while the group is stable."""
    body = request.body
    operations = ALL_OPERATIONS if body.include_authorized_operations else NOT_ASKED
    described = tuple(
        _describe(
            cores.groups.groups.get(each),
            each,
            request.to.version,
            operations,
            other_kind=each in cores.groups.consumers,
        )
        for each in dict.fromkeys(body.groups)  # repetitions only multiply the answer (X3)
    )
    return replies_when_durable([(request.to, DescribeGroupsResponse(groups=described))])


def _describe(
    group: ClassicGroup | None,
    group_id: str,
    version: int,
    operations: int,
    *,
    other_kind: bool,
) -> DescribedGroup:
    if group is None:
        told = version >= NOT_FOUND_SINCE
        reason = "is not a classic group" if other_kind else "not found"
        return DescribedGroup(
            error_code=ErrorCode.GROUP_ID_NOT_FOUND if told else ErrorCode.NONE,
            error_message=f"Group {group_id} {reason}." if told else None,
            group_id=group_id,
            group_state=State.DEAD.value,
            authorized_operations=NOT_ASKED if told else operations,
        )
    stable = group.state is State.STABLE
    return DescribedGroup(
        group_id=group_id,
        group_state=group.state.value,
        protocol_type=group.protocol_type or "",
        protocol_data=(group.protocol or "") if stable else "",
        members=tuple(_member(group, each, stable) for each in group.members.values()),
        authorized_operations=operations,
    )


def _member(group: ClassicGroup, member: Member, stable: bool) -> DescribedGroupMember:
    return DescribedGroupMember(
        member_id=member.member_id,
        group_instance_id=member.instance_id,
        client_id=member.client_id,
        client_host=member.client_host,
        member_metadata=member.metadata(group.protocol) if stable else b"",
        member_assignment=member.assignment if stable else b"",
    )
