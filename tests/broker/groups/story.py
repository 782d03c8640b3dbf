"""A group coordinator driven in plain calls: its decisions go to a list that stands for the log,
and are applied, as the broker does."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flowstream.broker.config import BrokerConfig
from flowstream.broker.decision import Decision
from flowstream.broker.events import Request
from flowstream.broker.groups.commits import Claim, NewOffset
from flowstream.broker.groups.coordinator import GroupCoordinator
from flowstream.broker.groups.group import ClassicGroup
from flowstream.broker.groups.records import Record
from flowstream.broker.types import ConnectionId, Instant, ReplyTo, TopicPartition
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.consumer_protocol import ConsumerProtocolSubscription
from flowstream.wire.messages.heartbeat import HeartbeatRequest
from flowstream.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from flowstream.wire.messages.leave_group import LeaveGroupRequest, MemberIdentity
from flowstream.wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from flowstream.wire.schema import encode

SESSION_MS = 10_000
REBALANCE_MS = 30_000
T0 = TopicPartition("t", 0)
T1 = TopicPartition("t", 1)


@dataclass(frozen=True)
class Plain:
    """A batch of records outside a transaction, as bytes."""

    records: tuple[tuple[bytes | None, bytes | None], ...]


@dataclass(frozen=True)
class Transactional:
    """A batch of records of a producer's transaction."""

    producer_id: int
    records: tuple[tuple[bytes | None, bytes | None], ...]


@dataclass(frozen=True)
class Marker:
    """The end of a producer's transaction."""

    producer_id: int
    commit: bool


def config(**settings: object) -> BrokerConfig:
    """Settings by Kafka's names with underscores."""
    return BrokerConfig.of({key.replace("_", "."): str(value) for key, value in settings.items()})


def subscription(*topics: str) -> bytes:
    """The metadata of the consumer protocol, version 0."""
    return bytes(2) + encode(ConsumerProtocolSubscription(topics=topics), 0)


@dataclass
class KnownTopic:
    """A topic of the cluster."""

    name: str
    topic_id: bytes
    partitions: range


class Known:
    """The cluster's topics and the settings of groups."""

    def __init__(self) -> None:
        self.topics: dict[str, KnownTopic] = {}
        self.topics_by_id: dict[bytes, KnownTopic] = {}
        self.configs: dict[tuple[int, str], dict[str, str]] = {}
        self.version = 0

    def create(self, name: str, partitions: int) -> bytes:
        """A topic appears, or grows."""
        self.version += 1
        topic = self.topics.get(name)
        if topic is None:
            topic = KnownTopic(name, self.version.to_bytes(16), range(0))
            self.topics[name] = self.topics_by_id[topic.topic_id] = topic
        topic.partitions = range(partitions)
        return topic.topic_id

    def delete(self, name: str) -> None:
        """A topic goes."""
        self.version += 1
        del self.topics_by_id[self.topics.pop(name).topic_id]


