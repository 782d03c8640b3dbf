"""Who may commit and who may delete offsets, and when offsets expire: rules over one group,
nothing stored here.

Facts: KIP-447 (a transactional commit names member and generation), KIP-211 (expiry counts from
when a group became empty).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from flowstream.broker.config import LONG_MAX
from flowstream.broker.groups.consumer_checks import check_member_epoch
from flowstream.broker.groups.consumer_group import ConsumerGroup
from flowstream.broker.groups.consumer_member import ConsumerMember
from flowstream.broker.groups.group import CONSUMER_PROTOCOL, ClassicGroup
from flowstream.broker.groups.records import OffsetCommitValue
from flowstream.broker.groups.states import State
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.schema import ZERO_UUID

MEMBER_EPOCH_VERSION = 9
"""OffsetCommit can carry a member epoch from this version on (KIP-848)."""
GROUP_NOT_FOUND_VERSION = 9
"""OffsetCommit tells from this version on that a group is unknown (KIP-848)."""


@dataclass(frozen=True, slots=True)
class Claim:
    """As whom a commit is made. Nobody: no member id, no instance id, generation -1
    (administrators, manual assignment)."""

    member_id: str = ""
    instance_id: str | None = None
    generation: int = -1

    @property
    def is_member(self) -> bool:
        """Whether it is made in the name of a member."""
        return self.generation >= 0 or bool(self.member_id) or self.instance_id is not None


@dataclass(frozen=True, slots=True)
class NewOffset:
    """An offset as a request gives it."""

    partition: TopicPartition
    offset: int
    leader_epoch: int = -1
    metadata: str | None = None
    topic_id: bytes = ZERO_UUID
    """Of the topic as it is now, be it that the request has none: in a later one of that name the
    offset counts for nothing (S11). Kafka keeps none in transactions."""

    def value(self, now: Instant, retention_ms: int = -1) -> OffsetCommitValue:
        """The offset as its record keeps it. With a retention time of its own it has neither epoch
        nor topic id."""
        expires = retention_ms >= 0
        return OffsetCommitValue(
            offset=self.offset,
            leader_epoch=-1 if expires else self.leader_epoch,
            metadata=self.metadata or "",
            commit_timestamp=now,
            expire_timestamp=min(now + retention_ms, LONG_MAX) if expires else -1,
            topic_id=ZERO_UUID if expires else self.topic_id,
        )


def check_commit(group: ClassicGroup | None, claim: Claim, version: int) -> ErrorCode:
    """Whether an OffsetCommit is accepted (G1). Without a group only nobody may commit: a group
    without members begins."""
    if group is None:
        if claim.generation < 0:
            return ErrorCode.NONE
        if version >= GROUP_NOT_FOUND_VERSION:
            return ErrorCode.GROUP_ID_NOT_FOUND
        return ErrorCode.ILLEGAL_GENERATION
    if claim.generation < 0 and group.state is State.EMPTY:
        return ErrorCode.NONE
    if not claim.is_member:
        if group.state is not State.EMPTY:
            return ErrorCode.UNKNOWN_MEMBER_ID
    else:
        error = group.check_generation(claim.member_id, claim.instance_id, claim.generation)
        if error:
            return error
    if group.state is State.COMPLETING_REBALANCE:
        # The partitions may be another's already; the member learns it from its sync.
        return ErrorCode.REBALANCE_IN_PROGRESS
    return ErrorCode.NONE


def check_transactional_commit(group: ClassicGroup | None, claim: Claim) -> ErrorCode:
    """Whether a TxnOffsetCommit is accepted: member and generation only, whatever the rebalance
    does (KIP-447)."""
    if group is None:
        return ErrorCode.NONE if claim.generation < 0 else ErrorCode.ILLEGAL_GENERATION
    if claim.generation < 0 and group.state is State.EMPTY:
        return ErrorCode.NONE
    if not claim.is_member:
        return ErrorCode.NONE  # producers before KIP-447 are fenced by their transactional id only
    return group.check_generation(claim.member_id, claim.instance_id, claim.generation)


def check_consumer_commit(
    group: ConsumerGroup, claim: Claim, offsets: Iterable[NewOffset], version: int | None = None
) -> ErrorCode:
    """Whether an OffsetCommit (of a `version`) or a TxnOffsetCommit (without) to a consumer group
    is accepted (G1)."""
    if claim.generation < 0 and group.is_empty:
        return ErrorCode.NONE
    if version is None and not claim.is_member:
        return ErrorCode.NONE
    member = group.members.get(claim.member_id)
    if member is None:
        return ErrorCode.UNKNOWN_MEMBER_ID
    if version is not None and version < MEMBER_EPOCH_VERSION and member.classic is None:
        return ErrorCode.UNSUPPORTED_VERSION
    error = check_member_epoch(member, claim.generation)
    if member.classic is None and claim.generation < member.epoch:
        # A member that does not know its new epoch yet still has what it had (KIP-1251).
        held = [_assigned_in(member, each) for each in offsets]
        if all(epoch is not None and claim.generation >= epoch for epoch in held):
            return ErrorCode.NONE
    # Producers know no member epochs: to Java's the error would be fatal, as all that is unknown.
    is_unknown = version is None and error is ErrorCode.STALE_MEMBER_EPOCH
    return ErrorCode.ILLEGAL_GENERATION if is_unknown else error


def check_offset_fetch(group: ConsumerGroup | None, member_id: str | None, epoch: int) -> ErrorCode:
    """Whether offsets are told in the name of a member; only consumer groups check it."""
    if member_id is None and epoch < 0:
        return ErrorCode.NONE
    if group is None:
        return ErrorCode.NONE
    member = group.members.get(member_id or "")
    if member is None:
        return ErrorCode.UNKNOWN_MEMBER_ID
    return check_member_epoch(member, epoch)


def _assigned_in(member: ConsumerMember, each: NewOffset) -> int | None:
    """The epoch in which the member got this partition; None when it does not have it."""
    for part in (member.assigned, member.pending_revocation):
        epoch = part.get(each.topic_id, {}).get(each.partition.partition)
        if epoch is not None:
            return epoch
    return None


def check_offset_delete(group: ClassicGroup | ConsumerGroup | None) -> ErrorCode:
    """Whether offsets of this group may be deleted one by one (KIP-496)."""
    if group is None:
        return ErrorCode.GROUP_ID_NOT_FOUND
    if isinstance(group, ConsumerGroup):
        return ErrorCode.NONE
    if group.state is State.EMPTY or group.protocol_type == CONSUMER_PROTOCOL:
        return ErrorCode.NONE
    return ErrorCode.NON_EMPTY_GROUP


class Retention(NamedTuple):
    """How long offsets are kept that nobody needs, and when this broker was started."""

    ms: int
    started: Instant

    def is_over(self, value: OffsetCommitValue, base: int, now: Instant) -> bool:
        """Whether an offset has been kept long enough, counted from `base`: from the start where
        that lies ahead, for then the clock was set back. Else it would be kept for as long as that
        was, be it for ever.
        """
        ms = self.ms
        if value.expire_timestamp != -1:
            base, ms = value.commit_timestamp, value.expire_timestamp - value.commit_timestamp
        return now - (base if base <= now else self.started) >= ms


def is_expired(
    group: ClassicGroup,
    partition: TopicPartition,
    value: OffsetCommitValue,
    retention: Retention,
    now: Instant,
) -> bool:
    """Whether nobody has needed an offset for so long that it is forgotten (KIP-211)."""
    if group.protocol_type is None:
        base = value.commit_timestamp
    elif group.state is State.EMPTY:
        base = group.state_since if group.state_since >= 0 else value.commit_timestamp
    elif group.state is State.STABLE and group.subscribed is not None:
        if group.is_subscribed(partition.topic):
            return False
        base = value.commit_timestamp
    else:
        return False
    return retention.is_over(value, base, now)
