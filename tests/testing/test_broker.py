"""The broker for users' tests: real, on a free port, gone at the end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from flowstream.errors import FlowstreamError
from flowstream.testing import Broker


async def written(address: str, value: bytes) -> int:
    producer = AIOKafkaProducer(bootstrap_servers=address)
    await producer.start()
    try:
        return (await producer.send_and_wait("topic", value, partition=0)).offset
    finally:
        await producer.stop()


async def first(address: str) -> bytes | None:
    consumer = AIOKafkaConsumer(bootstrap_servers=address)
    await consumer.start()
    try:
        partition = TopicPartition("topic", 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        value: bytes | None = (await consumer.getone()).value
        return value
    finally:
        await consumer.stop()


async def test_any_client_reaches_it() -> None:
    async with Broker({"num.partitions": "1"}) as broker:
        assert await written(broker.address, b"hello") == 0
        assert await first(broker.address) == b"hello"


async def test_a_directory_of_ones_own_outlives_it(tmp_path: Path) -> None:
    async with Broker(data=tmp_path) as broker:
        await written(broker.address, b"kept")
    async with Broker(data=tmp_path) as broker:
        assert await first(broker.address) == b"kept"


async def test_one_that_cannot_start_leaves_no_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for settings in ({"no.such": "1"}, {"listeners": "SASL_SSL://127.0.0.1:0"}):
        with pytest.raises(FlowstreamError):
            async with Broker(settings):
                pass
        assert os.listdir(tmp_path) == []


def test_outside_its_block_it_has_no_address() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        _ = Broker().address
