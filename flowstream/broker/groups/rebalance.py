"""How a classic group gets from one generation to the next, and what its deadlines do.

Kafka's `GroupMetadataManager` for classic groups is the model. Every function takes the group and
the turn and leaves records and replies in the turn; requests are in `classic`.
"""

from __future__ import annotations

from flowstream.broker.groups.group import JOIN, SYNC, ClassicGroup, Member, TimerKey, session
from flowstream.broker.groups.records import group_record
from flowstream.broker.groups.states import State
from flowstream.broker.groups.turn import Turn
from flowstream.broker.types import ReplyTo
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.join_group import JoinGroupResponse, JoinGroupResponseMember
from flowstream.wire.messages.sync_group import SyncGroupResponse

NULL_PROTOCOL_VERSION = 7
REBALANCING = (State.STABLE, State.COMPLETING_REBALANCE, State.EMPTY)
"""The states in which a change of membership starts a rebalance instead of joining one."""

ROUND_MS = 1_000
"""A round of silent members is no shorter: they may have said that they need no time at all."""


def rebalance(group: ClassicGroup, turn: Turn) -> None:
    """The membership changed: start a rebalance, or see whether the one in progress can
    complete."""
    if group.state in REBALANCING:
        prepare(group, turn)
    else:
        complete_if_all_joined(group, turn)


def prepare(
    group: ClassicGroup, turn: Turn, error: ErrorCode = ErrorCode.REBALANCE_IN_PROGRESS
) -> None:
    """Call all members to join the next generation; `error` is for those who wait for a share."""
    if group.state is State.COMPLETING_REBALANCE:
        _cancel_syncs(group, error, turn)
    group.timers.cancel(SYNC)
    was_empty = group.state is State.EMPTY
    group.move(State.PREPARING_REBALANCE, turn.now)
    if was_empty:
        _wait_for_first_members(group, turn)
    elif group.all_joined():
        complete(group, turn)
    else:
        group.timers.set(JOIN, turn.after(group.rebalance_timeout_ms()))


def complete_if_all_joined(group: ClassicGroup, turn: Turn) -> None:
    """End the join phase early; an empty group's first one lasts as long as its delay says."""
    preparing = group.state is State.PREPARING_REBALANCE
    if preparing and not group.initial.running and group.all_joined():
        complete(group, turn)


def complete(group: ClassicGroup, turn: Turn) -> None:
    """End the join phase: who has not joined is out, but for static members, whose session decides
    (KIP-345)."""
    group.timers.cancel(JOIN)
    group.initial.running = False
    for member in list(group.members.values()):
        if member.awaiting_join is None and member.instance_id is None:
            group.remove(member.member_id)
    if group.members and not group.elect_joined_leader():
        # Only silent static members are left: give them another round, until their sessions end.
        group.timers.set(JOIN, turn.after(max(group.rebalance_timeout_ms(), ROUND_MS)))
        return
    group.next_generation(turn.now)
    if group.state is State.EMPTY:
        turn.records.append(group_record(group.group_id, group.value()))
        return
    for member in group.members.values():
        answer_join(group, member, turn)
        member.is_new = False
        group.pending_syncs.add(member.member_id)
    group.timers.set(SYNC, turn.after(group.rebalance_timeout_ms()))


def answer_join(
    group: ClassicGroup, member: Member, turn: Turn, *, skip_assignment: bool = False
) -> None:
    """Tell a member the generation it is in, and start its session anew."""
    to = member.awaiting_join
    if to is not None:
        group.answered_join(member)
        turn.reply(to, joined(group, member, skip_assignment=skip_assignment))
    keep_alive(group, member, turn)


def joined(
    group: ClassicGroup, member: Member, *, skip_assignment: bool = False, leader: str | None = None
) -> JoinGroupResponse:
    """The answer to a join; the members go to the leader only. `leader` overrides who is named as
    such."""
    leads = group.leader == member.member_id and leader is None
    return JoinGroupResponse(
        generation_id=group.generation,
        protocol_type=group.protocol_type,
        protocol_name=group.protocol,
        leader=(group.leader if leader is None else leader) or "",
        skip_assignment=skip_assignment,
        member_id=member.member_id,
        members=_roster(group) if leads else (),
    )


def refuse_join(group: ClassicGroup, member: Member, error: ErrorCode, turn: Turn) -> None:
    """Answer a waiting join with an error, if there is one; the id is not told when the member is
    no longer known."""
    to = member.awaiting_join
    if to is not None:
        group.answered_join(member)
        known = "" if error is ErrorCode.UNKNOWN_MEMBER_ID else member.member_id
        turn.reply(to, join_error(to, error, known))


def join_error(to: ReplyTo, error: ErrorCode, member_id: str) -> JoinGroupResponse:
    """The answer to a join that fails; older versions cannot say that there is no protocol."""
    name = None if to.version >= NULL_PROTOCOL_VERSION else ""
    return JoinGroupResponse(error_code=error, protocol_name=name, member_id=member_id)


