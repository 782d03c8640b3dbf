"""Where the two group protocols meet: which kind of group serves a request, and how a group changes
its kind while it runs (KIP-848, `group.consumer.migration.policy`).

A classic group of consumers becomes a consumer group with the first member that speaks the consumer
protocol; a consumer group becomes a classic one when the last of those is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from flowstream.broker.decision import Decision
from flowstream.broker.events import Request
from flowstream.broker.groups import classic, consumer_classic, rebalance
from flowstream.broker.groups import consumer_changes as changes
from flowstream.broker.groups.classic_groups import ClassicGroups, leave_answer, leavers
from flowstream.broker.groups.consumer_checks import check_owner
from flowstream.broker.groups.consumer_group import ConsumerGroup
from flowstream.broker.groups.consumer_groups import ConsumerGroups, Heartbeat
from flowstream.broker.groups.consumer_heartbeat import fence
from flowstream.broker.groups.consumer_member import (
    LEAVING_EPOCH,
    STATIC_LEAVING_EPOCH,
    ConsumerMember,
)
from flowstream.broker.groups.consumer_turn import ConsumerTurn, Refused
from flowstream.broker.groups.conversion import to_classic, to_consumer
from flowstream.broker.groups.group import CONSUMER_PROTOCOL, ClassicGroup
from flowstream.broker.groups.records import Record, group_record
from flowstream.broker.groups.states import State
from flowstream.broker.groups.turn import Turn
from flowstream.broker.types import Instant, ReplyTo
from flowstream.errors import WireError
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
)
from flowstream.wire.messages.join_group import JoinGroupRequest
from flowstream.wire.messages.leave_group import (
    LeaveGroupRequest,
    MemberIdentity,
    MemberResponse,
)
from flowstream.wire.schema import replace as replace_field

Replies = list[tuple[ReplyTo, object]]


@dataclass(frozen=True, slots=True)
class Parts:
    """The groups of both kinds, and which way they may change."""

    classic: ClassicGroups
    consumer: ConsumerGroups
    upgrades: bool
    downgrades: bool


def consumer_heartbeat(parts: Parts, request: Heartbeat, now: Instant) -> Decision[Record]:
    """ConsumerGroupHeartbeat. Nothing has changed when it is refused."""
    refused = parts.consumer.check(request)
    turn = parts.consumer.turn(request.body.group_id, now, request.allows)
    replies: Replies = []
    answer: ConsumerGroupHeartbeatResponse | Refused
    if refused is not None:
        answer = refused
    elif request.body.member_epoch in (LEAVING_EPOCH, STATIC_LEAVING_EPOCH):
        answer = _leave(parts, request.body, turn, replies)
    else:
        answer = _report(parts, request, turn, replies)
    if isinstance(answer, Refused):
        told = ConsumerGroupHeartbeatResponse(error_code=answer.error, error_message=answer.message)
        return Decision(replies=((request.to, told),))
    return Decision(tuple(turn.records), (*replies, (request.to, answer)))


def join(
    parts: Parts, group: ConsumerGroup, request: Request[JoinGroupRequest], now: Instant
) -> Decision[Record]:
    """JoinGroup to a consumer group. An empty one makes room for a classic group."""
    body = request.body
    error = parts.classic.check_join(body)
    if group.is_empty and body.member_id:
        error = error or ErrorCode.UNKNOWN_MEMBER_ID
    if not group.is_empty and not (parts.upgrades or parts.downgrades):
        error = error or ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    if error:
        return Decision(
            replies=((request.to, rebalance.join_error(request.to, error, body.member_id)),)
        )
    if group.is_empty:
        begun = parts.classic.join(request, now)
        return Decision((*changes.burial(group), *begun.records), begun.replies)
    turn = parts.consumer.turn(group.group_id, now)
    joined = consumer_classic.join(parts.consumer, group, request, turn)
    if not isinstance(joined, consumer_classic.Joined):
        refusal = rebalance.join_error(request.to, ErrorCode(joined.error_code), joined.member_id)
        return Decision(replies=((request.to, refusal),))
    old, new = joined.replaced, joined.member
    others = [each for each in group.members.values() if each != old]
    if old is not None and _downgrades(parts, [old], [*others, new]):
        return _replace_last(parts, group, [*others, new], request, now)
    parts.consumer.arm(group)
    return Decision(tuple(turn.records), ((request.to, joined.answer),))


def leave(
    parts: Parts, group: ConsumerGroup, request: Request[LeaveGroupRequest], now: Instant
) -> Decision[Record]:
    """LeaveGroup in a consumer group: an administrator may remove its members of either kind."""
    turn = parts.consumer.turn(group.group_id, now)
    gone: dict[str, ConsumerMember] = {}
    answers = [_leave_one(group, each, gone) for each in leavers(request)]
    replies: Replies = []
    if gone:
        _remove(parts, group, list(gone.values()), turn, replies)
    return Decision(tuple(turn.records), (*replies, (request.to, leave_answer(request, answers))))


def expire(parts: Parts, group: ConsumerGroup, now: Instant) -> Decision[Record]:
    """Members whose time is over are out."""
    turn = parts.consumer.turn(group.group_id, now)
    gone: dict[str, ConsumerMember] = {}
    while (key := group.timers.take_due(now)) is not None:
        kind, member_id = key
        member = group.members.get(member_id)
        if member is None:
            continue
        # A static one that went away meanwhile gave up all of it: its session decides.
        if kind != "rebalance" or member.pending_revocation:
            gone[member_id] = member
    replies: Replies = []
    if gone:
        _remove(parts, group, list(gone.values()), turn, replies)
    parts.consumer.arm(group)
    return Decision(tuple(turn.records), tuple(replies))


def _report(
    parts: Parts, request: Heartbeat, turn: ConsumerTurn, replies: Replies
) -> ConsumerGroupHeartbeatResponse | Refused:
    group = _open(parts, request.body, turn)
    if isinstance(group, Refused):
        return group
    answer = parts.consumer.heartbeat(group, request, turn)
    if isinstance(answer, Refused):
        return answer
    group_id = group.group_id
    # Its records are applied in this turn too: the same values once more.
    parts.consumer.groups[group_id] = group
    old = parts.classic.groups.pop(group_id, None)
    if old is not None:
        replies += _dismiss(old, parts.classic.turn(turn.now))
        turn.room.weigh_anew()
    return answer


def _open(
    parts: Parts, body: ConsumerGroupHeartbeatRequest, turn: ConsumerTurn
) -> ConsumerGroup | Refused:
    """The group of that id: a consumer group, a new one, or a classic one made into one."""
    group_id = body.group_id
    group = parts.consumer.groups.get(group_id)
    if group is not None:
        return group
    if body.member_epoch != 0:
        return Refused(ErrorCode.GROUP_ID_NOT_FOUND, f"there is no consumer group {group_id}")
    old = parts.classic.groups.get(group_id)
    if old is None:
        return ConsumerGroup(group_id)
    if old.state is State.EMPTY:
        turn.records.append(group_record(group_id, None))
        return ConsumerGroup(group_id)
    reason = ""
    if not parts.upgrades:
        reason = "group.consumer.migration.policy does not let it become one"
    elif old.protocol_type != CONSUMER_PROTOCOL:
        reason = f"its members speak {old.protocol_type}"
    elif len(old.members) > turn.limits.size_max:
        reason = "it has too many members to become one"
    if not reason:
        try:
            upgraded = to_consumer(old, turn.known, turn.rack)
        except WireError as error:
            reason = f"what its members said is malformed: {error}"
        else:
            turn.records += (group_record(group_id, None), *upgraded.records)
            for each in upgraded.group.members.values():
                parts.consumer.keep_alive(upgraded.group, each, turn)
            return upgraded.group
    text = f"group {group_id} is a classic group: {reason}"
    return Refused(ErrorCode.GROUP_ID_NOT_FOUND, text)


def _dismiss(old: ClassicGroup, turn: Turn) -> Replies:
    """Who waits in a classic group that is one no more joins again."""
    for member in old.members.values():
        rebalance.refuse_join(old, member, ErrorCode.REBALANCE_IN_PROGRESS, turn)
        rebalance.refuse_sync(member, ErrorCode.REBALANCE_IN_PROGRESS, turn)
    return turn.replies


def _leave(
    parts: Parts, body: ConsumerGroupHeartbeatRequest, turn: ConsumerTurn, replies: Replies
) -> ConsumerGroupHeartbeatResponse | Refused:
    group = parts.consumer.groups.get(body.group_id)
    if group is None:
        text = f"there is no consumer group {body.group_id}"
        return Refused(ErrorCode.GROUP_ID_NOT_FOUND, text)
    member = check_owner(group, body.member_id, body.instance_id)
    if isinstance(member, Refused):
        return member
    if body.member_epoch == STATIC_LEAVING_EPOCH:
        # Its place and its partitions are kept until its session ends.
        away = replace(member, epoch=STATIC_LEAVING_EPOCH, pending_revocation={})
        turn.records.append(changes.assignment(group.group_id, away))
    else:
        _remove(parts, group, [member], turn, replies)
    return ConsumerGroupHeartbeatResponse(
        member_id=member.member_id, member_epoch=body.member_epoch
    )


def _leave_one(
    group: ConsumerGroup, leaver: MemberIdentity, gone: dict[str, ConsumerMember]
) -> MemberResponse:
    """One member of a LeaveGroup. An administrator names a static one by its instance id alone."""
    member_id, instance_id = leaver.member_id, leaver.group_instance_id
    if not member_id and instance_id is not None:
        member_id = group.static_members.get(instance_id, "")
    found = check_owner(group, member_id, instance_id)
    error = found.error if isinstance(found, Refused) else ErrorCode.NONE
    if not isinstance(found, Refused):
        gone[found.member_id] = found
    return MemberResponse(
        member_id=leaver.member_id,
        group_instance_id=instance_id,
        error_code=error,
    )


def _remove(
    parts: Parts,
    group: ConsumerGroup,
    gone: list[ConsumerMember],
    turn: ConsumerTurn,
    replies: Replies,
) -> None:
    """Members are gone. When only classic ones are left the group becomes a classic one."""
    left = {each.member_id for each in gone}
    remaining = [each for name, each in group.members.items() if name not in left]
    if not _downgrades(parts, gone, remaining):
        fence(group, gone, turn)
        return
    downgraded, called = _downgrade(parts, group, remaining, turn.now)
    parts.classic.arm(downgraded)
    turn.records += called.records
    replies += called.replies


def _replace_last(
    parts: Parts,
    group: ConsumerGroup,
    members: list[ConsumerMember],
    request: Request[JoinGroupRequest],
    now: Instant,
) -> Decision[Record]:
    """A classic member took the place of the last static one that was not: the group becomes a
    classic one, and the join waits in it for the others."""
    downgraded, called = _downgrade(parts, group, members, now)
    body = replace_field(request.body, member_id=members[-1].member_id)
    classic.join(downgraded, replace(request, body=body), "", called)
    parts.classic.arm(downgraded)
    return called.decision()


def _downgrade(
    parts: Parts, group: ConsumerGroup, members: list[ConsumerMember], now: Instant
) -> tuple[ClassicGroup, Turn]:
    """The group as a classic one whose members are called to join."""
    downgraded = to_classic(group, members, parts.consumer.known, now)
    parts.classic.take_over(downgraded, now)
    called = parts.classic.turn(now)
    called.records += changes.burial(group)
    called.records.append(group_record(group.group_id, downgraded.value()))
    rebalance.prepare(downgraded, called)
    return downgraded, called


def _downgrades(
    parts: Parts, gone: Iterable[ConsumerMember], remaining: list[ConsumerMember]
) -> bool:
    return (
        parts.downgrades
        and bool(remaining)
        and any(each.classic is None for each in gone)
        and all(each.classic is not None for each in remaining)
        and parts.classic.has_room(len(remaining))
    )
