"""Producer `.snapshot` files: the producer state of a partition at an offset, in Kafka's bytes.

A snapshot keeps one batch per producer; the four before it are read back from the log (see
`recovery`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from flowstream.broker.log.producers import NO_SEQUENCE, Producer
from flowstream.broker.types import Instant
from flowstream.wire.checksum import crc32c

_HEAD = struct.Struct(">hI")
_COUNT = struct.Struct(">i")
_ENTRY = struct.Struct(">qhiqiqiq")
_VERSION = 1

_BUCKETS = 16
_LOAD_FACTOR = 0.75


class CorruptSnapshot(ValueError):
    """The bytes are not a whole producer snapshot. An older one and the log give the same state."""


def encode_snapshot(producers: Iterable[Producer]) -> bytes:
    """The file's content, producers in the order in which Kafka's hash map holds them, so that
    files compare equal.
    """
    ordered = _hash_order(list(producers))
    body = _COUNT.pack(len(ordered)) + b"".join(_encode(producer) for producer in ordered)
    return _HEAD.pack(_VERSION, crc32c(body)) + body


def decode_snapshot(data: bytes | memoryview, now: Instant) -> list[Producer]:
    """The producers of a snapshot; their expiry counts from `now`, the file does not tell when they
    were last heard of.
    """
    if len(data) < _HEAD.size + _COUNT.size:
        raise CorruptSnapshot(f"{len(data)} bytes")
    version, crc = _HEAD.unpack_from(data)
    body = memoryview(data)[_HEAD.size :]
    if version != _VERSION or crc32c(body) != crc:
        raise CorruptSnapshot(f"version {version} or a wrong checksum")
    (count,) = _COUNT.unpack_from(body)
    entries = body[_COUNT.size :]
    if len(entries) != count * _ENTRY.size:
        raise CorruptSnapshot(f"{count} producers in {len(entries)} bytes")
    return [_decode(fields, now) for fields in _ENTRY.iter_unpack(entries)]


def _encode(producer: Producer) -> bytes:
    if producer.batches:
        last_sequence, last_offset, span, _ = producer.batches[-1]
    else:
        last_sequence, last_offset, span = NO_SEQUENCE, -1, 0
    return _ENTRY.pack(
        producer.producer_id,
        producer.epoch,
        last_sequence,
        last_offset,
        span,
        producer.timestamp,
        producer.coordinator_epoch,
        producer.first_offset,
    )


def _decode(fields: tuple[int, ...], now: Instant) -> Producer:
    producer_id, epoch, sequence, offset, span, timestamp, coordinator_epoch, first = fields
    producer = Producer(producer_id, epoch, now)
    producer.timestamp = timestamp
    producer.coordinator_epoch = coordinator_epoch
    producer.first_offset = first
    if offset >= 0:
        producer.remember((sequence, offset, span, timestamp))
    return producer


def _hash_order(producers: list[Producer]) -> list[Producer]:
    buckets = _BUCKETS
    while len(producers) > buckets * _LOAD_FACTOR:
        buckets *= 2
    return sorted(producers, key=lambda producer: _bucket(producer.producer_id, buckets))


def _bucket(producer_id: int, buckets: int) -> int:
    """Java: Long.hashCode, spread by HashMap, masked by the table's size."""
    folded = (producer_id ^ (producer_id >> 32)) & 0xFFFFFFFF
    return (folded ^ (folded >> 16)) & (buckets - 1)
