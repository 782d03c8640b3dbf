"""The simulated consumers: readers of a partition, members of a group, and the final look at
everything.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from flowstream.broker.types import Instant, ReplyTo
from flowstream.wire.batch import Record, decode_records, iter_batches
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from flowstream.wire.messages.heartbeat import HeartbeatRequest
from flowstream.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from flowstream.wire.messages.leave_group import LeaveGroupRequest, MemberIdentity
from flowstream.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from flowstream.wire.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
)
from flowstream.wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from tests.checkers.history import (
    Committed,
    Drained,
    GroupPartition,
    Partition,
    Poll,
    Seek,
    Watermarks,
)
from tests.simulation.actors import TOPIC
from tests.simulation.world import Actor, Call, World

FETCH, OFFSET_COMMIT, OFFSET_FETCH, JOIN, HEARTBEAT, LEAVE, SYNC = 1, 8, 9, 11, 12, 13, 14
Steps = Generator[Call | int, Any, Any]


def stated(to: ReplyTo, body: Any) -> Iterator[Watermarks]:
    """The watermarks that a fetch answer states, in the order of answering: answers overtake each
    other later.
    """
    if to.api_key != FETCH:
        return
    for topic in body.responses:
        for data in topic.partitions:
            if data.error_code == 0:
                where = Partition(topic.topic, data.partition_index)
                high = data.high_watermark
                yield Watermarks(where, data.log_start_offset, data.last_stable_offset, high, high)


@dataclass(slots=True)
class Reader:
    """Reads one partition from its start, as a client filters aborted data (T6)."""

    world: World
    name: str
    partition: int
    committed_only: bool
    position: int = 0
    topic: str = TOPIC
    end: tuple[int, int] = (-1, -1)
    """Last stable offset and high watermark of the last answer."""
    refusal: int = 0
    """What the last answer said against this partition."""
    _aborted: set[int] = field(default_factory=set)

    @property
    def where(self) -> Partition:
        """The partition in the history's words."""
        return Partition(self.topic, self.partition)

    def live(self, until: Instant) -> Actor:
        """Poll now and then."""
        self.world.history.append(Seek(self.name, self.where, 0))
        while self.world.now < until:
            yield from self.poll(max_wait_ms=200)
            yield self.world.rng.randrange(5, 150)

    def drain(self) -> Actor:
        """Read to the end after all writers have stopped; every transaction has ended by then
        (T10).
        """
        self.world.history.append(Seek(self.name, self.where, 0))
        while True:
            answered = yield from self.poll(max_wait_ms=0)
            stable, high = self.end
            if answered and self.position >= high >= 0:
                break
            if answered and self.position >= stable and stable < high:
                self.world.failures.append(
                    f"T10: {self.where}: last stable {stable} < {high} at the end"
                )
                break
            yield 10
        self.world.history.append(Drained(self.name, self.where))

    def poll(self, max_wait_ms: int) -> Steps:
        """One fetch; True when it was answered."""
        wanted = FetchPartition(
            partition=self.partition, fetch_offset=self.position, partition_max_bytes=4096
        )
        request = FetchRequest(
            max_wait_ms=max_wait_ms,
            min_bytes=1,
            max_bytes=8192,
            isolation_level=int(self.committed_only),
            topics=(FetchTopic(topic=self.topic, partitions=(wanted,)),),
        )
        body = yield Call(FETCH, 11, request)
        self.refusal = 0
        if body is None or body.error_code:
            return False
        data = body.responses[0].partitions[0]
        self.refusal = data.error_code
        if self.refusal:
            return False
        self._take(data)
        return True

    def _take(self, data: Any) -> None:
        self.end = (data.last_stable_offset, data.high_watermark)
        aborted = sorted((a.first_offset, a.producer_id) for a in data.aborted_transactions or ())
        taken: list[Record] = []
        view = memoryview(data.records or b"")
        for position, header in iter_batches(view):
            while aborted and aborted[0][0] <= header.last_offset:
                self._aborted.add(aborted.pop(0)[1])
            batch = view[position : position + header.size]
            if header.is_control:
                self._aborted.discard(header.producer_id)
            elif not (header.is_transactional and header.producer_id in self._aborted):
                taken += [r for r in decode_records(batch) if r.offset >= self.position]
            self.position = max(self.position, header.last_offset + 1)
        self.saw(taken)

    def saw(self, records: list[Record]) -> None:
        """Write down what one fetch brought."""
        if records:
            taken = tuple((record.offset, (record.value or b"").decode()) for record in records)
            self.world.history.append(Poll(self.name, self.where, taken, self.committed_only))


