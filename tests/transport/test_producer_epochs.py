"""A producer after a batch that was lost or given up on: its next epoch, and what is refused."""

from __future__ import annotations

import asyncio

import pytest

from flowstream.transport.batches import PendingBatch, RecordBuffer
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import SendFailed
from flowstream.transport.producer import LAST_EPOCH, IdempotentProducer
from flowstream.transport.refusals import MOST, Refusals
from flowstream.transport.types import TopicPartition
from flowstream.wire.api import ApiKey
from flowstream.wire.batch_header import read_header
from flowstream.wire.error_codes import ErrorCode
from tests.transport.fake_broker import DROP, FakeBroker
from tests.transport.proxy import Fault, Proxy
from tests.transport.test_producer_and_admin import NOW, everything, new_topic


def one(tp: TopicPartition, value: bytes) -> dict[TopicPartition, list[PendingBatch]]:
    """A batch of one record."""
    buffer = RecordBuffer(transactional=False)
    buffer.append(tp, b"key", value, NOW)
    return buffer.take()


@pytest.mark.parametrize("is_cut_off", [True, False])
async def test_L4_P1_a_batch_that_comes_late_does_not_land_behind_what_was_sent_in_its_place(
    address: str, *, is_cut_off: bool
) -> None:
    """A changelog's last value of a key would be an old one: its row would go back with the next
    restore, and with it what was counted.
    """
    async with Proxy(address) as proxy:
        cluster = Cluster(proxy.address)
        await cluster.connect()
        try:
            tp = TopicPartition(await new_topic(cluster), 0)
            producer = IdempotentProducer(cluster, timeout_ms=60_000 if is_cut_off else 0)

            async def produce(value: bytes) -> None:
                await producer.produce(one(tp, value))

            # A Kafka that has just begun has no producer ids for a moment.
            other = TopicPartition(await new_topic(cluster), 0)
            await IdempotentProducer(cluster).produce(one(other, b"0"))
            await produce(b"1")
            proxy.inject(ApiKey.PRODUCE, Fault.HOLD)
            lost = asyncio.create_task(produce(b"2"))
            async with asyncio.timeout(10):
                while not proxy.is_holding:  # noqa: ASYNC110 - it is nobody's event
                    await asyncio.sleep(0)
            if is_cut_off:
                lost.cancel()
            await asyncio.wait((lost,))
            await produce(b"2 again")
            await produce(b"3")
            (late,) = await proxy.release()
            (answer,) = late.responses[0].partition_responses
            assert answer.error_code == ErrorCode.INVALID_PRODUCER_EPOCH
            records = await everything(cluster, tp)
            assert [record.value for record in records] == [b"1", b"2 again", b"3"]
        finally:
            await cluster.close()


async def test_P1_after_its_last_epoch_a_producer_is_a_new_one(cluster: Cluster) -> None:
    topic = await new_topic(cluster)
    producer = IdempotentProducer(cluster)
    await producer.send(topic, None, b"first")
    assert producer._identity is not None
    last = (producer._identity[0], LAST_EPOCH)
    producer._identity = last
    producer._next_epoch(last)
    assert producer._identity is None
    assert (await producer.send(topic, None, b"second")).offset == 1
    assert producer._identity != last


async def test_after_an_unknown_outcome_the_producer_goes_on_in_its_next_epoch() -> None:
    async with FakeBroker({"t": 1}) as broker:
        cluster = Cluster(broker.address)
        await cluster.connect()
        producer = IdempotentProducer(cluster, timeout_ms=50, request_timeout_ms=100)
        broker.script(ApiKey.PRODUCE, *[DROP] * 50)
        with pytest.raises(SendFailed, match="may or may not"):
            await producer.send("t", b"k", b"v")
        broker._scripts.clear()
        await producer.send("t", b"k", b"v")
        assert len(broker.seen(ApiKey.INIT_PRODUCER_ID)) == 1
        sent = [
            read_header(produce.topic_data[0].partition_data[0].records)
            for produce in broker.seen(ApiKey.PRODUCE)
        ]
        first, last = sent[0], sent[-1]
        assert (last.producer_id, last.producer_epoch) == (
            first.producer_id,
            first.producer_epoch + 1,
        )
        assert (first.base_sequence, last.base_sequence) == (0, 0)
        await cluster.close()


async def test_V2_what_is_refused_says_why_for_who_counts_it() -> None:
    """A worker that is at_least_once went back to its last commit for ever."""
    async with FakeBroker({"t": 1}) as broker:
        cluster = Cluster(broker.address)
        await cluster.connect()
        producer, refusals = IdempotentProducer(cluster), Refusals()
        broker.script(ApiKey.PRODUCE, *[ErrorCode.UNKNOWN_SERVER_ERROR] * MOST)
        for number in range(MOST):
            with pytest.raises(SendFailed, match="UNKNOWN_SERVER_ERROR") as caught:
                await producer.produce(one(TopicPartition("t", 0), b"v"))
            if number < MOST - 1:
                refusals.met(caught.value, number)
        with pytest.raises(SendFailed):
            refusals.met(caught.value, MOST)
        await cluster.close()
