"""Reading one partition whose broker cannot read its disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowstream.testing import Broker
from flowstream.transport import reader as module
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import RequestRefused
from flowstream.transport.producer import IdempotentProducer
from flowstream.transport.reader import PartitionReader
from flowstream.transport.types import NewTopic, TopicPartition


async def test_V2_a_damaged_segment_is_told_with_its_offset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STORAGE_RETRIES", 2)
    tp = TopicPartition("t", 0)
    config = {"segment.bytes": str(1 << 20)}
    async with Broker(data=tmp_path) as broker:
        cluster = Cluster(broker.address)
        await cluster.connect()
        await Admin(cluster).create_topics([NewTopic("t", 1, -1, config)])
        producer = IdempotentProducer(cluster)
        for _ in range(4):
            await producer.send(tp, None, b"x" * 400_000, 1, [])
        await producer.close()
        await cluster.close()
    path = tmp_path / "t-0" / "00000000000000000000.log"
    damaged = bytearray(path.read_bytes())
    damaged[200_000] ^= 0xFF
    path.write_bytes(damaged)
    async with Broker(data=tmp_path) as broker:
        cluster = Cluster(broker.address)
        await cluster.connect()
        reader = PartitionReader(cluster, tp, 0)
        for _ in range(module.STORAGE_RETRIES):
            assert await reader.read(10) == []
        with pytest.raises(RequestRefused, match="fetch of t-0 at offset 0: KAFKA_STORAGE_ERROR"):
            await reader.read(10)
        await cluster.close()
