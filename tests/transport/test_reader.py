"""Reading one partition: a broker that cannot read its disk, records that nobody else wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder

from flowstream.testing import Broker
from flowstream.transport import reader as module
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import RequestRefused, UnreadableRecords
from flowstream.transport.producer import IdempotentProducer
from flowstream.transport.reader import PartitionReader
from flowstream.transport.types import NewTopic, TopicPartition
from flowstream.wire.batch import encode_batch
from flowstream.wire.messages.fetch import PartitionData
from tests.transport.batches_by_hand import LATIN_READ, bomb, latin, lying, misplaced


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


def fetched(data: bytes) -> PartitionData:
    """A fetch's answer."""
    return PartitionData(
        partition_index=0, error_code=0, high_watermark=9, last_stable_offset=9,
        log_start_offset=0, aborted_transactions=(), records=data,
    )  # fmt: skip


async def test_S11_a_header_key_that_is_no_UTF8_is_read_as_Kafka_reads_it() -> None:
    reader = PartitionReader(Cluster("nowhere:1"), TopicPartition("t", 0), 1)
    records = await reader.accept(fetched(latin()))
    assert [(each.offset, each.value, each.headers) for each in records] == [
        (1, b"b", ((LATIN_READ, b"1"),)), (2, b"c", ()),
    ]  # fmt: skip
    assert reader.position == 3


async def test_S3_the_position_does_not_pass_records_that_were_not_given() -> None:
    """A copy that is followed reads on after an error: it would miss what lay before it."""
    reader = PartitionReader(Cluster("nowhere:1"), TopicPartition("t", 0), 0)
    good = bytes(encode_batch([(1, b"k", b"v", ())]))
    with pytest.raises(UnreadableRecords, match="t-0 cannot be read from offset 1 on"):
        await reader.accept(fetched(good + lying(base_offset=1)))
    assert reader.position == 0
    assert [record.offset for record in await reader.accept(fetched(good))] == [0]


async def test_S11_offsets_outside_their_batch_are_told_and_not_followed() -> None:
    reader = PartitionReader(Cluster("nowhere:1"), TopicPartition("t", 0), 0)
    with pytest.raises(UnreadableRecords, match="t-0 cannot be read from offset 0 on: the offsets"):
        await reader.accept(fetched(misplaced(0, 5)))
    assert reader.position == 0


async def test_X3_a_batch_that_expands_too_far_is_told_with_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flowstream.transport.visible.MOST_EXPANDED", 1 << 20)
    reader = PartitionReader(Cluster("nowhere:1"), TopicPartition("t", 0), 0)
    with pytest.raises(UnreadableRecords, match=r"t-0 cannot be read from offset 0 on: .*1048576"):
        await reader.accept(fetched(bomb(4, 1 << 20)))


async def test_records_of_an_older_format() -> None:
    builder = LegacyRecordBatchBuilder(magic=1, compression_type=0, batch_size=1 << 20)
    for offset in range(3):
        builder.append(offset, timestamp=5, key=b"k", value=b"%d" % offset)
    reader = PartitionReader(Cluster("nowhere:1"), TopicPartition("t", 0), 1)
    records = await reader.accept(fetched(bytes(builder.build())))
    assert [(record.offset, record.value) for record in records] == [(1, b"1"), (2, b"2")]
    assert reader.position == 3
