"""The group consumer against brokers: parked until told, fenced as a zombie, loud in failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from flowstream.clock import wall_ms
from flowstream.transport.admin import Admin
from flowstream.transport.assignor import GroupAssignor, Member, Part
from flowstream.transport.batches import RecordBuffer
from flowstream.transport.cluster import Cluster
from flowstream.transport.consumer import GroupConsumer
from flowstream.transport.errors import (
    BrokerUnreachable,
    CommitRefused,
    ConsumerFailed,
    OffsetOutOfRange,
)
from flowstream.transport.producer import IdempotentProducer
from flowstream.transport.transaction import TransactionSession
from flowstream.transport.types import ConsumerRecord, NewTopic, TopicPartition

NOW = wall_ms()
"""Kafka's retention deletes records of 1970 while a test runs."""


def spread(members: Mapping[str, Member], topics: Mapping[str, int]) -> dict[str, Part]:
    """Partitions in turn to the members, by name."""
    names = sorted(members)
    all_partitions = [(topic, n) for topic in sorted(topics) for n in range(topics[topic])]
    return {name: Part(all_partitions[i :: len(names)]) for i, name in enumerate(names)}


class Diary:
    """A listener that writes down what it hears, and may do something about it."""

    def __init__(self) -> None:
        self.owned: frozenset[TopicPartition] = frozenset()
        self.revocations: list[frozenset[TopicPartition]] = []
        self.assignments = 0
        self.changed = asyncio.Event()
        self.on_assigned: Callable[[frozenset[TopicPartition]], None] = lambda partitions: None

    async def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        self.revocations.append(partitions)
        self.owned -= partitions

    async def assigned(self, partitions: frozenset[TopicPartition], told: bytes) -> None:
        self.on_assigned(partitions)
        self.owned |= partitions
        self.assignments += 1
        self.changed.set()

    async def until(self, condition: Callable[[], bool], consumer: GroupConsumer) -> None:
        async with asyncio.timeout(40):
            while not condition():
                await consumer.getmany(timeout_ms=20)
                self.changed.clear()


@asynccontextmanager
async def member(
    cluster: Cluster, group: str, topic: str, diary: Diary, **options: int
) -> AsyncIterator[GroupConsumer]:
    assignor = GroupAssignor("test", lambda: b"", spread)
    consumer = GroupConsumer(cluster, group, assignor, diary, heartbeat_interval_ms=100, **options)
    await consumer.start([topic])
    try:
        yield consumer
    finally:
        await consumer.stop()


async def filled_topic(cluster: Cluster, partitions: int, records: int) -> str:
    topic = f"c-{uuid4().hex[:12]}"
    await Admin(cluster).create_topics([NewTopic(topic, partitions)])
    buffer = RecordBuffer(transactional=False)
    for n in range(records):
        buffer.append(TopicPartition(topic, n % partitions), b"k%d" % n, b"v%d" % n, NOW + n)
    await IdempotentProducer(cluster).produce(buffer.take())
    return topic


async def drain(consumer: GroupConsumer, count: int) -> list[ConsumerRecord]:
    found: list[ConsumerRecord] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += records
    return found


async def test_partitions_are_parked_until_seek(cluster: Cluster) -> None:
    topic = await filled_topic(cluster, 2, 20)
    diary = Diary()
    async with member(cluster, f"g-{topic}", topic, diary) as consumer:
        await diary.until(lambda: diary.assignments == 1, consumer)
        for _ in range(3):
            assert await consumer.getmany(timeout_ms=50) == {}
        one, two = TopicPartition(topic, 0), TopicPartition(topic, 1)
        consumer.seek(one, 4)
        records = await drain(consumer, 6)
        assert [record.offset for record in records] == list(range(4, 10))
        assert {record.partition for record in records} == {0}
        assert consumer.highwater(one) == 10
        consumer.pause(two)
        consumer.seek(two, 0)
        assert await consumer.getmany(timeout_ms=100) == {}
        consumer.resume(two)
        assert len(await drain(consumer, 10)) == 10


