"""Transactions over a real wire, with requests lost, repeated and held back: one outcome each."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from flowstream.clock import wall_ms
from flowstream.transport.admin import Admin
from flowstream.transport.batches import RecordBuffer
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import (
    CommitRefused,
    OffsetsUnstable,
    ProducerFenced,
    TransactionFailed,
)
from flowstream.transport.reader import PartitionReader
from flowstream.transport.transaction import TransactionSession
from flowstream.transport.types import Generation, NewTopic, TopicPartition
from flowstream.wire.api import ApiKey
from tests.transport.proxy import Fault, Proxy

NOW = wall_ms()
"""Kafka's retention deletes records of 1970 while a test runs."""

BOTH = pytest.mark.parametrize("v2", [False, True], ids=["v1", "v2"])


async def new_topic(cluster: Cluster, partitions: int = 1, **configs: str) -> str:
    name = f"t-{uuid4().hex[:12]}"
    settings = {key.replace("_", "."): value for key, value in configs.items()}
    await Admin(cluster).create_topics([NewTopic(name, partitions, configs=settings)])
    return name


@asynccontextmanager
async def session_of(
    cluster: Cluster, *, v2: bool, name: str | None = None, timeout_ms: int = 10_000
) -> AsyncIterator[TransactionSession]:
    session = TransactionSession(
        cluster, name or uuid4().hex, timeout_ms=timeout_ms, request_timeout_ms=2_000, allow_v2=v2
    )
    await session.init()
    assert session.v2 is v2
    yield session


async def write(session: TransactionSession, *records: tuple[TopicPartition, bytes]) -> None:
    buffer = RecordBuffer()
    for tp, value in records:
        buffer.append(tp, None, value, NOW)
    await session.produce(buffer.take())


async def read(cluster: Cluster, tp: TopicPartition, *, committed_only: bool = True) -> list[bytes]:
    """Everything up to the high watermark of now."""
    end = (await Admin(cluster).end_offsets([tp]))[tp]
    reader = PartitionReader(cluster, tp, 0, committed_only=committed_only)
    found: list[bytes] = []
    while reader.position < end:
        found += [record.value or b"" for record in await reader.read(1_000)]
    return found


@BOTH
async def test_T8_T9_commit_shows_all_abort_shows_nothing(cluster: Cluster, v2: bool) -> None:
    topic = await new_topic(cluster, 2)
    one, two = TopicPartition(topic, 0), TopicPartition(topic, 1)
    async with session_of(cluster, v2=v2) as session:
        for number, commit in enumerate([True, False, True, True, False]):
            session.begin()
            await write(session, (one, b"a%d" % number), (two, b"b%d" % number))
            await (session.commit() if commit else session.abort())
        # Ends of v1 transactions reach the partitions a little after the answer.
        session.begin()
        await write(session, (one, b"end"), (two, b"end"))
        await session.commit()
        assert await read(cluster, one) == [b"a0", b"a2", b"a3", b"end"]
        assert await read(cluster, two) == [b"b0", b"b2", b"b3", b"end"]
        assert len(await read(cluster, one, committed_only=False)) == 6


@BOTH
async def test_one_refused_batch_leaves_nothing_visible(cluster: Cluster, v2: bool) -> None:
    good = TopicPartition(await new_topic(cluster), 0)
    small = TopicPartition(await new_topic(cluster, max_message_bytes="300"), 0)
    async with session_of(cluster, v2=v2) as session:
        session.begin()
        with pytest.raises(TransactionFailed, match="MESSAGE_TOO_LARGE"):
            await write(session, (good, b"seen?"), (small, b"x" * 1_000))
        with pytest.raises(TransactionFailed):
            await session.commit()
        await session.abort()
        session.begin()
        await write(session, (good, b"next"), (small, b"next"))
        await session.commit()
        assert await read(cluster, good) == [b"next"]
        assert await read(cluster, small) == [b"next"]


