"""What the requests of the classic group protocol do to one group: join, sync, heartbeat, leave.

Each function decides about one request, changes the group's soft state and leaves replies and
records in the turn. Facts: KIP-62 (rebalance timeout), KIP-345 (static members), KIP-394 (member
id required), KIP-814 (skipped assignment). When a rebalance completes is in `rebalance`.
"""

from __future__ import annotations

from flowstream.broker.events import Request
from flowstream.broker.groups import rebalance
from flowstream.broker.groups.group import SYNC, ClassicGroup, Member, Protocols, session
from flowstream.broker.groups.records import group_record
from flowstream.broker.groups.room import weigh_identity, weigh_protocols
from flowstream.broker.groups.states import State
from flowstream.broker.groups.turn import NEW_MEMBER_JOIN_TIMEOUT_MS, Turn
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.heartbeat import HeartbeatRequest
from flowstream.wire.messages.join_group import JoinGroupRequest
from flowstream.wire.messages.leave_group import MemberIdentity
from flowstream.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse

MEMBER_ID_REQUIRED_VERSION = 4
SKIP_ASSIGNMENT_VERSION = 9
PROTOCOL_NAMED_VERSION = 5
"""SyncGroup from this version on must say which protocol it is about (KIP-559)."""


def join_refused(request: Request[JoinGroupRequest], error: ErrorCode, turn: Turn) -> None:
    """Answer a join with an error."""
    turn.reply(request.to, rebalance.join_error(request.to, error, request.body.member_id))


def join(group: ClassicGroup, request: Request[JoinGroupRequest], new_id: str, turn: Turn) -> None:
    """A member wants to be in the next generation. `new_id` is the id it gets when it has none."""
    body = request.body
    protocols = _protocols(body)
    if not _has_room(group, body, turn.limits.size_max):
        group.remove(body.member_id)
        full = ErrorCode.GROUP_MAX_SIZE_REACHED
        turn.reply(request.to, rebalance.join_error(request.to, full, ""))
    elif not turn.room.admits(group, _growth(group, request, new_id), turn.now):
        join_refused(request, ErrorCode.GROUP_MAX_SIZE_REACHED, turn)
    elif not group.supports(body.protocol_type, protocols):
        join_refused(request, ErrorCode.INCONSISTENT_GROUP_PROTOCOL, turn)
    elif not body.member_id:
        _join_new(group, request, new_id, turn)
    elif body.member_id in group.pending_joins and body.group_instance_id is None:
        # Only dynamic members are given ids to come back with: an instance id may be another's.
        _add(group, request, body.member_id, turn)
    else:
        _join_again(group, request, turn)


def _join_new(
    group: ClassicGroup, request: Request[JoinGroupRequest], new_id: str, turn: Turn
) -> None:
    body = request.body
    if body.group_instance_id is not None:
        if body.group_instance_id in group.static_members:
            _replace_static(group, request, new_id, turn)
        else:
            _add(group, request, new_id, turn)
    elif request.to.version >= MEMBER_ID_REQUIRED_VERSION:
        # A join that times out and is retried must not leave a member behind each time (KIP-394).
        group.expect(new_id)
        group.timers.set(session(new_id), turn.after(body.session_timeout_ms))
        required = ErrorCode.MEMBER_ID_REQUIRED
        turn.reply(request.to, rebalance.join_error(request.to, required, new_id))
    else:
        _add(group, request, new_id, turn)


def _add(
    group: ClassicGroup, request: Request[JoinGroupRequest], member_id: str, turn: Turn
) -> None:
    body = request.body
    member = Member(
        member_id=member_id,
        instance_id=body.group_instance_id,
        client_id=request.client_id or "",
        client_host=f"/{request.client_host.removeprefix('/')}",
        rebalance_timeout_ms=_patience(body),
        session_timeout_ms=body.session_timeout_ms,
        protocols=_protocols(body),
        is_new=True,
        awaiting_join=request.to,
    )
    group.initial.member_added = True
    if not group.members:
        group.protocol_type = body.protocol_type
    group.add(member)
    group.timers.set(session(member_id), turn.after(NEW_MEMBER_JOIN_TIMEOUT_MS))
    rebalance.rebalance(group, turn)


