"""The group coordinator: hands a request to the kind of group it is for, and keeps the durable
state that records make.

Durable: groups and offsets, changed only by `apply`, `apply_transactional` and `apply_marker`, live
and on replay. Soft: waiting members and deadlines. It must not know logs or connections.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from flowstream.broker.config import BrokerConfig
from flowstream.broker.decision import Decision
from flowstream.broker.doors import Random
from flowstream.broker.events import Request
from flowstream.broker.groups import consumer_changes, consumer_classic, migration
from flowstream.broker.groups.classic_groups import ClassicGroups
from flowstream.broker.groups.commits import (
    Claim,
    NewOffset,
    Retention,
    check_commit,
    check_consumer_commit,
    check_offset_delete,
    check_offset_fetch,
    check_transactional_commit,
    is_expired,
)
from flowstream.broker.groups.consumer_group import ConsumerGroup
from flowstream.broker.groups.consumer_groups import ConsumerGroups, Heartbeat
from flowstream.broker.groups.consumer_topics import KnownTopics, NoTopics
from flowstream.broker.groups.group import ClassicGroup
from flowstream.broker.groups.offsets import Offsets, Transaction
from flowstream.broker.groups.records import (
    ConsumerGroupRecord,
    GroupMetadataValue,
    OffsetCommitValue,
    OffsetRecord,
    Record,
    decode_record,
    encode_record,
    group_record,
    offset_record,
)
from flowstream.broker.groups.room import Room
from flowstream.broker.groups.states import State
from flowstream.broker.groups.timers import Agenda
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.heartbeat import HeartbeatRequest
from flowstream.wire.messages.join_group import JoinGroupRequest
from flowstream.wire.messages.leave_group import LeaveGroupRequest
from flowstream.wire.messages.sync_group import SyncGroupRequest

GROUPS_AT_ONCE = 512
"""Whose time is over, in one tick: after a restart that may be all of them (X4)."""
OFFSETS_AT_ONCE = 1 << 14
"""That are looked at for their expiry in one tick, some 0.5 us each (X4)."""


class GroupCoordinator:
    """All groups of this node. Methods that decide return a Decision; the caller appends, then
    applies its records."""

    def __init__(
        self, config: BrokerConfig, rng: Random, topics: KnownTopics | None = None
    ) -> None:
        self.offsets = Offsets()
        self._records: dict[str, GroupMetadataValue] = {}
        self._retention = Retention(config.offsets_retention_minutes * 60_000, Instant(0))
        self._retention_check_ms = config.offsets_retention_check_interval_ms
        self._expiry: Instant | None = None
        self._unseen: deque[str] = deque()
        """The groups whose offsets are still to be looked at in this round of expiry."""
        self._agenda = Agenda()
        known, room = topics or NoTopics(), Room(self._all)
        self._classic = ClassicGroups(config, rng, self._agenda, room)
        self._consumer = ConsumerGroups(config, rng, self._agenda, known, room)
        policy = config.group_consumer_migration_policy
        self._parts = migration.Parts(
            classic=self._classic,
            consumer=self._consumer,
            upgrades=policy in ("bidirectional", "upgrade"),
            downgrades=policy in ("bidirectional", "downgrade"),
        )

    @property
    def groups(self) -> Mapping[str, ClassicGroup]:
        """The groups of the classic protocol and those that have offsets only."""
        return self._classic.groups

    @property
    def consumers(self) -> Mapping[str, ConsumerGroup]:
        """The groups of the consumer protocol (KIP-848)."""
        return self._consumer.groups

    # Durable state: the records.

    def encode(self, record: Record) -> tuple[bytes | None, bytes | None]:
        """The record's key and value as they stand in the log."""
        return encode_record(record)

    def decode(self, key: bytes | None, value: bytes | None) -> Record | None:
        """The inverse of `encode`; None for kinds of records that Kafka may add. Raises
        WireError."""
        return decode_record(key, value)

    def apply(self, record: Record) -> None:
        """Take a record of the log, live and on replay."""
        if isinstance(record, OffsetRecord):
            self.offsets.apply(record)
        elif isinstance(record, ConsumerGroupRecord):
            self._consumer.apply(record)
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
        return dict(self._records), self._consumer.durable(), self.offsets.durable()

    def start(self, now: Instant) -> None:
        """All records are replayed: bring the groups back to life, each member with a whole
        session ahead."""
        for group_id, value in self._records.items():
            if group_id not in self.consumers:
                self._classic.restore(group_id, value, now)
        self._consumer.start(now)
        for group_id in self.offsets.groups():
            if group_id not in self.consumers:
                self._classic.find_or_begin(group_id, now)
        self._retention = self._retention._replace(started=now)
        self._schedule_expiry(now)

    # Membership.

    def join(self, request: Request[JoinGroupRequest], now: Instant) -> Decision[Record]:
        """JoinGroup, to a classic group or as a classic member of a consumer group."""
        group = self.consumers.get(request.body.group_id)
        if group is None:
            return self._classic.join(request, now)
        return migration.join(self._parts, group, request, now)

    def sync(self, request: Request[SyncGroupRequest], now: Instant) -> Decision[Record]:
        """SyncGroup, likewise."""
        group = self.consumers.get(request.body.group_id)
        if group is None:
            return self._classic.sync(request, now)
        return consumer_classic.sync(self._consumer, group, request, now)

    def heartbeat(self, request: Request[HeartbeatRequest], now: Instant) -> Decision[Record]:
        """Heartbeat, likewise."""
        group = self.consumers.get(request.body.group_id)
        if group is None:
            return self._classic.heartbeat(request, now)
        return consumer_classic.heartbeat(self._consumer, group, request, now)

    def leave(self, request: Request[LeaveGroupRequest], now: Instant) -> Decision[Record]:
        """LeaveGroup, likewise."""
        group = self.consumers.get(request.body.group_id)
        if group is None:
            return self._classic.leave(request, now)
        return migration.leave(self._parts, group, request, now)

    def consumer_heartbeat(self, request: Heartbeat, now: Instant) -> Decision[Record]:
        """ConsumerGroupHeartbeat: a member of the consumer protocol joins, reports or leaves."""
        return migration.consumer_heartbeat(self._parts, request, now)

    def metadata_changed(self, version: int) -> None:
        """Topics came, grew or went; `version` is where the metadata log is now. Groups notice it
        with their next heartbeats."""
        self._consumer.topics_version = version

    def assignor_of(self, group: ConsumerGroup) -> str:
        """Who assigns the partitions of a consumer group."""
        return self._consumer.assignor_of(group)

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
        asked = list(offsets)
        consumer, group = self.consumers.get(group_id), self.groups.get(group_id)
        if consumer is not None:
            error = check_consumer_commit(consumer, claim, asked, version)
        else:
            error = check_commit(group, claim, version)
        if error:
            return error, Decision()
        if consumer is None:
            group = self._classic.find_or_begin(group_id, now)
            self._classic.keep_alive(group, claim.member_id, now)
        values = [(each.partition, each.value(now, retention_ms)) for each in asked]
        return error, Decision(tuple(offset_record(group_id, *key, v) for key, v in values))

    def commit_transactional(
        self, group_id: str, claim: Claim, offsets: Iterable[NewOffset], now: Instant
    ) -> tuple[ErrorCode, Decision[Record]]:
        """TxnOffsetCommit: its records are for a transactional batch."""
        if not group_id:
            return ErrorCode.INVALID_GROUP_ID, Decision()
        asked = list(offsets)
        consumer = self.consumers.get(group_id)
        if consumer is not None:
            error = check_consumer_commit(consumer, claim, asked)
        else:
            error = check_transactional_commit(self.groups.get(group_id), claim)
        if error:
            return error, Decision()
        if consumer is None:
            self._classic.find_or_begin(group_id, now)
        values = [(each.partition, each.value(now)) for each in asked]
        return error, Decision(tuple(offset_record(group_id, *key, v) for key, v in values))

    def check_fetch(self, group_id: str, member_id: str | None, epoch: int) -> ErrorCode:
        """Whether a group's offsets may be read in the name of a member (OffsetFetch 9)."""
        return check_offset_fetch(self.consumers.get(group_id), member_id, epoch)

    def delete(self, group_id: str) -> tuple[ErrorCode, Decision[Record]]:
        """DeleteGroups, one of them: only without members; its offsets go too, those in open
        transactions included."""
        consumer, group = self.consumers.get(group_id), self.groups.get(group_id)
        if consumer is None and group is None:
            return ErrorCode.GROUP_ID_NOT_FOUND, Decision()
        if not self._is_empty(group_id):
            return ErrorCode.NON_EMPTY_GROUP, Decision()
        return ErrorCode.NONE, Decision(self._bury(group_id))

    def delete_offsets(
        self, group_id: str, partitions: Sequence[TopicPartition]
    ) -> tuple[ErrorCode, list[ErrorCode], Decision[Record]]:
        """OffsetDelete: the error of the request, else of each partition (a topic that is read is
        refused)."""
        group = self.consumers.get(group_id) or self.groups.get(group_id)
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
        gone = dict.fromkeys(partitions)
        decided = [
            (group_id, self._forget(group_id, self.offsets.among(group_id, gone)))
            for group_id in self.offsets.groups()
        ]
        return [(group_id, Decision(records)) for group_id, records in decided if records]

    # Time.

    def deadline(self) -> Instant | None:
        """When `tick` is wanted next; sometimes too early, never too late."""
        first = self._agenda.soonest
        if first is None or (self._expiry is not None and self._expiry < first):
            return self._expiry
        return first

    def tick(self, now: Instant) -> list[tuple[str, Decision[Record]]]:
        """Sessions and rebalances whose time is over, and offsets that nobody needs any more, by
        group."""
        decided = []
        for _ in range(GROUPS_AT_ONCE):
            group_id = self._agenda.take_due(now)
            if group_id is None:
                break
            consumer, group = self.consumers.get(group_id), self.groups.get(group_id)
            if consumer is not None:
                decided.append((group_id, migration.expire(self._parts, consumer, now)))
            elif group is not None:
                decided.append((group_id, self._classic.expire(group, now)))
        if self._expiry is None:
            self._schedule_expiry(now)
        elif self._expiry <= now:
            decided += self._expire_offsets(now)
        return [(group_id, decision) for group_id, decision in decided if decision != Decision()]

    def _expire_offsets(self, now: Instant) -> list[tuple[str, Decision[Record]]]:
        """Look at the next groups of all."""
        if not self._unseen:
            self._unseen.extend((*self.groups, *self.consumers))
        decided: list[tuple[str, Decision[Record]]] = []
        left = OFFSETS_AT_ONCE
        while self._unseen and left > 0:
            group_id = self._unseen.popleft()
            if group_id in self.groups or group_id in self.consumers:
                offsets = self.offsets.of(group_id)
                left -= len(offsets) + 1
                decided.append((group_id, Decision(self._expired(group_id, offsets, now))))
        if self._unseen:
            self._expiry = Instant(now + 1)  # others come in between
        else:
            self._schedule_expiry(now)
        return decided

    def _expired(
        self, group_id: str, offsets: Mapping[TopicPartition, OffsetCommitValue], now: Instant
    ) -> tuple[Record, ...]:
        """Forget what nobody needs any more, be it the group."""
        expired = [
            partition
            for partition, value in offsets.items()
            if not self.offsets.is_unstable(group_id, partition)
            and self._is_expired(group_id, partition, value, now)
        ]
        unused = self._is_empty(group_id) and not self._joins_pending(group_id)
        if unused and len(expired) == len(offsets) and not self.offsets.unstable(group_id):
            return self._bury(group_id)
        return self._forget(group_id, expired)

    def _is_expired(
        self, group_id: str, partition: TopicPartition, value: OffsetCommitValue, now: Instant
    ) -> bool:
        consumer = self.consumers.get(group_id)
        if consumer is not None:
            read = consumer.is_subscribed(partition.topic)
            return not read and self._retention.is_over(value, value.commit_timestamp, now)
        return is_expired(self.groups[group_id], partition, value, self._retention, now)

    def _schedule_expiry(self, now: Instant) -> None:
        self._expiry = Instant(now + self._retention_check_ms)

    # Parts.

    def _all(self) -> Iterable[ClassicGroup | ConsumerGroup]:
        yield from self.groups.values()
        yield from self.consumers.values()

    def _is_empty(self, group_id: str) -> bool:
        consumer = self.consumers.get(group_id)
        if consumer is not None:
            return consumer.is_empty
        return self.groups[group_id].state is State.EMPTY

    def _joins_pending(self, group_id: str) -> bool:
        group = self.groups.get(group_id)
        return group is not None and bool(group.pending_joins)

    def _bury(self, group_id: str) -> tuple[Record, ...]:
        """Forget a group: tombstones for all that the log has of it."""
        offsets = self._forget(group_id, self._had(group_id))
        consumer = self.consumers.get(group_id)
        if consumer is not None:
            return (*offsets, *consumer_changes.burial(consumer))
        group = self._classic.groups.pop(group_id)
        group.move(State.DEAD, group.state_since)
        return (*offsets, group_record(group_id, None))

    def _had(self, group_id: str) -> Iterable[TopicPartition]:
        """Where a group has offsets, decided or not."""
        return dict.fromkeys((*self.offsets.of(group_id), *self.offsets.unstable(group_id)))

    def _forget(self, group_id: str, partitions: Iterable[TopicPartition]) -> tuple[Record, ...]:
        return tuple(
            offset_record(group_id, *each, None)
            for each in partitions
            if self.offsets.find(group_id, each) is not None
            or self.offsets.is_unstable(group_id, each)
        )