@BOTH
async def test_T11_a_second_owner_fences_the_first(cluster: Cluster, v2: bool) -> None:
    tp = TopicPartition(await new_topic(cluster), 0)
    async with session_of(cluster, v2=v2, name=f"id-{tp.topic}") as old:
        old.begin()
        await write(old, (tp, b"old"))
        async with session_of(cluster, v2=v2, name=f"id-{tp.topic}") as new:
            with pytest.raises(ProducerFenced) as raised:
                await old.commit()
            assert raised.value.outcome == "aborted"
            new.begin()
            await write(new, (tp, b"new"))
            await new.commit()
            with pytest.raises(ProducerFenced):
                old.begin()
        assert await read(cluster, tp) == [b"new"]


@BOTH
async def test_T4_a_transaction_past_its_timeout_is_aborted(cluster: Cluster, v2: bool) -> None:
    tp = TopicPartition(await new_topic(cluster), 0)
    async with session_of(cluster, v2=v2, timeout_ms=1_000) as session:
        session.begin()
        await write(session, (tp, b"late"))
        reader = PartitionReader(cluster, tp, 0)
        async with asyncio.timeout(30):
            while reader.position < 2:  # the record and the abort marker
                assert await reader.read(500) == []
        with pytest.raises((ProducerFenced, TransactionFailed)):
            await session.commit()
        await session.init()
        session.begin()
        await write(session, (tp, b"next"))
        await session.commit()
        assert await read(cluster, tp) == [b"next"]


@BOTH
@pytest.mark.parametrize("fault", [Fault.LOSE_REQUEST, Fault.LOSE_REPLY, Fault.REPEAT])
@pytest.mark.parametrize(
    "key", [ApiKey.PRODUCE, ApiKey.END_TXN, ApiKey.TXN_OFFSET_COMMIT, ApiKey.INIT_PRODUCER_ID]
)
async def test_T3_a_lost_or_repeated_request_has_one_outcome(
    address: str, v2: bool, key: ApiKey, fault: Fault
) -> None:
    async with Proxy(address) as proxy:
        cluster = Cluster(proxy.address)
        await cluster.connect()
        try:
            tp = TopicPartition(await new_topic(cluster), 0)
            group = f"g-{tp.topic}"
            if key is ApiKey.INIT_PRODUCER_ID:
                proxy.inject(key, fault)
            async with session_of(cluster, v2=v2) as session:
                for number in range(4):
                    if number in (1, 2) and key is not ApiKey.INIT_PRODUCER_ID:
                        proxy.inject(key, fault)
                    session.begin()
                    await write(session, (tp, b"%d" % number))
                    # A group without members takes offsets of generation 0 from nobody: none of
                    # the checks is skipped, the answer is a refusal. So commit as a simple group.
                    if key is ApiKey.TXN_OFFSET_COMMIT:
                        await commit_as_nobody(session, tp, number + 1, group)
                    await session.commit()
                assert await read(cluster, tp) == [b"0", b"1", b"2", b"3"]
                if key is ApiKey.TXN_OFFSET_COMMIT:
                    assert await Admin(cluster).committed(group, [tp]) == {tp: 4}
        finally:
            await cluster.close()


async def commit_as_nobody(
    session: TransactionSession, tp: TopicPartition, offset: int, group: str
) -> None:
    """Offsets of a group that has no members, as tools commit them; the session refuses to."""
    with session._step():
        session._touched = True
        nobody = Generation(group, -1, "")
        if not session.v2 and group not in session._groups:
            await session._wire.add_group(session.producer, group)
            session._groups.add(group)
        await session._wire.commit_offsets(session.producer, {tp: offset}, nobody, v2=session.v2)


@BOTH
@pytest.mark.parametrize("later", [0, 1, 2])
async def test_a_held_end_of_one_transaction_cannot_end_another(
    address: str, v2: bool, later: int
) -> None:
    """The reply of an EndTxn is lost, a copy of it arrives `later` transactions after."""
    async with Proxy(address) as proxy:
        cluster = Cluster(proxy.address)
        await cluster.connect()
        try:
            tp = TopicPartition(await new_topic(cluster), 0)
            async with session_of(cluster, v2=v2) as session:
                session.begin()
                await write(session, (tp, b"first"))
                proxy.inject(ApiKey.END_TXN, Fault.HOLD)
                await session.commit()
                for number in range(later):
                    session.begin()
                    await write(session, (tp, b"%d" % number))
                    await session.commit()
                session.begin()
                await write(session, (tp, b"never"))
                await proxy.release()
                await session.abort()
                session.begin()
                await write(session, (tp, b"last"))
                await session.commit()
                expected = [b"first", *(b"%d" % n for n in range(later)), b"last"]
                assert await read(cluster, tp) == expected
        finally:
            await cluster.close()