@dataclass(slots=True)
class Member:
    """A consumer of a classic group that commits rising offsets of what it owns, and checks G1, G4,
    G5.
    """

    world: World
    group: str
    partitions: int
    commits: dict[int, tuple[int, int]]
    """Shared by all members: partition -> (generation, offset) of the newest accepted commit."""
    member_id: str = ""
    generation: int = -1

    def live(self, until: Instant) -> Actor:
        """Join, commit, now and then leave or fall silent past the session timeout."""
        owned: list[int] = []
        while self.world.now < until:
            if self.generation < 0:
                owned = yield from self.join()
            elif not (yield from self.heartbeat()):
                self.generation = -1
            else:
                yield from self.commit(owned)
            choice = self.world.rng.random()
            if choice < 0.02:
                yield from self.leave()
            elif choice < 0.04:
                yield 4_000  # a zombie: its session expires, then it goes on
                yield from self.commit(owned)
            yield self.world.rng.randrange(20, 200)
        yield from self.leave()

    def join(self) -> Steps:
        """JoinGroup and SyncGroup; the partitions owned, [] when the round failed."""
        protocol = JoinGroupRequestProtocol(name="range", metadata=b"")
        request = JoinGroupRequest(
            group_id=self.group,
            session_timeout_ms=3_000,
            rebalance_timeout_ms=2_000,
            member_id=self.member_id,
            protocol_type="consumer",
            protocols=(protocol,),
        )
        body = yield Call(JOIN, 5, request, timeout_ms=5_000)
        if body is None:
            return []
        if body.error_code:
            known = body.error_code == ErrorCode.MEMBER_ID_REQUIRED
            self.member_id = body.member_id if known else ""
            return []
        self.member_id = body.member_id
        generation = body.generation_id
        plan: list[SyncGroupRequestAssignment] = []
        if body.leader == self.member_id:
            ids = sorted(member.member_id for member in body.members)
            for index, member in enumerate(ids):
                mine = bytes(range(index, self.partitions, len(ids)))
                plan.append(SyncGroupRequestAssignment(member_id=member, assignment=mine))
        sync = SyncGroupRequest(
            group_id=self.group,
            generation_id=generation,
            member_id=self.member_id,
            assignments=tuple(plan),
        )
        body = yield Call(SYNC, 3, sync, timeout_ms=5_000)
        if body is None or body.error_code:
            if body is not None and body.error_code == ErrorCode.UNKNOWN_MEMBER_ID:
                self.member_id = ""
            return []
        self.generation = generation
        return list(bytes(body.assignment))

    def heartbeat(self) -> Steps:
        """True while this member's generation stands."""
        request = HeartbeatRequest(
            group_id=self.group, generation_id=self.generation, member_id=self.member_id
        )
        body = yield Call(HEARTBEAT, 3, request)
        if body is None:
            return True
        if body.error_code == ErrorCode.UNKNOWN_MEMBER_ID:
            self.member_id = ""
        return body.error_code == 0

    def commit(self, owned: list[int]) -> Steps:
        """Commit the next offset of one owned partition; an accepted commit of an old generation
        breaks G4.
        """
        if not owned:
            return
        partition = self.world.rng.choice(owned)
        generation = self.generation
        newest, highest = self.commits.get(partition, (-1, 0))
        offset = highest + 1
        part = OffsetCommitRequestPartition(partition_index=partition, committed_offset=offset)
        request = OffsetCommitRequest(
            group_id=self.group,
            generation_id_or_member_epoch=generation,
            member_id=self.member_id,
            topics=(OffsetCommitRequestTopic(name=TOPIC, partitions=(part,)),),
        )
        body = yield Call(OFFSET_COMMIT, 7, request)
        if body is None or body.topics[0].partitions[0].error_code:
            return
        if generation < newest:  # `newest` was accepted before this commit was sent
            text = f"G4: commit of generation {generation} accepted after one of {newest}"
            self.world.failures.append(text)
        newest, highest = self.commits.get(partition, (-1, 0))
        self.commits[partition] = (max(newest, generation), max(highest, offset))

    def leave(self) -> Steps:
        """LeaveGroup."""
        if self.member_id:
            identity = MemberIdentity(member_id=self.member_id)
            request = LeaveGroupRequest(group_id=self.group, members=(identity,))
            yield Call(LEAVE, 4, request)
        self.member_id, self.generation = "", -1


def look_at_offsets(world: World, targets: list[GroupPartition], *, final: bool) -> Actor:
    """OffsetFetch with require_stable until every offset is stable; written down as committed
    offsets.
    """
    for target in targets:
        topics = OffsetFetchRequestTopics(
            name=target.partition.topic, partition_indexes=(target.partition.partition,)
        )
        group = OffsetFetchRequestGroup(group_id=target.group, topics=(topics,))
        request = OffsetFetchRequest(groups=(group,), require_stable=True)
        while True:
            body = yield Call(OFFSET_FETCH, 8, request)
            if body is not None and not body.groups[0].error_code:
                part = body.groups[0].topics[0].partitions[0]
                if part.error_code == 0:
                    offset = None if part.committed_offset < 0 else part.committed_offset
                    world.history.append(Committed(target, offset, final))
                    break
            yield 50