def _join_again(group: ClassicGroup, request: Request[JoinGroupRequest], turn: Turn) -> None:
    body = request.body
    error = group.check_member(body.member_id, body.group_instance_id)
    if error:
        join_refused(request, error, turn)
        return
    member = group.members[body.member_id]
    changed = member.protocols != _protocols(body)
    # A leader that joins while the group is stable asks for a rebalance: it saw the topics change.
    leads = group.state is State.STABLE and group.leader == member.member_id
    if group.state is State.PREPARING_REBALANCE or changed or leads:
        _update(group, member, request, turn)
        rebalance.rebalance(group, turn)
    else:
        # It did not get the answer to its join: tell it again what generation it is in.
        turn.reply(request.to, rebalance.joined(group, member))


def _update(
    group: ClassicGroup, member: Member, request: Request[JoinGroupRequest], turn: Turn
) -> None:
    body = request.body
    group.offer(member, _protocols(body))
    member.rebalance_timeout_ms = _patience(body)
    member.session_timeout_ms = body.session_timeout_ms
    rebalance.park_join(group, member, request.to, turn)


def _replace_static(
    group: ClassicGroup, request: Request[JoinGroupRequest], new_id: str, turn: Turn
) -> None:
    """A static member came back without its id: it takes its old place, and whoever holds the old
    id is fenced."""
    instance_id = request.body.group_instance_id
    assert instance_id is not None
    leader = group.leader
    old = group.members[group.static_members[instance_id]]
    rebalance.refuse_join(group, old, ErrorCode.FENCED_INSTANCE_ID, turn)
    rebalance.refuse_sync(old, ErrorCode.FENCED_INSTANCE_ID, turn)
    member = group.replace_static(instance_id, new_id)
    rebalance.keep_alive(group, member, turn)
    _update(group, member, request, turn)
    if group.state is not State.STABLE:
        # While the leader computes an assignment it knows the old id only: begin again.
        rebalance.rebalance(group, turn)
    elif group.choose_protocol() != group.protocol:
        rebalance.rebalance(group, turn)
    else:
        turn.records.append(group_record(group.group_id, group.value()))
        _answer_static(group, member, request, leader, turn)


def _answer_static(
    group: ClassicGroup,
    member: Member,
    request: Request[JoinGroupRequest],
    leader: str | None,
    turn: Turn,
) -> None:
    """Answer without a rebalance. A client that cannot skip the assignment (KIP-814) must not
    think that it leads."""
    group.answered_join(member)
    if request.to.version >= SKIP_ASSIGNMENT_VERSION:
        leads = group.leader == member.member_id
        answer = rebalance.joined(group, member, skip_assignment=leads)
    else:
        answer = rebalance.joined(group, member, leader=leader or "")
    turn.reply(request.to, answer)


def sync(group: ClassicGroup | None, request: Request[SyncGroupRequest], turn: Turn) -> None:
    """A member asks for its share; the leader brings all of them."""
    body = request.body
    error = _check_sync(group, request)
    if error or group is None:
        turn.reply(request.to, SyncGroupResponse(error_code=error))
        return
    member = group.members[body.member_id]
    group.pending_syncs.discard(member.member_id)
    if not group.pending_syncs:
        group.timers.cancel(SYNC)
    if group.state is State.STABLE:
        turn.reply(request.to, rebalance.share(group, member))
        return
    rebalance.park_sync(member, request.to, turn)
    if group.leader == member.member_id:
        _take_shares(group, body, turn)