class Groups:
    """One coordinator and the log that it would write. Requests are answered under numbers."""

    def __init__(self, seed: int = 1, **settings: object) -> None:
        self.config = config(**settings)
        self.rng = random.Random(seed)
        self.now = Instant(1_700_000_000_000)
        self.log: list[Plain | Transactional | Marker] = []
        self.answers: dict[int, Any] = {}
        self.asked = 0
        self.known = Known()
        self.core = GroupCoordinator(self.config, self.rng, self.known)
        self.core.start(self.now)

    def group(self, group_id: str = "g") -> ClassicGroup:
        return self.core.groups[group_id]

    # The write path.

    def take(self, decision: Decision[Record]) -> None:
        """Append, apply, answer."""
        if decision.records:
            self.log.append(Plain(tuple(self.core.encode(each) for each in decision.records)))
        for record in decision.records:
            self.core.apply(record)
        for to, body in decision.replies:
            assert to.correlation_id not in self.answers, "answered twice"
            self.answers[to.correlation_id] = body

    def replayed(self) -> GroupCoordinator:
        """What a broker that starts on this log knows."""
        core = GroupCoordinator(self.config, self.rng, self.known)
        for entry in self.log:
            if isinstance(entry, Marker):
                core.apply_marker(entry.producer_id, 0, entry.commit, 0)
                continue
            for key, value in entry.records:
                record = core.decode(key, value)
                assert record is not None
                if isinstance(entry, Transactional):
                    core.apply_transactional(entry.producer_id, record, 0)
                else:
                    core.apply(record)
        return core

    def restart(self) -> None:
        """Begin again with what the log says; who waited for an answer waits in vain."""
        self.core = self.replayed()
        self.core.metadata_changed(self.known.version)
        self.core.start(self.now)

    def wait(self, milliseconds: int) -> None:
        """Let time pass, tick by tick."""
        until = self.now + milliseconds
        while True:
            due = self.core.deadline()
            if due is None or due > until:
                break
            self.now = Instant(max(self.now, due))
            for _, decision in self.core.tick(self.now):
                self.take(decision)
            after = self.core.deadline()
            assert after is None or after > self.now, "a tick must move the deadline on"
        self.now = Instant(until)

    # Requests. Those that may wait return a number for `answers`.

    def _request(self, body: object, key: int, version: int) -> Request[Any]:
        self.asked += 1
        to = ReplyTo(ConnectionId(1), self.asked, key, version)
        return Request(to, "client", "127.0.0.1", body)

    def join(
        self,
        member_id: str = "",
        *,
        group: str = "g",
        instance: str | None = None,
        version: int = 9,
        protocols: Sequence[tuple[str, bytes]] = (("range", b"meta"),),
        protocol_type: str = "consumer",
        session_ms: int = SESSION_MS,
        rebalance_ms: int = REBALANCE_MS,
    ) -> int:
        body = JoinGroupRequest(
            group_id=group,
            session_timeout_ms=session_ms,
            rebalance_timeout_ms=rebalance_ms,
            member_id=member_id,
            group_instance_id=instance,
            protocol_type=protocol_type,
            protocols=tuple(JoinGroupRequestProtocol(name=n, metadata=m) for n, m in protocols),
        )
        self.take(self.core.join(self._request(body, 11, version), self.now))
        return self.asked

    def enter(self, **more: Any) -> tuple[str, int]:
        """Join for the first time, with the id that KIP-394 gives: the id and the number."""
        refused = self.answers.pop(self.join(**more))
        assert refused.error_code == ErrorCode.MEMBER_ID_REQUIRED
        return refused.member_id, self.join(refused.member_id, **more)

    def sync(
        self,
        member_id: str,
        generation: int | None = None,
        shares: dict[str, bytes] | None = None,
        *,
        group: str = "g",
        instance: str | None = None,
        protocol: str | None = "range",
        version: int = 5,
    ) -> int:
        body = SyncGroupRequest(
            group_id=group,
            generation_id=self.group(group).generation if generation is None else generation,
            member_id=member_id,
            group_instance_id=instance,
            protocol_type=self.group(group).protocol_type if version >= 5 else None,
            protocol_name=protocol if version >= 5 else None,
            assignments=tuple(
                SyncGroupRequestAssignment(member_id=each, assignment=share)
                for each, share in (shares or {}).items()
            ),
        )
        self.take(self.core.sync(self._request(body, 14, version), self.now))
        return self.asked

    def heartbeat(
        self,
        member_id: str,
        generation: int | None = None,
        *,
        group: str = "g",
        instance: str | None = None,
    ) -> ErrorCode:
        if generation is None:
            generation = self.group(group).generation
        body = HeartbeatRequest(
            group_id=group,
            generation_id=generation,
            member_id=member_id,
            group_instance_id=instance,
        )
        self.take(self.core.heartbeat(self._request(body, 12, 4), self.now))
        return ErrorCode(self.answers.pop(self.asked).error_code)

    def leave(self, *leavers: tuple[str, str | None], group: str = "g") -> list[ErrorCode]:
        """Members leave, given as (member id, instance id)."""
        members = tuple(MemberIdentity(member_id=m, group_instance_id=i) for m, i in leavers)
        body = LeaveGroupRequest(group_id=group, members=members)
        self.take(self.core.leave(self._request(body, 13, 5), self.now))
        answer = self.answers.pop(self.asked)
        assert answer.error_code == 0
        return [ErrorCode(each.error_code) for each in answer.members]

    def commit(
        self,
        offset: int,
        member_id: str = "",
        generation: int = -1,
        *,
        group: str = "g",
        instance: str | None = None,
        partition: TopicPartition = T0,
        version: int = 9,
        retention_ms: int = -1,
    ) -> ErrorCode:
        claim = Claim(member_id, instance, generation)
        offsets = [NewOffset(partition, offset, metadata="m")]
        error, decision = self.core.commit(
            group, claim, offsets, self.now, version=version, retention_ms=retention_ms
        )
        self.take(decision)
        return error

    def commit_in_transaction(
        self,
        offset: int,
        producer_id: int,
        member_id: str = "",
        generation: int = -1,
        *,
        group: str = "g",
        instance: str | None = None,
        partition: TopicPartition = T0,
    ) -> ErrorCode:
        claim = Claim(member_id, instance, generation)
        error, decision = self.core.commit_transactional(
            group, claim, [NewOffset(partition, offset)], self.now
        )
        if decision.records:
            pairs = tuple(self.core.encode(each) for each in decision.records)
            self.log.append(Transactional(producer_id, pairs))
        for record in decision.records:
            self.core.apply_transactional(producer_id, record, 0)
        return error

    def end(self, producer_id: int, *, commit: bool) -> None:
        """The marker of a producer's transaction."""
        self.log.append(Marker(producer_id, commit))
        self.core.apply_marker(producer_id, 0, commit, 0)

    def offset(self, group: str = "g", partition: TopicPartition = T0) -> int | None:
        value = self.core.offsets.find(group, partition)
        return None if value is None else value.offset

    def is_unstable(self, group: str = "g", partition: TopicPartition = T0) -> bool:
        return self.core.offsets.is_unstable(group, partition)

    # Whole stories.

    def crew(self, size: int, **more: Any) -> list[str]:
        """A stable group of `size` members, each with its own id as assignment; the first leads."""
        ids: list[str] = []
        for _ in range(size):
            ids.append(self.enter(**more)[0])
            for each in ids[:-1]:
                self.join(each, **more)
        group = more.get("group", "g")
        assert set(self.group(group).members) == set(ids)
        self.share(group)
        return ids

    def share(self, group: str = "g") -> None:
        """Every member sends SyncGroup, the leader with all shares."""
        found = self.group(group)
        shares = {each: each.encode() for each in found.members}
        for each, member in list(found.members.items()):
            brings = shares if each == found.leader else {}
            asked = self.sync(each, None, brings, group=group, instance=member.instance_id)
            assert self.answers.get(asked) is None or self.answers[asked].error_code == 0
