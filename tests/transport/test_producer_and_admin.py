"""Plain sends, topics, offsets and readers against brokers."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from flowstream.clock import wall_ms
from flowstream.transport.admin import Admin
from flowstream.transport.batches import RecordBuffer
from flowstream.transport.cluster import PARTITIONS_MAX_AGE_MS, Cluster, Coordinator
from flowstream.transport.connection import Security
from flowstream.transport.errors import (
    BrokerUnreachable,
    OffsetOutOfRange,
    RefusedForGood,
    RequestRefused,
    SendFailed,
    TopicExists,
    UnknownTopic,
)
from flowstream.transport.producer import IdempotentProducer
from flowstream.transport.reader import PartitionReader
from flowstream.transport.types import LogRecord, NewTopic, RecordMetadata, TopicPartition
from flowstream.wire.api import ApiKey
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.hashing import partition_for_key
from flowstream.wire.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest
from tests.transport.fake_broker import DROP, FakeBroker
from tests.transport.proxy import Fault, Proxy

NOW = wall_ms()
"""Kafka's retention deletes records of 1970 while a test runs."""


async def new_topic(cluster: Cluster, partitions: int = 1, **configs: str) -> str:
    name = f"p-{uuid4().hex[:12]}"
    settings = {key.replace("_", "."): value for key, value in configs.items()}
    await Admin(cluster).create_topics([NewTopic(name, partitions, configs=settings)])
    return name


async def everything(cluster: Cluster, tp: TopicPartition) -> list[LogRecord]:
    end = (await Admin(cluster).end_offsets([tp]))[tp]
    reader = PartitionReader(cluster, tp, 0)
    found: list[LogRecord] = []
    while reader.position < end:
        found += await reader.read(1_000)
    return found


async def test_X3_a_cancelled_connect_leaves_no_connection_open() -> None:
    async with FakeBroker({}) as broker:
        connecting = asyncio.create_task(Cluster(broker.address).connect())
        await broker.until(lambda: broker.seen(ApiKey.METADATA))
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await broker.until(broker.is_left)


async def test_V2_a_record_that_cannot_be_encoded_fails_alone_and_at_once(cluster: Cluster) -> None:
    topic = await new_topic(cluster)
    producer = IdempotentProducer(cluster)
    tp = TopicPartition(topic, 0)
    bad: Any = [("header", "text where bytes belong")]
    outcomes = await asyncio.gather(
        producer.send(tp, b"k", b"first", NOW),
        producer.send(tp, b"k", b"bad", NOW, bad),
        producer.send(tp, b"k", b"second", NOW),
        return_exceptions=True,
    )
    assert [type(each) for each in outcomes] == [RecordMetadata, TypeError, RecordMetadata]
    with pytest.raises(TypeError):
        await producer.send(tp, b"k", b"bad", NOW, bad)
    assert (await producer.send(tp, b"k", b"third", NOW)).offset == 2
    assert [r.value for r in await everything(cluster, tp)] == [b"first", b"second", b"third"]


async def test_sends_return_offsets_in_order(cluster: Cluster) -> None:
    topic = await new_topic(cluster, 3)
    producer = IdempotentProducer(cluster)
    keys = [b"key-%d" % n for n in range(60)]
    sent = await asyncio.gather(
        *(producer.send(topic, key, key, NOW, [("h", b"1")]) for key in keys)
    )
    assert [place.partition for place in sent] == [partition_for_key(key, 3) for key in keys]
    for partition in range(3):
        offsets = [place.offset for place in sent if place.partition == partition]
        assert offsets == list(range(len(offsets)))
        records = await everything(cluster, TopicPartition(topic, partition))
        assert [r.value for r in records] == [
            k for k in keys if partition_for_key(k, 3) == partition
        ]
        assert all(r.headers == [("h", b"1")] and r.timestamp == NOW for r in records)
    await producer.close()


async def test_V1_a_send_waits_for_a_cluster_that_is_away_when_it_looks_for_partitions(
    address: str,
) -> None:
    async with Proxy(address) as proxy:
        cluster = Cluster(proxy.address)
        await cluster.connect()
        try:
            topic = await new_topic(cluster)
            proxy.inject(ApiKey.METADATA, Fault.LOSE_REQUEST, 3)
            sent = await IdempotentProducer(cluster).send(topic, b"k", b"v")
            assert sent.offset == 0
            away, other = IdempotentProducer(cluster, timeout_ms=0), await new_topic(cluster)
            proxy.inject(ApiKey.METADATA, Fault.LOSE_REQUEST, 3)
            with pytest.raises(SendFailed, match="was not sent"):
                await away.send(other, b"k", b"v")
        finally:
            await cluster.close()


