"""The group coordinator: finds the group of a request, lets it decide, and keeps the durable state
that records make.

Durable: group records and offsets, changed only by `apply`, `apply_transactional` and
`apply_marker`, live and on replay. Soft: the groups in memory with their waiting members and
deadlines. It must not know logs or connections.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

from flowstream.broker.config import BrokerConfig
from flowstream.broker.decision import Decision
from flowstream.broker.doors import Random
from flowstream.broker.events import Request
from flowstream.broker.groups import classic, rebalance
from flowstream.broker.groups.commits import (
    Claim,
    NewOffset,
    check_commit,
    check_offset_delete,
    check_transactional_commit,
    is_expired,
)
from flowstream.broker.groups.group import ClassicGroup
from flowstream.broker.groups.offsets import Offsets, Transaction
from flowstream.broker.groups.records import (
    GroupMetadataValue,
    GroupRecord,
    OffsetRecord,
    Record,
    decode_record,
    encode_record,
    group_record,
    offset_record,
)
from flowstream.broker.groups.states import State
from flowstream.broker.groups.turn import GroupLimits, Turn
from flowstream.broker.types import Instant, TopicPartition
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


class GroupCoordinator:
    """All groups of this node. Methods that decide return a Decision; the caller appends, then
    applies its records."""

    def __init__(self, config: BrokerConfig, rng: Random) -> None:
        self.offsets = Offsets()
        self.groups: dict[str, ClassicGroup] = {}
        self._records: dict[str, GroupMetadataValue] = {}
        self._rng = rng
        self._limits = GroupLimits(
            session_timeout_min_ms=config.group_min_session_timeout_ms,
            session_timeout_max_ms=config.group_max_session_timeout_ms,
            initial_rebalance_delay_ms=config.group_initial_rebalance_delay_ms,
            size_max=config.group_max_size,
        )
        self._retention_ms = config.offsets_retention_minutes * 60_000
        self._retention_check_ms = config.offsets_retention_check_interval_ms
        self._expiry: Instant | None = None
        self._deadlines: list[tuple[Instant, str]] = []
        self._armed: dict[str, Instant] = {}

    # Durable state: the records.

    def encode(self, record: Record) -> tuple[bytes | None, bytes | None]:
        """The record's key and value as they stand in the log."""
        return encode_record(record)

    def decode(self, key: bytes | None, value: bytes | None) -> Record | None:
        """The inverse of `encode`; None for other kinds of groups' records. Raises WireError."""
        record = decode_record(key, value)
        return record if isinstance(record, OffsetRecord | GroupRecord) else None

    def apply(self, record: Record) -> None:
        """Take a record of the log, live and on replay."""
        if isinstance(record, OffsetRecord):
            self.offsets.apply(record)
        elif record.value is None:
            self._records.pop(record.key.group, None)
        else:
            self._records[record.key.group] = record.value

    def apply_transactional(self, producer_id: int, record: Record, offsets_partition: int) -> None:
        """Take a record of a transactional batch in a partition of `__consumer_offsets`: it counts
        once a marker says so.
        """
        assert isinstance(record, OffsetRecord), "only offsets are committed in transactions"
        self.offsets.apply_transactional(Transaction(offsets_partition, producer_id), record)

    def apply_marker(
        self, producer_id: int, producer_epoch: int, commit: bool, offsets_partition: int
    ) -> None:
        """Take the end marker of a producer's transaction in one partition of
        `__consumer_offsets`.
        """
        self.offsets.apply_marker(Transaction(offsets_partition, producer_id), commit)

    def durable(self) -> object:
        """The durable state as one comparable value."""
        return dict(self._records), self.offsets.durable()

    def start(self, now: Instant) -> None:
        """All records are replayed: bring the groups back to life, each member with a whole
        session ahead."""
        turn = self._turn(now)
        for group_id, value in self._records.items():
            group = self.groups[group_id] = ClassicGroup.restored(group_id, value, now)
            for member in group.members.values():
                rebalance.keep_alive(group, member, turn)
            self._arm(group)
        for group_id in self.offsets.groups():
            self._find_or_begin(group_id, now)
        self._schedule_expiry(now)

    # Membership.

    def join(self, request: Request[JoinGroupRequest], now: Instant) -> Decision[Record]:
        """JoinGroup. The answer comes when the next generation begins, at the latest after the
        rebalance timeout."""
        body, turn = request.body, self._turn(now)
        error = self._check_join(body)
        if error:
            classic.join_refused(request, error, turn)
            return turn.decision()
        begins = body.group_id not in self.groups
        group = self._find_or_begin(body.group_id, now)
        classic.join(group, request, self._member_id(request), turn)
        if begins and not turn.records:
            turn.records.append(_birth(group, now))
        return self._decided(group, turn)

    def sync(self, request: Request[SyncGroupRequest], now: Instant) -> Decision[Record]:
        """SyncGroup. Followers wait for the leader."""
        turn = self._turn(now)
        group = self.groups.get(request.body.group_id)
        if not request.body.group_id:
            turn.reply(request.to, SyncGroupResponse(error_code=ErrorCode.INVALID_GROUP_ID))
        else:
            classic.sync(group, request, turn)
        return self._decided(group, turn)

    def heartbeat(self, request: Request[HeartbeatRequest], now: Instant) -> Decision[Record]:
        """Heartbeat."""
        turn = self._turn(now)
        group = self.groups.get(request.body.group_id)
        error = ErrorCode.INVALID_GROUP_ID
        if request.body.group_id:
            error = classic.heartbeat(group, request.body, turn)
        turn.reply(request.to, HeartbeatResponse(error_code=error))
        return self._decided(group, turn)

    def leave(self, request: Request[LeaveGroupRequest], now: Instant) -> Decision[Record]:
        """LeaveGroup, of one member or of many."""
        body, turn = request.body, self._turn(now)
        many = request.to.version >= LEAVE_MANY_VERSION
        leavers = body.members if many else (MemberIdentity(member_id=body.member_id),)
        group = self.groups.get(body.group_id)
        answers = [self._leave(group, each, turn) for each in leavers]
        if not body.group_id:
            answer = LeaveGroupResponse(error_code=ErrorCode.INVALID_GROUP_ID)
        elif many:
            answer = LeaveGroupResponse(members=tuple(answers))
        else:
            answer = LeaveGroupResponse(error_code=answers[0].error_code)
        if group is not None and any(each.error_code == 0 for each in answers):
            classic.left(group, turn)
        turn.reply(request.to, answer)
        return self._decided(group, turn)

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

    # Offsets.

    def commit(
        self,
        group_id: str,
        claim: Claim,
        offsets: Iterable[NewOffset],
        now: Instant,
        *,
        version: int,
        retention_ms: int = -1,
    ) -> tuple[ErrorCode, Decision[Record]]:
        """OffsetCommit: one outcome for all of `offsets`. A member that commits is alive."""
        group = self.groups.get(group_id)
        error = check_commit(group, claim, version)
        if error:
            return error, Decision()
        group = self._find_or_begin(group_id, now)
        member = group.members.get(claim.member_id)
        if member is not None and group.state in (State.STABLE, State.PREPARING_REBALANCE):
            rebalance.keep_alive(group, member, self._turn(now))
            self._arm(group)
        values = [(each.partition, each.value(now, retention_ms)) for each in offsets]
        return error, Decision(tuple(offset_record(group_id, *key, v) for key, v in values))

    def commit_transactional(
        self, group_id: str, claim: Claim, offsets: Iterable[NewOffset], now: Instant
    ) -> tuple[ErrorCode, Decision[Record]]:
        """TxnOffsetCommit: its records are for a transactional batch."""
        if not group_id:
            return ErrorCode.INVALID_GROUP_ID, Decision()
        error = check_transactional_commit(self.groups.get(group_id), claim)
        if error:
            return error, Decision()
        self._find_or_begin(group_id, now)
        values = [(each.partition, each.value(now)) for each in offsets]
        return error, Decision(tuple(offset_record(group_id, *key, v) for key, v in values))

    def delete(self, group_id: str) -> tuple[ErrorCode, Decision[Record]]:
        """DeleteGroups, one of them: only without members; its offsets go too, those in open
        transactions included."""
        group = self.groups.get(group_id)
        if group is None:
            return ErrorCode.GROUP_ID_NOT_FOUND, Decision()
        if group.state is not State.EMPTY:
            return ErrorCode.NON_EMPTY_GROUP, Decision()
        return ErrorCode.NONE, Decision(self._bury(group))

    def delete_offsets(
        self, group_id: str, partitions: Sequence[TopicPartition]
    ) -> tuple[ErrorCode, list[ErrorCode], Decision[Record]]:
        """OffsetDelete: the error of the request, else of each partition (a topic that is read is
        refused)."""
        group = self.groups.get(group_id)
        error = check_offset_delete(group)
        if error or group is None:
            return error, [], Decision()
        read = [group.is_subscribed(each.topic) for each in partitions]
        answers = [ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC if each else ErrorCode.NONE for each in read]
        gone = [p for p, refused in zip(partitions, read, strict=True) if not refused]
        return error, answers, Decision(self._forget(group_id, gone))

    def partitions_deleted(
        self, partitions: Iterable[TopicPartition]
    ) -> list[tuple[str, Decision[Record]]]:
        """Topics are gone: so are all groups' offsets in them."""
        gone = list(partitions)
        decided = [(group_id, self._forget(group_id, gone)) for group_id in self.offsets.groups()]
        return [(group_id, Decision(records)) for group_id, records in decided if records]

    # Time.

    def deadline(self) -> Instant | None:
        """When `tick` is wanted next; sometimes too early, never too late."""
        first = self._deadlines[0][0] if self._deadlines else None
        if first is None or (self._expiry is not None and self._expiry < first):
            return self._expiry
        return first

    def tick(self, now: Instant) -> list[tuple[str, Decision[Record]]]:
        """Sessions and rebalances whose time is over, and offsets that nobody needs any more, by
        group."""
        decided = []
        while self._deadlines and self._deadlines[0][0] <= now:
            at, group_id = heapq.heappop(self._deadlines)
            if self._armed.get(group_id) == at:
                del self._armed[group_id]
            group = self.groups.get(group_id)
            if group is not None:
                decided.append((group_id, self._expire(group, now)))
        if self._expiry is None:
            self._schedule_expiry(now)
        elif self._expiry <= now:
            self._schedule_expiry(now)
            decided += self._expire_offsets(now)
        return [(group_id, decision) for group_id, decision in decided if decision != Decision()]

    def _expire(self, group: ClassicGroup, now: Instant) -> Decision[Record]:
        turn = self._turn(now)
        while (key := group.timers.take_due(now)) is not None:
            rebalance.expire(group, key, turn)
        return self._decided(group, turn)

    def _expire_offsets(self, now: Instant) -> list[tuple[str, Decision[Record]]]:
        decided: list[tuple[str, Decision[Record]]] = []
        for group_id, group in list(self.groups.items()):
            offsets = self.offsets.of(group_id)
            expired = [
                partition
                for partition, value in offsets.items()
                if not self.offsets.is_unstable(group_id, partition)
                and is_expired(group, partition, value, self._retention_ms, now)
            ]
            records = self._forget(group_id, expired)
            unused = group.state is State.EMPTY and not group.pending_joins
            if unused and len(expired) == len(offsets) and not self.offsets.unstable(group_id):
                records = self._bury(group)
            decided.append((group_id, Decision(records)))
        return decided

    def _schedule_expiry(self, now: Instant) -> None:
        self._expiry = Instant(now + self._retention_check_ms)

    # Parts.

    def _bury(self, group: ClassicGroup) -> tuple[Record, ...]:
        """Forget a group: tombstones for all that the log has of it."""
        group_id = group.group_id
        group.move(State.DEAD, group.state_since)
        del self.groups[group_id]
        partitions = dict.fromkeys((*self.offsets.of(group_id), *self.offsets.unstable(group_id)))
        return (*self._forget(group_id, partitions), group_record(group_id, None))

    def _forget(self, group_id: str, partitions: Iterable[TopicPartition]) -> tuple[Record, ...]:
        return tuple(
            offset_record(group_id, *each, None)
            for each in partitions
            if self.offsets.find(group_id, each) is not None
            or self.offsets.is_unstable(group_id, each)
        )

    def _find_or_begin(self, group_id: str, now: Instant) -> ClassicGroup:
        group = self.groups.get(group_id)
        if group is None:
            group = self.groups[group_id] = ClassicGroup(group_id, now)
        return group

    def _check_join(self, body: JoinGroupRequest) -> ErrorCode:
        if not body.group_id:
            return ErrorCode.INVALID_GROUP_ID
        limits = self._limits
        shortest, longest = limits.session_timeout_min_ms, limits.session_timeout_max_ms
        if not shortest <= body.session_timeout_ms <= longest:
            return ErrorCode.INVALID_SESSION_TIMEOUT
        if body.member_id and body.group_id not in self.groups:
            return ErrorCode.UNKNOWN_MEMBER_ID
        return ErrorCode.NONE

    def _member_id(self, request: Request[JoinGroupRequest]) -> str:
        """An id that nobody had before: the instance's or client's name and a random UUID."""
        if request.body.member_id:
            return request.body.member_id
        digits = self._rng.randbytes(16).hex()
        uuid = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        return f"{request.body.group_instance_id or request.client_id or ''}-{uuid}"

    def _turn(self, now: Instant) -> Turn:
        return Turn(now, self._limits)

    def _decided(self, group: ClassicGroup | None, turn: Turn) -> Decision[Record]:
        if group is not None:
            self._arm(group)
        return turn.decision()

    def _arm(self, group: ClassicGroup) -> None:
        """Note when the group must be looked at next, unless an earlier look is noted already."""
        at = group.timers.soonest
        armed = self._armed.get(group.group_id)
        if at is not None and (armed is None or at < armed):
            self._armed[group.group_id] = at
            heapq.heappush(self._deadlines, (at, group.group_id))


def _birth(group: ClassicGroup, now: Instant) -> Record:
    """The first record of a group: an empty one, whatever its first member does now."""
    return group_record(group.group_id, GroupMetadataValue(current_state_timestamp=now))
