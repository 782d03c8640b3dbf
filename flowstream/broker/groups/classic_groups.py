"""The groups of the classic protocol on this node: finds the group of a request, lets it decide,
and looks at it again when its time has come. All of it is soft state; `coordinator` keeps what is
durable.
"""

from __future__ import annotations

from flowstream.broker.config import BrokerConfig
from flowstream.broker.decision import Decision
from flowstream.broker.doors import Random
from flowstream.broker.events import Request
from flowstream.broker.groups import classic, rebalance
from flowstream.broker.groups.group import ClassicGroup
from flowstream.broker.groups.records import GroupMetadataValue, Record, group_record
from flowstream.broker.groups.room import Room
from flowstream.broker.groups.states import State
from flowstream.broker.groups.timers import Agenda
from flowstream.broker.groups.turn import GroupLimits, Turn
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from flowstream.wire.messages.join_group import JoinGroupRequest
from flowstream.wire.messages.leave_group import (
    LeaveGroupRequest,
    LeaveGroupResponse,
    MemberIdentity,
    MemberResponse,
)
from flowstream.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse

LEAVE_MANY_VERSION = 3
"""LeaveGroup names many members from this version on (KIP-345)."""

NAME_CHARACTERS = 249
"""Of a client's or an instance's name in a member id, as long as Kafka's clients let an instance id
be: a name of 32 KiB would make an id that no record can keep, and its group got no shares."""


