"""Who may speak for a member of a consumer group, and which heartbeats make sense: rules over one
group and one request, nothing changed here (KIP-848)."""

from __future__ import annotations

from flowstream.broker.groups.consumer_group import ConsumerGroup
from flowstream.broker.groups.consumer_member import (
    JOINING_EPOCH,
    LEAVING_EPOCH,
    STATIC_LEAVING_EPOCH,
    ConsumerMember,
    MemberState,
)
from flowstream.broker.groups.consumer_turn import Refused
from flowstream.broker.patterns import InvalidPattern, full_match
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest

CLIENT_IDS_VERSION = 1
"""From here on the client makes up its member id (KIP-1082)."""


def check_request(
    body: ConsumerGroupHeartbeatRequest, version: int, assignors: tuple[str, ...]
) -> Refused | None:
    """What is wrong with a heartbeat, whoever sends it."""
    named = version >= CLIENT_IDS_VERSION or body.member_epoch not in (
        JOINING_EPOCH,
        STATIC_LEAVING_EPOCH,
    )
    text = ""
    if named and not body.member_id.strip():
        text = "a member id is needed"
    elif not body.group_id.strip():
        text = "a group id is needed"
    elif body.instance_id is not None and not body.instance_id.strip():
        text = "an instance id must not be empty"
    elif body.rack_id is not None and not body.rack_id.strip():
        text = "a rack id must not be empty"
    elif body.member_epoch == JOINING_EPOCH:
        text = _check_joining(body)
    elif body.member_epoch == STATIC_LEAVING_EPOCH and body.instance_id is None:
        text = f"only a member with an instance id leaves with epoch {STATIC_LEAVING_EPOCH}"
    elif body.member_epoch < STATIC_LEAVING_EPOCH:
        text = f"{body.member_epoch} is no member epoch"
    if text:
        return Refused(ErrorCode.INVALID_REQUEST, text)
    if body.server_assignor is not None and body.server_assignor not in assignors:
        text = f"assignor {body.server_assignor} is not served, but {', '.join(assignors)}"
        return Refused(ErrorCode.UNSUPPORTED_ASSIGNOR, text)
    return _check_regex(body.subscribed_topic_regex)


def check_owner(
    group: ConsumerGroup, member_id: str, instance_id: str | None
) -> ConsumerMember | Refused:
    """The member of that id, if it is still the one behind its instance id."""
    if instance_id is not None:
        present = group.static_members.get(instance_id)
        if present is None:
            text = f"group {group.group_id} has no instance id {instance_id}"
            return Refused(ErrorCode.UNKNOWN_MEMBER_ID, text)
        if present != member_id:
            text = f"instance id {instance_id} belongs to member {present} now"
            return Refused(ErrorCode.FENCED_INSTANCE_ID, text)
    member = group.members.get(member_id)
    if member is None:
        text = f"group {group.group_id} has no member {member_id}"
        return Refused(ErrorCode.UNKNOWN_MEMBER_ID, text)
    return member


def check_epoch(member: ConsumerMember, body: ConsumerGroupHeartbeatRequest) -> Refused | None:
    """Whether a heartbeat is of the member's epoch. The one before it is fine while the member
    owns nothing that it has lost since: the answer with the new epoch may not have arrived."""
    said = body.member_epoch
    owned = body.topic_partitions
    if member.state is MemberState.UNKNOWN and owned != ():
        text = "the member's state is not known: it must give up all partitions and join again"
        return Refused(ErrorCode.FENCED_MEMBER_EPOCH, text)
    if said in (JOINING_EPOCH, member.epoch):
        return None
    is_late = said < member.epoch and said == member.previous_epoch and owned is not None
    if (
        is_late
        and owned is not None
        and all(
            each.topic_id in member.assigned
            and member.assigned[each.topic_id].keys() >= frozenset(each.partitions)
            for each in owned
        )
    ):
        return None
    text = f"the member is in epoch {member.epoch}, not {said}: it must join again"
    return Refused(ErrorCode.FENCED_MEMBER_EPOCH, text)


def check_member_epoch(member: ConsumerMember, epoch: int) -> ErrorCode:
    """Whether offsets may be read or committed in the name of a member at `epoch` (G1)."""
    if epoch == member.epoch:
        return ErrorCode.NONE
    if member.classic is not None:
        return ErrorCode.ILLEGAL_GENERATION
    return ErrorCode.STALE_MEMBER_EPOCH


def _check_joining(body: ConsumerGroupHeartbeatRequest) -> str:
    if body.rebalance_timeout_ms == LEAVING_EPOCH:
        return "a member that joins must tell its rebalance timeout"
    if body.topic_partitions is None or body.topic_partitions:
        return "a member that joins must own no partitions"
    if body.subscribed_topic_names is None and body.subscribed_topic_regex is None:
        return "a member that joins must subscribe to names or to a regular expression"
    return ""


def _check_regex(pattern: str | None) -> Refused | None:
    if not pattern:
        return None
    try:
        full_match(pattern)
    except InvalidPattern as error:
        text = f"{pattern!r} is not a regular expression of RE2: {error}"
        return Refused(ErrorCode.INVALID_REGULAR_EXPRESSION, text)
    return None
