"""Batches that only a foreign producer writes, and a way to have them stored."""

from __future__ import annotations

import struct
from collections.abc import Callable

from flowstream.transport.cluster import Cluster, Leader
from flowstream.transport.types import TopicPartition
from flowstream.wire.api import ApiKey
from flowstream.wire.batch import NewRecord, encode_batch
from flowstream.wire.checksum import crc32c
from flowstream.wire.compression import compress
from flowstream.wire.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)
from flowstream.wire.primitives import varint

LATIN = b"caf\xe9"
"""A header's key that is no UTF-8."""
LATIN_READ = "caf\N{REPLACEMENT CHARACTER}"


def latin(codec: int = 0, base_offset: int = 0) -> bytes:
    """Three records, the middle one with such a header."""
    # The checksum of some codecs covers the records: the key is put in before they are compressed.
    records: list[NewRecord] = [
        (1, b"k", b"a", ()), (2, b"k", b"b", (("cafX", b"1"),)), (3, b"k", b"c", ()),
    ]  # fmt: skip
    plain = changed(encode_batch(records), lambda batch: _replace(batch, b"cafX", LATIN))
    if codec == 0:
        return _based(plain, base_offset)
    body = compress(codec, memoryview(plain)[61:])
    whole = bytearray(plain[:61]) + body
    struct.pack_into(">i", whole, 8, len(whole) - 12)
    struct.pack_into(">h", whole, 21, codec)
    return _based(changed(whole, lambda batch: None), base_offset)


def lying(base_offset: int = 0) -> bytes:
    """A record that says it is longer than its batch, inside a valid CRC."""

    def lie(batch: bytearray) -> None:
        batch[61] = 80

    return _based(changed(encode_batch([(1, b"k", b"v", ())]), lie), base_offset)


def misplaced(*deltas: int, base_offset: int = 0) -> bytes:
    """Records with these offset deltas, under a header that has them one behind the other."""
    body = b""
    for place, delta in enumerate(deltas):
        record = b"\0\0" + varint(delta) + b"\1" + varint(2) + b"v%d" % place + b"\0"
        body += varint(len(record)) + record
    whole = bytearray(encode_batch([(1, None, b"v", ())] * len(deltas))[:61]) + body
    struct.pack_into(">i", whole, 8, len(whole) - 12)
    return _based(changed(whole, lambda batch: None), base_offset)


def bomb(codec: int, size: int, base_offset: int = 0) -> bytes:
    """A record of so many bytes, which compress to next to nothing."""
    return _based(bytes(encode_batch([(1, b"k", bytes(size), ())], codec=codec)), base_offset)


def changed(batch: bytes | bytearray, change: Callable[[bytearray], None]) -> bytes:
    """The batch after a change, with a CRC that is right."""
    whole = bytearray(batch)
    change(whole)
    struct.pack_into(">I", whole, 17, crc32c(memoryview(whole)[21:]))
    return bytes(whole)


def _replace(batch: bytearray, old: bytes, new: bytes) -> None:
    at = batch.index(old)
    batch[at : at + len(old)] = new


def _based(batch: bytes, base_offset: int) -> bytes:
    return struct.pack(">q", base_offset) + batch[8:]


async def store(cluster: Cluster, tp: TopicPartition, batch: bytes) -> int:
    """Have the broker store a batch as it is; gives its first offset."""
    data = PartitionProduceData(index=tp.partition, records=batch)
    request = ProduceRequest(
        transactional_id=None, acks=-1, timeout_ms=10_000,
        topic_data=(TopicProduceData(name=tp.topic, partition_data=(data,)),),
    )  # fmt: skip
    answer: ProduceResponse = await cluster.request(
        Leader(tp), ApiKey.PRODUCE, lambda _: request, min_version=3, max_version=12
    )
    (result,) = answer.responses[0].partition_responses
    assert result.error_code == 0, result
    return int(result.base_offset)