class ClassicGroups:
    """All classic groups, those without members that have offsets only among them."""

    def __init__(self, config: BrokerConfig, rng: Random, agenda: Agenda, room: Room) -> None:
        self.groups: dict[str, ClassicGroup] = {}
        self._rng = rng
        self._agenda = agenda
        self._room = room
        self._limits = GroupLimits(
            session_timeout_min_ms=config.group_min_session_timeout_ms,
            session_timeout_max_ms=config.group_max_session_timeout_ms,
            initial_rebalance_delay_ms=config.group_initial_rebalance_delay_ms,
            size_max=config.group_max_size,
        )

    def restore(self, group_id: str, value: GroupMetadataValue, now: Instant) -> None:
        """Bring a group back to life from its record, each member with a whole session ahead."""
        self.take_over(ClassicGroup.restored(group_id, value, now), now)

    def take_over(self, group: ClassicGroup, now: Instant) -> None:
        """Run `group` from now on, each of its members with a whole session ahead."""
        self.groups[group.group_id] = group
        self._room.weigh_anew()
        turn = self.turn(now)
        for member in group.members.values():
            rebalance.keep_alive(group, member, turn)
        self.arm(group)

    def find_or_begin(self, group_id: str, now: Instant) -> ClassicGroup:
        """The group, or a new one without members."""
        group = self.groups.get(group_id)
        if group is None:
            group = self.groups[group_id] = ClassicGroup(group_id, now)
        return group

    def has_room(self, size: int) -> bool:
        """Whether a group may have `size` members."""
        return size <= self._limits.size_max

    def join(self, request: Request[JoinGroupRequest], now: Instant) -> Decision[Record]:
        """JoinGroup. The answer comes when the next generation begins, at the latest after the
        rebalance timeout."""
        body, turn = request.body, self.turn(now)
        error = self.check_join(body)
        if not error and body.member_id and body.group_id not in self.groups:
            error = ErrorCode.UNKNOWN_MEMBER_ID
        if error:
            classic.join_refused(request, error, turn)
            return turn.decision()
        begins = body.group_id not in self.groups
        group = self.find_or_begin(body.group_id, now)
        classic.join(group, request, self._member_id(request), turn)
        if begins and not turn.records:
            turn.records.append(_birth(group, now))
        return self._decided(group, turn)

    def sync(self, request: Request[SyncGroupRequest], now: Instant) -> Decision[Record]:
        """SyncGroup. Followers wait for the leader."""
        turn = self.turn(now)
        group = self.groups.get(request.body.group_id)
        if not request.body.group_id:
            turn.reply(request.to, SyncGroupResponse(error_code=ErrorCode.INVALID_GROUP_ID))
        else:
            classic.sync(group, request, turn)
        return self._decided(group, turn)

    def heartbeat(self, request: Request[HeartbeatRequest], now: Instant) -> Decision[Record]:
        """Heartbeat."""
        turn = self.turn(now)
        group = self.groups.get(request.body.group_id)
        error = ErrorCode.INVALID_GROUP_ID
        if request.body.group_id:
            error = classic.heartbeat(group, request.body, turn)
        turn.reply(request.to, HeartbeatResponse(error_code=error))
        return self._decided(group, turn)

    def leave(self, request: Request[LeaveGroupRequest], now: Instant) -> Decision[Record]:
        """LeaveGroup, of one member or of many."""
        body, turn = request.body, self.turn(now)
        group = self.groups.get(body.group_id)
        answers = [self._leave(group, each, turn) for each in leavers(request)]
        if group is not None and any(each.error_code == 0 for each in answers):
            classic.left(group, turn)
        turn.reply(request.to, leave_answer(request, answers))
        return self._decided(group, turn)

    def keep_alive(self, group: ClassicGroup, member_id: str, now: Instant) -> None:
        """A member that commits is alive."""
        member = group.members.get(member_id)
        if member is not None and group.state in (State.STABLE, State.PREPARING_REBALANCE):
            rebalance.keep_alive(group, member, self.turn(now))
            self.arm(group)

    def expire(self, group: ClassicGroup, now: Instant) -> Decision[Record]:
        """Sessions and rebalances whose time is over."""
        turn = self.turn(now)
        while (key := group.timers.take_due(now)) is not None:
            rebalance.expire(group, key, turn)
        return self._decided(group, turn)

    def check_join(self, body: JoinGroupRequest) -> ErrorCode:
        """What is wrong with a JoinGroup whatever the group is like."""
        if not body.group_id:
            return ErrorCode.INVALID_GROUP_ID
        shortest, longest = self._limits.session_timeout_min_ms, self._limits.session_timeout_max_ms
        if not shortest <= body.session_timeout_ms <= longest:
            return ErrorCode.INVALID_SESSION_TIMEOUT
        return ErrorCode.NONE

    def turn(self, now: Instant) -> Turn:
        """Where a decision is collected."""
        return Turn(now, self._limits, self._room)

    def arm(self, group: ClassicGroup) -> None:
        """Note when the group must be looked at next."""
        self._agenda.arm(group.group_id, group.timers.soonest)

    def _leave(
        self, group: ClassicGroup | None, leaver: MemberIdentity, turn: Turn
    ) -> MemberResponse:
        error = ErrorCode.UNKNOWN_MEMBER_ID
        if group is not None:
            error = classic.leave(group, leaver, turn)
        return MemberResponse(
            member_id=leaver.member_id,
            group_instance_id=leaver.group_instance_id,
            error_code=error,
        )

    def _member_id(self, request: Request[JoinGroupRequest]) -> str:
        """An id that nobody had before: the instance's or client's name and a random UUID."""
        if request.body.member_id:
            return request.body.member_id
        digits = self._rng.randbytes(16).hex()
        uuid = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        name = request.body.group_instance_id or request.client_id or ""
        return f"{name[:NAME_CHARACTERS]}-{uuid}"

    def _decided(self, group: ClassicGroup | None, turn: Turn) -> Decision[Record]:
        if group is not None:
            self.arm(group)
        return turn.decision()


def leavers(request: Request[LeaveGroupRequest]) -> tuple[MemberIdentity, ...]:
    """Who leaves; before version 3 there is one."""
    body = request.body
    if request.to.version >= LEAVE_MANY_VERSION:
        return body.members
    return (MemberIdentity(member_id=body.member_id),)


def leave_answer(
    request: Request[LeaveGroupRequest], answers: list[MemberResponse]
) -> LeaveGroupResponse:
    """The answer to LeaveGroup from those of its members."""
    if not request.body.group_id:
        return LeaveGroupResponse(error_code=ErrorCode.INVALID_GROUP_ID)
    if request.to.version >= LEAVE_MANY_VERSION:
        return LeaveGroupResponse(members=tuple(answers))
    return LeaveGroupResponse(error_code=answers[0].error_code)


def _birth(group: ClassicGroup, now: Instant) -> Record:
    """The first record of a group: an empty one, whatever its first member does now."""
    return group_record(group.group_id, GroupMetadataValue(current_state_timestamp=now))