def _take_shares(group: ClassicGroup, body: SyncGroupRequest, turn: Turn) -> None:
    """The leader has decided. When its shares are too much to keep nobody gets one, and all begin
    again, as in Kafka when the group's record is too large."""
    given = {each.member_id: each.assignment for each in body.assignments}
    shares = {name: bytes(given.get(name, b"")) for name in group.members}
    grown = sum(len(shares[name]) - len(each.assignment) for name, each in group.members.items())
    if not turn.room.admits(group, grown, turn.now):
        rebalance.prepare(group, turn, ErrorCode.GROUP_MAX_SIZE_REACHED)
        return
    for each in group.members.values():
        group.assign(each, shares[each.member_id])
    turn.records.append(group_record(group.group_id, group.value()))
    group.move(State.STABLE, turn.now)
    rebalance.distribute(group, turn)


def _check_sync(group: ClassicGroup | None, request: Request[SyncGroupRequest]) -> ErrorCode:
    body = request.body
    if request.to.version >= PROTOCOL_NAMED_VERSION and (
        body.protocol_type is None or body.protocol_name is None
    ):
        return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    if group is None:
        return ErrorCode.UNKNOWN_MEMBER_ID
    error = group.check_generation(body.member_id, body.group_instance_id, body.generation_id)
    if error:
        return error
    if body.protocol_type not in (None, group.protocol_type):
        return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    if group.protocol is not None and body.protocol_name not in (None, group.protocol):
        return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    if group.state is State.PREPARING_REBALANCE:
        return ErrorCode.REBALANCE_IN_PROGRESS
    return ErrorCode.NONE


def heartbeat(group: ClassicGroup | None, body: HeartbeatRequest, turn: Turn) -> ErrorCode:
    """A sign of life, and the way to learn of a rebalance."""
    if group is None:
        return ErrorCode.UNKNOWN_MEMBER_ID
    error = group.check_generation(body.member_id, body.group_instance_id, body.generation_id)
    if error:
        return error
    rebalance.keep_alive(group, group.members[body.member_id], turn)
    if group.state is State.PREPARING_REBALANCE:
        return ErrorCode.REBALANCE_IN_PROGRESS
    return ErrorCode.NONE


def leave(group: ClassicGroup, leaver: MemberIdentity, turn: Turn) -> ErrorCode:
    """One member leaves. An administrator names a static member by its instance id alone. Call
    `left` after the last."""
    member_id, instance_id = leaver.member_id, leaver.group_instance_id
    if not member_id:
        if instance_id is None or instance_id not in group.static_members:
            return ErrorCode.UNKNOWN_MEMBER_ID
        member_id = group.static_members[instance_id]
    elif member_id in group.pending_joins:
        group.remove(member_id)
        return ErrorCode.NONE
    else:
        error = group.check_member(member_id, instance_id)
        if error:
            return error
    rebalance.remove_member(group, group.members[member_id], turn)
    return ErrorCode.NONE


def left(group: ClassicGroup, turn: Turn) -> None:
    """Members have left: the others share anew."""
    if group.state is not State.EMPTY:
        rebalance.rebalance(group, turn)


def _has_room(group: ClassicGroup, body: JoinGroupRequest, size_max: int) -> bool:
    member = group.behind(body.member_id, body.group_instance_id)
    if group.state is State.EMPTY:
        return True
    if group.state is State.PREPARING_REBALANCE:
        # Of a group that shrank, the first to join stay.
        waits = member is not None and member.awaiting_join is not None
        return waits or group.joins_waiting < size_max
    return member is not None or len(group.members) < size_max


def _growth(group: ClassicGroup, request: Request[JoinGroupRequest], new_id: str) -> int:
    """By how much a join makes its group heavier (X3)."""
    body = request.body
    said = weigh_protocols((each.name, each.metadata) for each in body.protocols)
    member = group.behind(body.member_id, body.group_instance_id)
    if member is not None:
        return said - weigh_protocols(member.protocols)
    return said + weigh_identity(new_id, body.group_instance_id, request.client_id)


def _protocols(body: JoinGroupRequest) -> Protocols:
    return tuple((each.name, bytes(each.metadata)) for each in body.protocols)


def _patience(body: JoinGroupRequest) -> int:
    """The rebalance timeout; version 0 has none and means the session timeout."""
    patience = body.rebalance_timeout_ms
    return patience if patience >= 0 else body.session_timeout_ms
