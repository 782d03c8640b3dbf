"""Members that speak the classic protocol in a consumer group (KIP-848, online upgrade): JoinGroup,
SyncGroup and Heartbeat in the place of ConsumerGroupHeartbeat.

Such a member is called to join again, by REBALANCE_IN_PROGRESS, whenever its next step is due. Its
generation is its member epoch; the broker assigns, so nobody leads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from flowstream.broker.decision import Decision
from flowstream.broker.events import Request
from flowstream.broker.groups import embedded
from flowstream.broker.groups.classic import MEMBER_ID_REQUIRED_VERSION
from flowstream.broker.groups.consumer_checks import check_owner
from flowstream.broker.groups.consumer_group import ConsumerGroup
from flowstream.broker.groups.consumer_groups import ConsumerGroups
from flowstream.broker.groups.consumer_heartbeat import Step, advance, check_room, replacing
from flowstream.broker.groups.consumer_member import ConsumerMember, MemberState
from flowstream.broker.groups.consumer_records import ClassicMemberMetadata, ClassicProtocol
from flowstream.broker.groups.consumer_target import is_due
from flowstream.broker.groups.consumer_turn import ConsumerTurn, Refused
from flowstream.broker.groups.group import CONSUMER_PROTOCOL
from flowstream.broker.groups.records import Record
from flowstream.broker.types import Instant
from flowstream.errors import WireError
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.consumer_protocol import ConsumerProtocolSubscription
from flowstream.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from flowstream.wire.messages.join_group import JoinGroupRequest, JoinGroupResponse
from flowstream.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse


@dataclass(frozen=True, slots=True)
class Joined:
    """A classic member's join, decided."""

    member: ConsumerMember
    replaced: ConsumerMember | None
    """Whose place it took, if it is static."""
    answer: JoinGroupResponse


def join(
    groups: ConsumerGroups,
    group: ConsumerGroup,
    request: Request[JoinGroupRequest],
    turn: ConsumerTurn,
) -> Joined | JoinGroupResponse:
    """JoinGroup of a classic member: decided, or refused."""
    body = request.body
    member_id = body.member_id or groups.new_id()
    said = _subscription(body)
    is_new = member_id not in group.members and body.group_instance_id not in group.static_members
    if is_new and len(group.members) >= turn.limits.size_max:
        return JoinGroupResponse(error_code=ErrorCode.GROUP_MAX_SIZE_REACHED)
    if said is None or not _supports(group, body):
        error = ErrorCode.INCONSISTENT_GROUP_PROTOCOL
        return JoinGroupResponse(error_code=error)
    needs_id = not body.member_id and body.group_instance_id is None
    if needs_id and request.to.version >= MEMBER_ID_REQUIRED_VERSION:
        error = ErrorCode.MEMBER_ID_REQUIRED
        return JoinGroupResponse(error_code=error, member_id=member_id)
    before, replaced = _before(group, body, member_id)
    if isinstance(before, Refused):
        return JoinGroupResponse(error_code=before.error)
    step = Step(before, _after(before, request, said), replaced)
    heavy = check_room(group, step, turn)
    if heavy is not None:
        return JoinGroupResponse(error_code=heavy.error)
    owned = embedded.by_id(said.owned_partitions, turn.known)
    member = advance(group, step, owned, turn)
    group.timers.cancel(("join", member_id))
    groups.keep_alive(group, member, turn)
    group.timers.set(("sync", member_id), turn.after(member.rebalance_timeout_ms))
    answer = JoinGroupResponse(
        generation_id=member.epoch,
        protocol_type=CONSUMER_PROTOCOL,
        protocol_name=body.protocols[0].name,
        member_id=member_id,
    )
    return Joined(member, replaced, answer)


def sync(
    groups: ConsumerGroups, group: ConsumerGroup, request: Request[SyncGroupRequest], now: Instant
) -> Decision[Record]:
    """SyncGroup of a classic member: it gets what it has."""
    body, turn = request.body, groups.turn(group.group_id, now)
    found = _classic_member(group, body.member_id, body.group_instance_id, body.generation_id)
    if isinstance(found, ErrorCode):
        return Decision(replies=((request.to, SyncGroupResponse(error_code=found)),))
    member, classic = found
    error = ErrorCode.NONE
    protocol = classic.supported_protocols[0]
    wrong_type = body.protocol_type not in (None, CONSUMER_PROTOCOL)
    if wrong_type or body.protocol_name not in (None, protocol.name):
        error = ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    elif _is_behind(group, member, turn) and (member.state is not MemberState.UNREVOKED_PARTITIONS):
        error = ErrorCode.REBALANCE_IN_PROGRESS
        _await_join(group, member, turn)
    answer = SyncGroupResponse(error_code=error)
    if not error:
        group.timers.cancel(("sync", member.member_id))
        groups.keep_alive(group, member, turn)
        has = {topic_id: partitions.keys() for topic_id, partitions in member.assigned.items()}
        version = embedded.version_of(bytes(protocol.metadata))
        answer = SyncGroupResponse(
            protocol_type=body.protocol_type,
            protocol_name=body.protocol_name,
            assignment=embedded.write_assignment(has, turn.known, version),
        )
    groups.arm(group)
    return Decision(replies=((request.to, answer),))