@BOTH
async def test_a_held_produce_of_an_aborted_transaction_is_refused(address: str, v2: bool) -> None:
    async with Proxy(address) as proxy:
        cluster = Cluster(proxy.address)
        await cluster.connect()
        try:
            tp = TopicPartition(await new_topic(cluster), 0)
            async with session_of(cluster, v2=v2, timeout_ms=3_000) as session:
                session.begin()
                await write(session, (tp, b"kept"))
                await session.commit()
                session.begin()
                await write(session, (tp, b"aborted"))
                proxy.inject(ApiKey.PRODUCE, Fault.HOLD, when=lambda body: True)
                await write(session, (tp, b"aborted too"))
                await session.abort()
                session.begin()
                # This waits until the abort marker is in the partition: before it the late batch
                # would be taken, and aborted with the others.
                await write(session, (tp, b"next"))
                (answer,) = await proxy.release()
                assert answer.responses[0].partition_responses[0].error_code != 0
                await session.commit()
                assert await read(cluster, tp) == [b"kept", b"next"], "nothing hangs"
        finally:
            await cluster.close()


@BOTH
async def test_G2_offsets_are_stable_or_waited_for(cluster: Cluster, v2: bool) -> None:
    tp = TopicPartition(await new_topic(cluster), 0)
    admin = Admin(cluster)
    group = f"g-{tp.topic}"
    async with session_of(cluster, v2=v2) as session:
        session.begin()
        await commit_as_nobody(session, tp, 3, group)
        with pytest.raises(OffsetsUnstable):
            await admin.committed(group, [tp], timeout_ms=200)
        loose = await admin.committed(group, [tp], require_stable=False)
        assert loose == {tp: None}
        waiting = asyncio.create_task(admin.committed(group, [tp]))
        await session.commit()
        assert await waiting == {tp: 3}


@BOTH
async def test_G1_an_unknown_member_cannot_commit(cluster: Cluster, v2: bool) -> None:
    tp = TopicPartition(await new_topic(cluster), 0)
    async with session_of(cluster, v2=v2) as session:
        session.begin()
        await write(session, (tp, b"zombie"))
        with pytest.raises(CommitRefused):
            await session.add_offsets({tp: 1}, Generation(f"g-{tp.topic}", 4, "gone"))
        await session.abort()
        assert await Admin(cluster).committed(f"g-{tp.topic}", [tp]) == {tp: None}


async def ends_of(cluster: Cluster, topic: str) -> dict[TopicPartition, int]:
    """Ends of the three partitions before the 30 records that were just written."""
    tps = [TopicPartition(topic, n) for n in range(3)]
    return {tp: end - 30 for tp, end in (await Admin(cluster).end_offsets(tps)).items()}


@BOTH
async def test_many_batches_and_partitions_keep_their_order(cluster: Cluster, v2: bool) -> None:
    topic = await new_topic(cluster, 3)
    partitions = [TopicPartition(topic, n) for n in range(3)]
    async with session_of(cluster, v2=v2) as session:
        numbers = itertools.count()
        expected: dict[TopicPartition, list[bytes]] = {tp: [] for tp in partitions}
        for _ in range(3):
            buffer = RecordBuffer(max_batch_bytes=500)
            for number in itertools.islice(numbers, 90):
                tp = partitions[number % 3]
                buffer.append(tp, b"%d" % number, b"%d" % number, NOW + number)
                expected[tp].append(b"%d" % number)
            session.begin()
            ends = await session.produce(buffer.take())
            assert ends == {tp: end + 30 for tp, end in (await ends_of(cluster, topic)).items()}
            await session.commit()
        for tp in partitions:
            assert await read(cluster, tp) == expected[tp]