async def test_a_rebalance_revokes_and_a_zombie_cannot_commit(cluster: Cluster) -> None:
    """G1, G4: what an old generation fetched cannot be committed by anybody."""
    topic = await filled_topic(cluster, 2, 2)
    group = f"g-{topic}"
    session = TransactionSession(cluster, f"id-{topic}")
    await session.init()
    first, second = Diary(), Diary()
    async with member(cluster, group, topic, first) as one:
        await first.until(lambda: first.assignments == 1, one)
        assert len(first.owned) == 2
        old = one.generation()
        assert old is not None
        session.begin()
        await session.add_offsets({TopicPartition(topic, 0): 1}, old)
        await session.commit()
        async with member(cluster, group, topic, second) as two:
            joining = asyncio.create_task(second.until(lambda: bool(second.owned), two))
            await first.until(lambda: first.assignments >= 2 and len(first.owned) == 1, one)
            await joining
            assert first.owned | second.owned == {(topic, 0), (topic, 1)}
            assert first.revocations == [second.owned], "what stays was not taken away"
            new = one.generation()
            assert new is not None
            assert new.generation_id > old.generation_id, "G5"
            session.begin()
            with pytest.raises(CommitRefused):
                await session.add_offsets({TopicPartition(topic, 0): 2}, old)
            await session.abort()
            session.begin()
            await session.add_offsets({TopicPartition(topic, 0): 2}, new)
            await session.commit()
            with pytest.raises(CommitRefused):
                await Admin(cluster).commit_offsets({TopicPartition(topic, 0): 9}, old)
    committed = await Admin(cluster).committed(group, [TopicPartition(topic, 0)])
    assert committed == {(topic, 0): 2}


async def test_G3_a_position_that_is_gone_is_the_callers_affair(cluster: Cluster) -> None:
    topic = await filled_topic(cluster, 1, 3)
    diary = Diary()
    async with member(cluster, f"g-{topic}", topic, diary) as consumer:
        await diary.until(lambda: diary.assignments == 1, consumer)
        consumer.seek(TopicPartition(topic, 0), 99)
        with pytest.raises(OffsetOutOfRange) as raised:
            await drain(consumer, 1)
        assert (raised.value.tp, raised.value.offset) == ((topic, 0), 99)
        consumer.seek(TopicPartition(topic, 0), 2)
        assert [record.value for record in await drain(consumer, 1)] == [b"v2"]


async def test_a_listener_that_raises_is_not_swallowed(cluster: Cluster) -> None:
    topic = await filled_topic(cluster, 1, 1)
    diary = Diary()

    def fail(partitions: frozenset[TopicPartition]) -> None:
        raise RuntimeError("no room")

    diary.on_assigned = fail
    async with member(cluster, f"g-{topic}", topic, diary) as consumer:
        with pytest.raises(ConsumerFailed, match="no room"):
            await drain(consumer, 1)


async def test_the_watchdog_notices_a_consumer_without_progress(cluster: Cluster) -> None:
    topic = await filled_topic(cluster, 1, 1)
    diary = Diary()
    async with member(cluster, f"g-{topic}", topic, diary, stalled_after_ms=1_200) as consumer:
        await diary.until(lambda: diary.assignments == 1, consumer)
        consumer.seek(TopicPartition(topic, 0), 0)
        await drain(consumer, 1)
        for _ in range(15):
            await consumer.getmany(timeout_ms=100)
        fetcher = consumer._fetching._fetcher
        # As aio-libs/aiokafka #1154: the fetch under way is never answered.
        fetcher._get_actions_per_node = lambda assignment: ([], {}, 10, False, [])
        with pytest.raises(ConsumerFailed, match="no fetch"):
            await drain(consumer, 1)


async def test_the_leader_hears_user_data_and_missing_topics(cluster: Cluster) -> None:
    topic = await filled_topic(cluster, 3, 3)
    heard: list[tuple[Mapping[str, Member], Mapping[str, int]]] = []

    def assign(members: Mapping[str, Member], topics: Mapping[str, int]) -> dict[str, Part]:
        heard.append((members, topics))
        return spread(members, topics)

    diary = Diary()
    assignor = GroupAssignor("test", lambda: b"claim", assign)
    consumer = GroupConsumer(cluster, f"g-{topic}", assignor, diary)
    await consumer.start([topic])
    try:
        await diary.until(lambda: diary.assignments >= 1, consumer)
        members, topics = heard[-1]
        assert [found.user_data for found in members.values()] == [b"claim"]
        assert [found.topics for found in members.values()] == [frozenset({topic})]
        assert topics == {topic: 3}
        described = await Admin(cluster).group(f"g-{topic}")
        assert described.state == "Stable"
        assert described.members[0].partitions == tuple(sorted(diary.owned))
        assert f"g-{topic}" in [found.group for found in await Admin(cluster).groups()]
    finally:
        await consumer.stop()


async def test_a_consumer_without_broker_says_so() -> None:
    cluster = Cluster("127.0.0.1:1")
    consumer = GroupConsumer(cluster, "g", GroupAssignor("a", lambda: b"", spread), Diary())
    with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1"):
        await consumer.start(["t"])