@pytest.mark.parametrize("fault", [Fault.LOSE_REQUEST, Fault.LOSE_REPLY, Fault.REPEAT])
async def test_P1_a_lost_or_repeated_produce_is_stored_once(address: str, fault: Fault) -> None:
    async with Proxy(address) as proxy:
        cluster = Cluster(proxy.address)
        await cluster.connect()
        try:
            topic = await new_topic(cluster)
            producer = IdempotentProducer(cluster)
            offsets = []
            for n in range(6):
                if n % 2:
                    proxy.inject(ApiKey.PRODUCE, fault)
                offsets.append((await producer.send(topic, None, b"%d" % n)).offset)
            assert offsets == list(range(6))
            records = await everything(cluster, TopicPartition(topic, 0))
            assert [record.value for record in records] == [b"%d" % n for n in range(6)]
        finally:
            await cluster.close()


async def test_P1_what_follows_a_batch_that_was_cut_off_is_no_repeat_of_it(address: str) -> None:
    """Whoever commits at least once cuts off a commit that is on its way, and makes another."""
    async with Proxy(address) as proxy:
        cluster = Cluster(proxy.address)
        await cluster.connect()
        try:
            tp = TopicPartition(await new_topic(cluster), 0)
            producer = IdempotentProducer(cluster)

            async def produce(value: bytes) -> None:
                buffer = RecordBuffer(transactional=False)
                buffer.append(tp, None, value, NOW)
                await producer.produce(buffer.take())

            await produce(b"first")
            proxy.inject(ApiKey.PRODUCE, Fault.HOLD)
            cut_off = asyncio.create_task(produce(b"second"))
            async with asyncio.timeout(10):
                while not proxy.is_holding:  # noqa: ASYNC110 - it is nobody's event
                    await asyncio.sleep(0)
            cut_off.cancel()
            await asyncio.wait((cut_off,))
            await proxy.release()
            await produce(b"third")
            records = await everything(cluster, tp)
            assert [record.value for record in records] == [b"first", b"second", b"third"]
        finally:
            await cluster.close()


async def test_L4_a_batch_that_is_too_large_for_its_topic_goes_in_smaller_ones(
    cluster: Cluster,
) -> None:
    """In order, with the same producer, and only what is too large by itself fails."""
    topic = await new_topic(cluster, max_message_bytes="2000")
    producer = IdempotentProducer(cluster)
    tp = TopicPartition(topic, 0)
    values = [b"%03d" % n + b"x" * 300 for n in range(40)]
    values[17] = b"y" * 5_000
    outcomes = await asyncio.gather(
        *(producer.send(tp, b"k", value, NOW) for value in values), return_exceptions=True
    )
    assert isinstance(outcomes[17], RefusedForGood)
    assert "max.message.bytes" in str(outcomes[17])
    del outcomes[17], values[17]
    assert [each.offset for each in outcomes if isinstance(each, RecordMetadata)] == list(range(39))
    assert [record.value for record in await everything(cluster, tp)] == values
    identity = producer._identity
    assert (await producer.send(tp, b"k", b"after", NOW)).offset == 39
    assert producer._identity == identity


async def test_a_refused_send_raises_and_the_next_one_works(cluster: Cluster) -> None:
    topic = await new_topic(cluster, max_message_bytes="400")
    producer = IdempotentProducer(cluster)
    with pytest.raises(SendFailed, match="MESSAGE_TOO_LARGE"):
        await producer.send(topic, None, b"x" * 1_000)
    assert (await producer.send(topic, None, b"small")).offset == 0
    with pytest.raises(UnknownTopic):
        await producer.send(f"{topic}-missing", None, b"x")


async def test_topics_are_described_created_once_and_deleted(cluster: Cluster) -> None:
    admin = Admin(cluster)
    topic = await new_topic(cluster, 4, cleanup_policy="compact")
    with pytest.raises(TopicExists, match=topic):
        await admin.create_topics([NewTopic(topic, 1)])
    with pytest.raises(RequestRefused, match="INVALID"):
        await admin.create_topics([NewTopic(f"{topic}-bad", 1, configs={"no.such": "1"})])
    found = (await admin.topics([topic, f"{topic}-missing"], configs=True))[topic]
    assert (found.partitions, found.internal) == (4, False)
    assert found.topic_id != bytes(16)
    assert found.configs is not None
    assert found.configs["cleanup.policy"] == "compact"
    assert f"{topic}-missing" not in await admin.topics()
    tps = [TopicPartition(topic, n) for n in range(4)]
    assert await admin.end_offsets(tps) == dict.fromkeys(tps, 0)
    assert await admin.beginning_offsets(tps) == dict.fromkeys(tps, 0)
    await admin.delete_topics([topic])
    async with asyncio.timeout(10):
        while topic in await admin.topics():
            pass  # Kafka's metadata follows a little later
    with pytest.raises(UnknownTopic):
        await admin.delete_topics([topic])