def park_join(group: ClassicGroup, member: Member, to: ReplyTo, turn: Turn) -> None:
    """Let a member's join wait. One that it sent before is answered: replies on a connection keep
    their order."""
    refuse_join(group, member, ErrorCode.REBALANCE_IN_PROGRESS, turn)
    group.await_join(member, to)


def park_sync(member: Member, to: ReplyTo, turn: Turn) -> None:
    """Let a member's sync wait; see `park_join`."""
    refuse_sync(member, ErrorCode.REBALANCE_IN_PROGRESS, turn)
    member.awaiting_sync = to


def distribute(group: ClassicGroup, turn: Turn) -> None:
    """Every member that waits for its share gets it."""
    for member in group.members.values():
        if member.awaiting_sync is not None:
            turn.reply(member.awaiting_sync, share(group, member))
            member.awaiting_sync = None
            keep_alive(group, member, turn)


def share(group: ClassicGroup, member: Member) -> SyncGroupResponse:
    """A member's assignment."""
    return SyncGroupResponse(
        protocol_type=group.protocol_type,
        protocol_name=group.protocol,
        assignment=member.assignment,
    )


def refuse_sync(member: Member, error: ErrorCode, turn: Turn) -> None:
    """Answer a waiting sync with an error, if there is one."""
    if member.awaiting_sync is not None:
        turn.reply(member.awaiting_sync, SyncGroupResponse(error_code=error))
        member.awaiting_sync = None


def keep_alive(group: ClassicGroup, member: Member, turn: Turn) -> None:
    """A sign of life: the session starts anew."""
    group.timers.set(session(member.member_id), turn.after(member.session_timeout_ms))


def remove_member(group: ClassicGroup, member: Member, turn: Turn) -> None:
    """A member is gone. What it waits for is answered first, so that a client that is alive after
    all joins again."""
    refuse_join(group, member, ErrorCode.UNKNOWN_MEMBER_ID, turn)
    refuse_sync(member, ErrorCode.UNKNOWN_MEMBER_ID, turn)
    group.remove(member.member_id)


def expire(group: ClassicGroup, key: TimerKey, turn: Turn) -> None:
    """A deadline of the group has come."""
    if key == JOIN:
        _join_phase_over(group, turn)
    elif key == SYNC:
        _sync_phase_over(group, turn)
    else:
        _session_over(group, key[1], turn)


def _session_over(group: ClassicGroup, member_id: str, turn: Turn) -> None:
    if member_id in group.pending_joins:
        group.remove(member_id)
        complete_if_all_joined(group, turn)
        return
    member = group.members[member_id]
    waits = member.awaiting_join is not None or member.awaiting_sync is not None
    if waits and not member.is_new:
        return  # alive as far as we can know; its session starts anew with the answer
    remove_member(group, member, turn)
    rebalance(group, turn)


def _join_phase_over(group: ClassicGroup, turn: Turn) -> None:
    first = group.initial
    if first.running and first.member_added and first.remaining_ms > 0:
        delay_ms = min(turn.limits.initial_rebalance_delay_ms, first.remaining_ms)
        first.remaining_ms = max(first.remaining_ms - first.delay_ms, 0)
        first.delay_ms = delay_ms
        first.member_added = False
        group.timers.set(JOIN, turn.after(delay_ms))
    else:
        complete(group, turn)


def _sync_phase_over(group: ClassicGroup, turn: Turn) -> None:
    """Who has not sent SyncGroup since the join was answered is out (KAFKA-12890)."""
    if not group.pending_syncs:
        return
    assert group.state in (State.COMPLETING_REBALANCE, State.STABLE), group.state
    for member in [m for m in group.members.values() if m.member_id in group.pending_syncs]:
        remove_member(group, member, turn)
    prepare(group, turn)


def _wait_for_first_members(group: ClassicGroup, turn: Turn) -> None:
    """An empty group gives others time to join its first generation; without a delay it begins at
    once."""
    delay_ms = turn.limits.initial_rebalance_delay_ms
    first = group.initial
    first.running = delay_ms > 0
    first.member_added = False
    first.delay_ms = delay_ms
    first.remaining_ms = max(group.rebalance_timeout_ms() - delay_ms, 0)
    if first.running:
        group.timers.set(JOIN, turn.after(delay_ms))
    else:
        complete(group, turn)


def _cancel_syncs(group: ClassicGroup, error: ErrorCode, turn: Turn) -> None:
    """The assignment under way is void."""
    for member in group.members.values():
        group.assign(member, b"")
        if member.awaiting_sync is not None:
            refuse_sync(member, error, turn)
            keep_alive(group, member, turn)


def _roster(group: ClassicGroup) -> tuple[JoinGroupResponseMember, ...]:
    return tuple(
        JoinGroupResponseMember(
            member_id=each.member_id,
            group_instance_id=each.instance_id,
            metadata=each.metadata(group.protocol),
        )
        for each in group.members.values()
    )
