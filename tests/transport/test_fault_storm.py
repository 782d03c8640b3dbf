"""Random faults on every request of many transactions: each is there once, or not at all."""

from __future__ import annotations

import random
from uuid import uuid4

import pytest

from flowstream.clock import wall_ms
from flowstream.transport.admin import Admin
from flowstream.transport.batches import RecordBuffer
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import ProducerFenced, TransactionFailed
from flowstream.transport.reader import PartitionReader
from flowstream.transport.transaction import State, TransactionSession
from flowstream.transport.types import NewTopic, TopicPartition
from flowstream.wire.api import ApiKey
from tests.transport.proxy import Fault, Proxy

NOW = wall_ms()
KEYS = (
    ApiKey.PRODUCE,
    ApiKey.END_TXN,
    ApiKey.ADD_PARTITIONS_TO_TXN,
    ApiKey.INIT_PRODUCER_ID,
    ApiKey.FIND_COORDINATOR,
    ApiKey.METADATA,
)
BOTH = pytest.mark.parametrize("v2", [False, True], ids=["v1", "v2"])


class Storm:
    """Writes numbered transactions over two partitions and keeps what it was told of each."""

    def __init__(self, proxy: Proxy, cluster: Cluster, seed: int) -> None:
        self.rng = random.Random(seed)
        self.committed: set[int] = set()
        self.unknown: set[int] = set()
        self.partitions: list[TopicPartition] = []
        self._proxy = proxy
        self._cluster = cluster

    async def run(self, transactions: int, *, v2: bool) -> None:
        topic = f"s-{uuid4().hex[:12]}"
        await Admin(self._cluster).create_topics([NewTopic(topic, 2)])
        self.partitions = [TopicPartition(topic, n) for n in range(2)]
        session = TransactionSession(
            self._cluster, topic, request_timeout_ms=1_000, timeout_ms=20_000, allow_v2=v2
        )
        await session.init()
        for number in range(transactions):
            for key in KEYS:
                if self.rng.random() < 0.15:
                    self._proxy.inject(key, self.rng.choice(list(Fault)))
            await self.transact(session, number, commit=self.rng.random() < 0.8)
            if self.rng.random() < 0.3:
                await self._proxy.release()
            while session.state is not State.READY:
                await session.init()

    async def transact(self, session: TransactionSession, number: int, *, commit: bool) -> None:
        """One transaction, and what its end says."""
        try:
            session.begin()
            for _ in range(2):
                buffer = RecordBuffer()
                for tp in self.partitions:
                    buffer.append(tp, None, b"%d" % number, NOW)
                await session.produce(buffer.take())
            if commit:
                await session.commit()
                self.committed.add(number)
            else:
                await session.abort()
        except ProducerFenced as error:
            if error.outcome == "unknown":
                self.unknown.add(number)
        except TransactionFailed:
            await session.init()

    async def visible(self, tp: TopicPartition) -> list[int]:
        """The numbers a reader of committed records sees."""
        end = (await Admin(self._cluster).end_offsets([tp]))[tp]
        reader = PartitionReader(self._cluster, tp, 0)
        found: list[int] = []
        while reader.position < end:
            found += [int(record.value or b"") for record in await reader.read(500)]
        return found


async def storm(address: str, seed: int, transactions: int, *, v2: bool) -> Storm:
    """Run a storm and judge it."""
    async with Proxy(address) as proxy:
        cluster = Cluster(proxy.address)
        await cluster.connect()
        try:
            run = Storm(proxy, cluster, seed)
            await run.run(transactions, v2=v2)
            one, two = [await run.visible(tp) for tp in run.partitions]
        finally:
            await cluster.close()
    seen = set(one)
    assert one == two, f"seed {seed}: T9 atomic over partitions"
    assert one == sorted([*seen, *seen]), f"seed {seed}: each record once, in order"
    assert run.committed <= seen, f"seed {seed}: lost {run.committed - seen}"
    assert seen <= run.committed | run.unknown, f"seed {seed}: {seen - run.committed} not committed"
    return run


@BOTH
@pytest.mark.parametrize("seed", [1, 2])
async def test_T3_T9_every_transaction_has_one_outcome(address: str, v2: bool, seed: int) -> None:
    run = await storm(address, seed, 40, v2=v2)
    assert len(run.committed) > 20


@pytest.mark.slow
@BOTH
@pytest.mark.timeout(600)
async def test_a_long_storm(address: str, v2: bool) -> None:
    seed = random.Random().randrange(2**32)
    run = await storm(address, seed, 1_000, v2=v2)
    print(f"seed {seed}: 0 violations in 1000 transactions, unknown {len(run.unknown)}")


@pytest.mark.slow
@BOTH
@pytest.mark.timeout(600)
async def test_a_commit_whose_reply_is_lost_a_thousand_times(address: str, v2: bool) -> None:
    async with Proxy(address) as proxy:
        cluster = Cluster(proxy.address)
        await cluster.connect()
        try:
            run = Storm(proxy, cluster, 0)
            topic = f"s-{uuid4().hex[:12]}"
            await Admin(cluster).create_topics([NewTopic(topic, 2)])
            run.partitions = [TopicPartition(topic, n) for n in range(2)]
            session = TransactionSession(cluster, topic, allow_v2=v2)
            await session.init()
            for number in range(1_000):
                proxy.inject(ApiKey.END_TXN, Fault.LOSE_REPLY)
                await run.transact(session, number, commit=True)
            expected = sorted([*range(1_000), *range(1_000)])
            for tp in run.partitions:
                assert await run.visible(tp) == expected
        finally:
            await cluster.close()