async def test_offsets_of_a_group_without_members(cluster: Cluster) -> None:
    admin = Admin(cluster)
    topic = await new_topic(cluster)
    tp = TopicPartition(topic, 0)
    assert await admin.committed(f"none-{topic}", [tp]) == {tp: None}
    assert await admin.group_offsets(f"none-{topic}") == {}
    assert (await admin.group(f"none-{topic}")).state == "Dead"


async def test_a_group_of_the_consumer_protocol_is_described(cluster: Cluster) -> None:
    admin = Admin(cluster)
    topic = await new_topic(cluster, 2)
    group = f"g-{topic}"
    wanted = {TopicPartition(topic, 0), TopicPartition(topic, 1)}
    to, epoch = Coordinator("group", group), 0
    async with asyncio.timeout(30):
        while True:
            body = ConsumerGroupHeartbeatRequest(
                group_id=group,
                member_id="m",
                member_epoch=epoch,
                rebalance_timeout_ms=1000,
                subscribed_topic_names=(topic,),
                topic_partitions=(),
            )
            joined = await cluster.request(
                to, ApiKey.CONSUMER_GROUP_HEARTBEAT, lambda _, body=body: body, min_version=1
            )
            if joined.error_code == 0:
                epoch = joined.member_epoch
                found = await admin.group(group)
                (member,) = found.members
                if set(member.partitions) == wanted:
                    break
            else:
                cluster.forget(to)  # a real Kafka is still making its __consumer_offsets
            await asyncio.sleep(0.05)
    assert found.state == "Stable"
    assert member.member_id == "m"


async def test_a_reader_moves_and_refuses_what_is_gone(cluster: Cluster) -> None:
    topic = await new_topic(cluster)
    tp = TopicPartition(topic, 0)
    reader = PartitionReader(cluster, tp, 0)
    assert await reader.read(50) == []
    assert reader.position == 0
    producer = IdempotentProducer(cluster)
    await asyncio.gather(*(producer.send(tp, b"k", b"%d" % n, NOW + n) for n in range(10)))
    middle = PartitionReader(cluster, tp, 7)
    assert [record.offset for record in await middle.read(500)] == [7, 8, 9]
    assert (middle.position, middle.high_watermark, middle.log_start) == (10, 10, 0)
    with pytest.raises(OffsetOutOfRange, match="no offset 11"):
        await PartitionReader(cluster, tp, 11).read(50)


async def test_an_address_without_broker_is_named_with_the_remedy() -> None:
    with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1\b.*flowstream broker"):
        await Cluster("127.0.0.1:1").connect()
    secured = Cluster("127.0.0.1:1", security=Security("SASL_PLAINTEXT", None, "PLAIN", "u", "p"))
    with pytest.raises(BrokerUnreachable, match="user, password or token"):
        await secured.connect()


async def test_a_dropped_connection_is_opened_again() -> None:
    async with FakeBroker({"t": 1}) as broker:
        cluster = Cluster(broker.address)
        await cluster.connect()
        broker.script(ApiKey.PRODUCE, DROP, DROP)
        producer = IdempotentProducer(cluster)
        assert (await producer.send("t", b"k", b"v")).offset == 0
        assert len(broker.seen(ApiKey.PRODUCE)) == 3
        await cluster.close()


async def test_a_topic_that_grew_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10**9]
    monkeypatch.setattr("flowstream.transport.cluster.monotonic_ms", lambda: now[0])
    async with FakeBroker({"t": 2}) as broker:
        cluster = Cluster(broker.address)
        await cluster.connect()
        assert await cluster.partitions("t") == 2
        broker.topics["t"] = 3
        assert await cluster.partitions("t") == 2
        now[0] += PARTITIONS_MAX_AGE_MS
        assert await cluster.partitions("t") == 3
        with pytest.raises(UnknownTopic):
            await cluster.leader(TopicPartition("t", 3))
        broker.script(ApiKey.METADATA, int(ErrorCode.LEADER_NOT_AVAILABLE))
        broker.topics["young"] = 1
        assert await cluster.partitions("young") == 1
        await cluster.close()


async def test_V2_a_topic_that_was_created_and_may_not_be_described_is_not_waited_for() -> None:
    async with FakeBroker({"t": 1}) as broker:
        cluster = Cluster(broker.address)
        await cluster.connect()
        broker.script(ApiKey.METADATA, int(ErrorCode.TOPIC_AUTHORIZATION_FAILED))
        with pytest.raises(RequestRefused, match="topic 't': TOPIC_AUTHORIZATION_FAILED: allow"):
            await Admin(cluster)._await_leaders(["t"])
        await cluster.close()
