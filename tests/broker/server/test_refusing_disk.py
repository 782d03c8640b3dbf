"""A disk that refuses any one operation: the node stops without an answer, says what and why, and
the next one on the same disk has everything that was acknowledged (D2, L2).
"""

from __future__ import annotations

import asyncio
import errno
import random
import re

import pytest

from flowstream.broker.storage.memory import MemoryStorage
from flowstream.broker.types import TopicPartition
from flowstream.errors import StorageError
from flowstream.wire.batch import decode_records, encode_batch
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from flowstream.wire.messages.end_txn import EndTxnRequest
from flowstream.wire.messages.init_producer_id import InitProducerIdRequest
from flowstream.wire.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from tests.broker.server.serving import RawClient, Served, served

PARTITIONS = 3
SETTINGS = {
    "log_roll_ms": "50",
    "offsets_topic_num_partitions": "1",
    "transaction_state_log_num_partitions": "1",
}
STEPS = range(12)


def produce(number: int, *, owner: tuple[int, int] | None = None) -> ProduceRequest:
    """Record `number` for every partition; its time makes every other one roll the segment."""
    producer_id, epoch = owner or (-1, -1)
    records = encode_batch(
        [(1_760_000_000_000 + number * 30, None, b"%d" % number, ())],
        producer_id=producer_id,
        producer_epoch=epoch,
        base_sequence=-1 if owner is None else 0,
        transactional=owner is not None,
    )
    data = tuple(
        PartitionProduceData(index=index, records=bytes(records)) for index in range(PARTITIONS)
    )
    return ProduceRequest(
        transactional_id=None if owner is None else "t",
        acks=-1,
        timeout_ms=1000,
        topic_data=(TopicProduceData(name="t", partition_data=data),),
    )


async def create(client: RawClient) -> None:
    """The topic, when it is not there yet."""
    topic = CreatableTopic(name="t", num_partitions=PARTITIONS, replication_factor=1)
    await client.ask(19, 5, CreateTopicsRequest(topics=(topic,), timeout_ms=1000))


async def story(client: RawClient, acknowledged: list[int]) -> None:
    """Records, every third one in a transaction; the numbers that were acknowledged."""
    await create(client)
    for number in STEPS:
        if number % 3 < 2:
            answer = await client.ask(0, 12, produce(number))
        else:
            asked = InitProducerIdRequest(transactional_id="t", transaction_timeout_ms=60_000)
            while (owner := await client.ask(22, 4, asked)).error_code:
                pass  # the coordinator's topic is being made
            mine = owner.producer_id, owner.producer_epoch
            answer = await client.ask(0, 12, produce(number, owner=mine))
            end = EndTxnRequest(
                transactional_id="t", producer_id=mine[0], producer_epoch=mine[1], committed=True
            )
            assert (await client.ask(26, 5, end)).error_code == 0
        assert not any(each.error_code for each in answer.responses[0].partition_responses)
        acknowledged.append(number)


def values(broker: Served) -> list[set[int]]:
    """The numbers in each partition."""
    logs = broker.driver._node.cores.logs.by_name
    names = [TopicPartition("t", number) for number in range(PARTITIONS)]
    return [
        {
            int(record.value or b"")
            for batch in logs[name].scan()
            if not int.from_bytes(batch[21:23], "big") & 32
            for record in decode_records(batch)
        }
        for name in names
        if name in logs
    ]


async def total_operations() -> int:
    """How many operations a life without faults takes."""
    storage = MemoryStorage()
    async with served(storage=storage, **SETTINGS) as broker:
        client = await broker.client()
        await story(client, [])
        await client.close()
    return storage.operations


def check_words(error: BaseException) -> None:
    """The path, what the system says, the remedy."""
    assert isinstance(error, StorageError)
    assert re.match(r"\S+: [A-Z].*; the disk", str(error)), str(error)


async def refuse_at(operation: int, code: int) -> None:
    """A life with a disk that refuses everything from one operation on, and the life after it."""
    storage, acknowledged = MemoryStorage(), list[int]()
    storage.fail("*", code, after=operation)
    try:
        async with served(storage=storage, **SETTINGS) as broker:
            client = await broker.client()
            try:
                await story(client, acknowledged)
            except (asyncio.IncompleteReadError, ConnectionError):
                error = await asyncio.wait_for(broker.driver.ended, 5)
                check_words(error)
                before = storage.operations
                await broker.driver.stop()
                assert storage.operations == before, "written after the failure"
            await client.close()
    except StorageError as error:
        check_words(error)
    storage.heal()
    if random.Random(operation).random() < 0.5:
        storage.crash(random.Random(operation))
    async with served(storage=storage, **SETTINGS) as broker:
        client = await broker.client()
        await create(client)  # afterwards what the start decided is written
        for found in values(broker):
            assert set(acknowledged) <= found
        assert len(values(broker)) == PARTITIONS
        await story(client, [])
        await client.close()


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
async def test_D2_L2_any_refused_operation_stops_the_node_and_loses_nothing(code: int) -> None:
    total = await total_operations()
    assert total > 100
    for operation in range(0 if code == errno.EIO else 2, total, 4):
        try:
            await refuse_at(operation, code)
        except BaseException as error:
            error.add_note(f"operation {operation} of {total}")
            raise
