"""What sensible clients do, step by step: the odd requests of the others then meet open
transactions, groups with members and fetch sessions.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from typing import Any

from flowstream.wire.messages.add_offsets_to_txn import AddOffsetsToTxnRequest
from flowstream.wire.messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnTopic,
)
from flowstream.wire.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest
from flowstream.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from flowstream.wire.messages.heartbeat import HeartbeatRequest
from flowstream.wire.messages.init_producer_id import InitProducerIdRequest
from flowstream.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from flowstream.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from flowstream.wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from flowstream.wire.messages.txn_offset_commit import (
    TxnOffsetCommitRequest,
    TxnOffsetCommitRequestPartition,
    TxnOffsetCommitRequestTopic,
)
from tests.broker.machine import batch, end_txn, produce

Step = tuple[int, int, Any]
"""API key, version, request."""
Story = Generator[Step, Any, None]
"""Is sent the answer to each step, None when there is none yet."""

NAME, GROUP, TOPIC = "t", "g", "b"


def transaction(rng: random.Random) -> Story:
    """A transaction with records and offsets, committed or aborted, in protocol v1 or v2."""
    new = rng.random() < 0.5
    owner = yield 22, 4, InitProducerIdRequest(transactional_id=NAME, transaction_timeout_ms=60_000)
    if owner is None or owner.error_code:
        return
    pid, epoch = owner.producer_id, owner.producer_epoch
    for sequence in range(rng.randrange(1, 4)):
        records = batch(b"x", pid=pid, epoch=epoch, sequence=sequence)
        yield 0, 12 if new else 11, produce(TOPIC, rng.randrange(2), records, name=NAME)
    who = {"transactional_id": NAME, "producer_id": pid, "producer_epoch": epoch}
    if not new:
        yield 24, 3, _joining(pid, epoch)
        yield 25, 3, AddOffsetsToTxnRequest(group_id=GROUP, **who)
    position = TxnOffsetCommitRequestPartition(partition_index=0, committed_offset=7)
    topic = TxnOffsetCommitRequestTopic(name=TOPIC, partitions=(position,))
    version = 5 if new else 3
    yield 28, version, TxnOffsetCommitRequest(group_id=GROUP, topics=(topic,), **who)
    if rng.random() < 0.8:
        yield 26, 5 if new else 3, end_txn(pid, epoch, commit=rng.random() < 0.6, name=NAME)


def _joining(pid: int, epoch: int) -> Any:
    return AddPartitionsToTxnRequest(
        v3_and_below_transactional_id=NAME,
        v3_and_below_producer_id=pid,
        v3_and_below_producer_epoch=epoch,
        v3_and_below_topics=(AddPartitionsToTxnTopic(name=TOPIC, partitions=(0, 1)),),
    )


def member(rng: random.Random) -> Story:
    """A classic member: join, sync, commit, heartbeats."""
    protocol = JoinGroupRequestProtocol(name="range", metadata=b"\0\0\0\0\0\0\0\0\0\0")
    known = {"group_id": GROUP, "protocol_type": "consumer", "protocols": (protocol,)}
    times = {"session_timeout_ms": 10_000, "rebalance_timeout_ms": 10_000}
    first = yield 11, 5, JoinGroupRequest(member_id="", **known, **times)
    if first is None or not first.member_id:
        return
    joined = yield 11, 5, JoinGroupRequest(member_id=first.member_id, **known, **times)
    if joined is None or joined.error_code:
        return
    me: dict[str, Any] = {"group_id": GROUP, "member_id": joined.member_id}
    mine = SyncGroupRequestAssignment(member_id=joined.member_id, assignment=b"x")
    yield 14, 3, SyncGroupRequest(generation_id=joined.generation_id, assignments=(mine,), **me)
    position = OffsetCommitRequestPartition(partition_index=0, committed_offset=rng.randrange(9))
    topic = OffsetCommitRequestTopic(name=TOPIC, partitions=(position,))
    generation = joined.generation_id
    yield 8, 8, OffsetCommitRequest(generation_id_or_member_epoch=generation, topics=(topic,), **me)
    for _ in range(rng.randrange(6)):
        yield 12, 3, HeartbeatRequest(generation_id=generation, **me)


def consumer(rng: random.Random) -> Story:
    """A member of a consumer group (KIP-848)."""
    me, epoch = f"m{rng.randrange(3)}", 0
    for number in range(rng.randrange(2, 8)):
        first = number == 0
        answer = yield (
            68,
            1,
            ConsumerGroupHeartbeatRequest(
                group_id="c",
                member_id=me,
                member_epoch=epoch,
                rebalance_timeout_ms=60_000 if first else -1,
                subscribed_topic_names=("a", TOPIC) if first else None,
                topic_partitions=() if first else None,
            ),
        )
        if answer is None or answer.error_code:
            return
        epoch = answer.member_epoch
    if rng.random() < 0.5:
        yield 68, 1, ConsumerGroupHeartbeatRequest(group_id="c", member_id=me, member_epoch=-1)


def reader(rng: random.Random) -> Story:
    """A fetch session, told to begin, to go on and to end; its last request waits."""
    wanted = FetchPartition(partition=0, fetch_offset=0, partition_max_bytes=1 << 20)
    topics = (FetchTopic(topic=TOPIC, partitions=(wanted,)),)
    session = {"session_id": 0, "session_epoch": 0}
    for number in range(rng.randrange(2, 7)):
        wait = 500 if number else 0
        answer = yield 1, 11, FetchRequest(max_wait_ms=wait, min_bytes=1, topics=topics, **session)
        if answer is None or answer.error_code or not answer.session_id:
            return
        session = {"session_id": answer.session_id, "session_epoch": number + 1}
        topics = () if rng.random() < 0.8 else topics
    if rng.random() < 0.5:
        session["session_epoch"] = -1
        yield 1, 11, FetchRequest(max_wait_ms=0, min_bytes=0, **session)


STORIES = (transaction, member, consumer, reader)
AT_ONCE = 5


class Teller:
    """Several stories at once, each at its own step."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._answers: dict[Story, Any] = {}
        """What each story that goes on is told next."""
        self._current: Story | None = None

    def step(self) -> Step:
        """The next step of one of the stories; its answer goes to `answered`."""
        while True:
            if len(self._answers) < AT_ONCE:
                self._answers[self._rng.choice(STORIES)(self._rng)] = None
            story = self._rng.choice(list(self._answers))
            try:
                step = story.send(self._answers[story])
            except StopIteration:
                del self._answers[story]
                continue
            self._answers[story] = None
            self._current = story
            return step

    def answered(self, answer: Any) -> None:
        """What came of the last step."""
        assert self._current is not None
        self._answers[self._current] = answer
