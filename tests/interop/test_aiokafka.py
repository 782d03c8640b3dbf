"""aiokafka against our broker: produce, groups, transactions, admin."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import ProducerFenced, TopicAlreadyExistsError

from tests.interop.conftest import BrokerProcess


@asynccontextmanager
async def producer(broker: BrokerProcess, **options: object):
    made = AIOKafkaProducer(bootstrap_servers=broker.address, **options)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


@asynccontextmanager
async def consumer(broker: BrokerProcess, *topics: str, **options: object):
    settings = {"auto_offset_reset": "earliest", "enable_auto_commit": False, **options}
    made = AIOKafkaConsumer(*topics, bootstrap_servers=broker.address, **settings)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def take(reader: AIOKafkaConsumer, count: int) -> list[bytes]:
    return [(await asyncio.wait_for(reader.getone(), 10)).value for _ in range(count)]


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
async def test_every_codec_comes_back_as_it_went(broker: BrokerProcess, codec: str | None) -> None:
    topic = f"codec-{codec}"
    values = [b"%d" % n * 50 for n in range(200)]
    async with producer(broker, compression_type=codec, linger_ms=5) as sender:
        sent = [await sender.send(topic, value, key=b"k") for value in values]
        offsets = [(await each).offset for each in sent]
    assert offsets == list(range(200))
    async with consumer(broker, topic) as reader:
        assert await take(reader, 200) == values


async def test_G6_a_group_goes_on_where_it_committed(broker: BrokerProcess) -> None:
    async with producer(broker, enable_idempotence=True) as sender:
        for n in range(10):
            await sender.send_and_wait("resumed", b"%d" % n)
    async with consumer(broker, "resumed", group_id="resume") as reader:
        assert await take(reader, 4) == [b"0", b"1", b"2", b"3"]
        await reader.commit({TopicPartition("resumed", 0): 4})
    async with consumer(broker, "resumed", group_id="resume") as reader:
        assert await take(reader, 6) == [b"4", b"5", b"6", b"7", b"8", b"9"]


async def test_a_group_shares_the_partitions(broker: BrokerProcess) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.address)
    await admin.start()
    await admin.create_topics([NewTopic("shared", 4, 1)])
    again = await admin.create_topics([NewTopic("shared", 4, 1)])
    assert [error for _, error, _ in again.topic_errors] == [TopicAlreadyExistsError.errno]
    await admin.close()
    first = AIOKafkaConsumer("shared", bootstrap_servers=broker.address, group_id="sharing")
    second = AIOKafkaConsumer("shared", bootstrap_servers=broker.address, group_id="sharing")
    await asyncio.gather(first.start(), second.start())
    try:
        async with asyncio.timeout(20):
            while not (len(first.assignment()) == len(second.assignment()) == 2):
                await asyncio.gather(first.getmany(timeout_ms=50), second.getmany(timeout_ms=50))
        assert first.assignment() | second.assignment() == {
            TopicPartition("shared", n) for n in range(4)
        }
    finally:
        await asyncio.gather(first.stop(), second.stop())


async def test_T8_aborted_data_is_not_read_committed(broker: BrokerProcess) -> None:
    async with producer(broker, transactional_id="tx-aio") as sender:
        for n in range(4):
            await sender.begin_transaction()
            await sender.send_and_wait("tx", b"%d" % n)
            await (sender.commit_transaction() if n % 2 else sender.abort_transaction())
    async with consumer(broker, "tx", isolation_level="read_committed") as reader:
        assert await take(reader, 2) == [b"1", b"3"]
    async with consumer(broker, "tx") as reader:
        assert await take(reader, 4) == [b"0", b"1", b"2", b"3"]


async def test_T9_offsets_commit_with_the_data(broker: BrokerProcess) -> None:
    source = TopicPartition("tx-source", 0)
    async with producer(broker, transactional_id="tx-offsets") as sender:
        await sender.begin_transaction()
        await sender.send_and_wait("tx-source", b"in")
        await sender.send_offsets_to_transaction({source: 1}, "tx-group")
        await sender.abort_transaction()
        async with consumer(broker, group_id="tx-group") as reader:
            assert await reader.committed(source) is None
        await sender.begin_transaction()
        await sender.send_and_wait("tx-source", b"in")
        await sender.send_offsets_to_transaction({source: 2}, "tx-group")
        await sender.commit_transaction()
    async with consumer(broker, group_id="tx-group") as reader:
        assert await reader.committed(source) == 2


async def test_T11_a_second_producer_fences_the_first(broker: BrokerProcess) -> None:
    first = AIOKafkaProducer(bootstrap_servers=broker.address, transactional_id="fenced")
    await first.start()
    await first.begin_transaction()
    await first.send_and_wait("fencing", b"first")
    async with producer(broker, transactional_id="fenced") as second, second.transaction():
        await second.send_and_wait("fencing", b"second")
    with pytest.raises(ProducerFenced):
        await first.commit_transaction()
    await first.stop()
    async with consumer(broker, "fencing", isolation_level="read_committed") as reader:
        assert await take(reader, 1) == [b"second"]


async def test_D4_what_was_acknowledged_survives_a_kill(own_broker: BrokerProcess) -> None:
    async with producer(own_broker, enable_idempotence=True) as sender:
        for n in range(50):
            await sender.send_and_wait("kept", b"%d" % n)
    async with consumer(own_broker, "kept", group_id="keeper") as reader:
        await take(reader, 20)
        await reader.commit({TopicPartition("kept", 0): 20})
    port = own_broker.port
    own_broker.kill()
    own_broker.start(port)
    async with consumer(own_broker, "kept", group_id="keeper") as reader:
        assert await take(reader, 30) == [b"%d" % n for n in range(20, 50)]
    assert own_broker.stop() == 0
    own_broker.start(port)
    async with consumer(own_broker, "kept") as reader:
        assert await take(reader, 50) == [b"%d" % n for n in range(50)]


async def test_timestamps_find_offsets(broker: BrokerProcess) -> None:
    async with producer(broker) as sender:
        for n in range(5):
            await sender.send_and_wait("timed", b"%d" % n, timestamp_ms=1_000_000 + n * 1000)
    tp = TopicPartition("timed", 0)
    async with consumer(broker) as reader:
        found = await reader.offsets_for_times({tp: 1_001_500})
        assert (found[tp].offset, found[tp].timestamp) == (2, 1_002_000)
        assert (await reader.offsets_for_times({tp: 9_000_000}))[tp] is None
        assert await reader.beginning_offsets([tp]) == {tp: 0}
        assert await reader.end_offsets([tp]) == {tp: 5}