def heartbeat(
    groups: ConsumerGroups, group: ConsumerGroup, request: Request[HeartbeatRequest], now: Instant
) -> Decision[Record]:
    """Heartbeat of a classic member, and the way to learn that its next step is due."""
    body, turn = request.body, groups.turn(group.group_id, now)
    found = _classic_member(group, body.member_id, body.group_instance_id, body.generation_id)
    if isinstance(found, ErrorCode):
        return Decision(replies=((request.to, HeartbeatResponse(error_code=found)),))
    member, _ = found
    groups.keep_alive(group, member, turn)
    error = ErrorCode.NONE
    if _must_join(group, member, turn):
        error = ErrorCode.REBALANCE_IN_PROGRESS
        _await_join(group, member, turn)
    groups.arm(group)
    return Decision(replies=((request.to, HeartbeatResponse(error_code=error)),))


def _is_behind(group: ConsumerGroup, member: ConsumerMember, turn: ConsumerTurn) -> bool:
    """Whether a join brings the member into a later epoch: a target is there, or it is time to make
    one. Before that the member would join in vain, and at once again."""
    return member.epoch < group.assignment_epoch or is_due(group, group.epoch, turn)


def _must_join(group: ConsumerGroup, member: ConsumerMember, turn: ConsumerTurn) -> bool:
    if _is_behind(group, member, turn) or member.state is MemberState.UNREVOKED_PARTITIONS:
        return True
    return member.state is MemberState.UNRELEASED_PARTITIONS and not any(
        group.is_owned(topic_id, partition)
        for topic_id, partitions in group.targets.get(member.member_id, {}).items()
        for partition in partitions - member.assigned.get(topic_id, {}).keys()
    )


def _await_join(group: ConsumerGroup, member: ConsumerMember, turn: ConsumerTurn) -> None:
    key = ("join", member.member_id)
    if key not in group.timers:
        group.timers.set(key, turn.after(member.rebalance_timeout_ms))


def _classic_member(
    group: ConsumerGroup, member_id: str, instance_id: str | None, generation: int
) -> tuple[ConsumerMember, ClassicMemberMetadata] | ErrorCode:
    member = check_owner(group, member_id, instance_id)
    if isinstance(member, Refused):
        return member.error
    if member.classic is None:
        return ErrorCode.UNKNOWN_MEMBER_ID
    if generation != member.epoch:
        return ErrorCode.ILLEGAL_GENERATION
    return member, member.classic


def _subscription(body: JoinGroupRequest) -> ConsumerProtocolSubscription | None:
    """What the member subscribes to: the same in all its protocols."""
    if not body.protocols:
        return None
    try:
        return embedded.read_subscription(bytes(body.protocols[0].metadata))
    except WireError:
        return None


def _supports(group: ConsumerGroup, body: JoinGroupRequest) -> bool:
    """Whether one of the member's protocols is common to all classic members, as in a classic
    group."""
    if body.protocol_type != CONSUMER_PROTOCOL:
        return False
    common = {each.name for each in body.protocols}
    for member in group.members.values():
        if member.classic is not None and member.member_id != body.member_id:
            common &= {each.name for each in member.classic.supported_protocols}
    return bool(common)


def _before(
    group: ConsumerGroup, body: JoinGroupRequest, member_id: str
) -> tuple[ConsumerMember | Refused, ConsumerMember | None]:
    instance_id = body.group_instance_id
    if instance_id is None:
        return group.members.get(member_id) or ConsumerMember(member_id=member_id), None
    if body.member_id:
        return check_owner(group, member_id, instance_id), None
    holder = group.members.get(group.static_members.get(instance_id, ""))
    if holder is None:
        return ConsumerMember(member_id=member_id), None
    return replacing(holder, member_id), holder


def _after(
    before: ConsumerMember,
    request: Request[JoinGroupRequest],
    said: ConsumerProtocolSubscription,
) -> ConsumerMember:
    body = request.body
    patience = body.rebalance_timeout_ms
    return replace(
        before,
        instance_id=body.group_instance_id or before.instance_id,
        rack_id=said.rack_id or before.rack_id,
        rebalance_timeout_ms=patience if patience >= 0 else body.session_timeout_ms,
        names=frozenset(said.topics),
        regex="",
        client_id=request.client_id or "",
        client_host=f"/{request.client_host.removeprefix('/')}",
        classic=ClassicMemberMetadata(
            session_timeout_ms=body.session_timeout_ms,
            supported_protocols=tuple(
                ClassicProtocol(name=each.name, metadata=bytes(each.metadata))
                for each in body.protocols
            ),
        ),
    )
