"""A record batch with some of its records left out, as compaction needs it: where each record is,
what its key is, and the batch that keeps only some.

Values are never decoded: what stays is copied. Knows no log and no reason why a record goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from flowstream.errors import WireError
from flowstream.wire.batch import encode_batch
from flowstream.wire.batch_header import (
    CODEC_MASK,
    DELETE_HORIZON,
    HEADER,
    HEADER_SIZE,
    LENGTH_OVERHEAD,
    BatchHeader,
    seal,
)
from flowstream.wire.compression import compress
from flowstream.wire.primitives import (
    INT64_MAX,
    INT64_MIN,
    read_base128,
    read_uvarint,
    varint,
    varlong,
    wrapped,
)


class Span(NamedTuple):
    """One record of a batch's uncompressed body, which holds it from `start` to `end`.

    `attributes` is the place of its first byte after the length, `tail` of its key's length.
    """

    offset: int
    timestamp: int
    key: bytes | None
    has_value: bool
    start: int
    attributes: int
    tail: int
    end: int


_span = Span._make


def spans(data: bytes, header: BatchHeader) -> Iterator[Span]:
    """The records of an uncompressed body (`batch.body_of`), in order.

    Raises WireError where lengths and offsets do not fit.
    """
    try:
        yield from _walk(data, header)
    except IndexError as error:
        raise WireError("a record reaches beyond the end of its batch") from error


def _walk(data: bytes, header: BatchHeader) -> Iterator[Span]:
    base_offset, base_timestamp = header.base_offset, header.base_timestamp
    stamp = header.max_timestamp if header.is_log_append_time else None
    position, size = 0, len(data)
    for _ in range(header.count):
        start = position
        number, position = data[position], position + 1
        if number > 127:
            number, position = read_uvarint(data, position - 1)
        attributes, end = position, position + (number >> 1)
        if number & 1 or end > size:
            raise WireError(f"a record of {number >> 1} bytes at byte {start}")
        number, position = data[position + 1], position + 2
        if number > 127:
            number, position = read_base128(data, position - 1, 64)
        timestamp = base_timestamp + ((number >> 1) ^ -(number & 1)) if stamp is None else stamp
        if not INT64_MIN <= timestamp <= INT64_MAX:
            timestamp = wrapped(timestamp)
        number, tail = data[position], position + 1
        if number > 127:
            number, tail = read_uvarint(data, position)
        offset = number >> 1
        if number & 1 or offset > header.last_offset_delta:
            raise WireError(f"an offset outside the batch at byte {position}")
        key, position = _bytes(data, tail)
        number, position = data[position], position + 1
        if number > 127:
            number, position = read_uvarint(data, position - 1)
        if (number & 1 and number != 1) or position + (number >> 1) >= end:
            raise WireError(f"a value of {number >> 1} bytes at byte {position}")
        yield _span(
            (base_offset + offset, timestamp, key, number != 1, start, attributes, tail, end)
        )
        position = end
    if position != size:
        raise WireError(f"{size - position} bytes after the last record")


def _bytes(data: bytes, position: int) -> tuple[bytes | None, int]:
    number, position = data[position], position + 1
    if number > 127:
        number, position = read_uvarint(data, position - 1)
    if number & 1:
        if number == 1:
            return None, position
        raise WireError(f"a negative length at byte {position}")
    end = position + (number >> 1)
    return data[position:end], end


def with_records(
    header: BatchHeader, data: bytes, kept: Sequence[Span], delete_horizon: int | None
) -> bytearray:
    """The batch of `header` with the records `kept` of its body `data`, at least one.

    Offsets, sequences and last offset stay; the base timestamp is the delete horizon where there is
    one (KIP-534), else the first record's, as Kafka writes it.
    """
    attributes = header.attributes & ~DELETE_HORIZON
    base_timestamp, max_timestamp = kept[0].timestamp, header.max_timestamp
    if not header.is_log_append_time:
        max_timestamp = max(span.timestamp for span in kept)
    if delete_horizon is not None:
        attributes |= DELETE_HORIZON
        base_timestamp = delete_horizon
    if base_timestamp == header.base_timestamp and not header.is_log_append_time:
        body = b"".join([data[span.start : span.end] for span in kept])
    else:
        body = b"".join([_shifted(data, span, header, base_timestamp) for span in kept])
    if attributes & CODEC_MASK:
        body = compress(attributes & CODEC_MASK, body)
    batch = bytearray(HEADER_SIZE) + body
    places = (header.base_offset, len(batch) - LENGTH_OVERHEAD, header.leader_epoch, header.magic)
    times = (base_timestamp, max_timestamp)
    producer = (header.producer_id, header.producer_epoch, header.base_sequence)
    span = header.last_offset_delta
    HEADER.pack_into(batch, 0, *places, 0, attributes, span, *times, *producer, len(kept))
    seal(batch, 0, len(batch))
    return batch


def _shifted(data: bytes, span: Span, header: BatchHeader, base_timestamp: int) -> bytes:
    """The record with its timestamp counted from another base."""
    body = (
        data[span.attributes : span.attributes + 1]
        + varlong(wrapped(span.timestamp - base_timestamp))
        + varint(span.offset - header.base_offset)
        + data[span.tail : span.end]
    )
    return varint(len(body)) + body


def without_records(header: BatchHeader) -> bytearray:
    """The bare header that keeps a producer's sequence or the last offset."""
    return encode_batch(
        (),
        base_offset=header.base_offset,
        last_offset=header.last_offset,
        producer_id=header.producer_id,
        producer_epoch=header.producer_epoch,
        base_sequence=header.base_sequence,
        transactional=header.is_transactional,
        control=header.is_control,
        leader_epoch=header.leader_epoch,
        log_append_time=header.max_timestamp if header.is_log_append_time else None,
        max_timestamp=header.max_timestamp,
    )
