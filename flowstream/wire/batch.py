"""Record batches of format 2 (KIP-98) and the records in them, control markers included.

A broker needs `batch_header` alone for most of its work; records are decoded only where a caller
asks. Knows no log and no message.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from flowstream.errors import WireError
from flowstream.wire.batch_header import (
    CONTROL,
    DELETE_HORIZON,
    HEADER,
    HEADER_SIZE,
    LENGTH_OVERHEAD,
    LOG_APPEND_TIME,
    MAGIC,
    TRANSACTIONAL,
    BatchHeader,
    check_crc,
    iter_batches,
    patch,
    read_header,
    restamp,
    seal,
)
from flowstream.wire.compression import compress, decompress
from flowstream.wire.primitives import (
    INT64_MAX,
    INT64_MIN,
    Buffer,
    read_base128,
    read_uvarint,
    read_varint,
    varint,
    varlong,
    wrapped,
)

__all__ = [
    "HEADER_SIZE",
    "BatchHeader",
    "ControlMarker",
    "Headers",
    "NewRecord",
    "Record",
    "check_crc",
    "decode_control",
    "decode_records",
    "encode_batch",
    "encode_control_batch",
    "iter_batches",
    "patch",
    "read_header",
    "restamp",
]

DECOMPRESSED_MAX = 256 * 1024 * 1024
"""Default bound of what one compressed batch may expand to."""

RECORD_MIN = 7
"""Bytes of a record without key, value and headers."""
_CONTROL_KEY = struct.Struct(">hh")
_CONTROL_VALUE = struct.Struct(">hi")

Headers = Sequence[tuple[str, bytes | None]]
NewRecord = tuple[int, bytes | None, bytes | None, Headers]
"""Timestamp (ms), key, value, headers."""


class Record(NamedTuple):
    """One record of a batch."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    attributes: int = 0


_record = Record._make


class ControlMarker(NamedTuple):
    """The end of a transaction in a partition."""

    commit: bool
    coordinator_epoch: int


def decode_records(batch: Buffer, *, max_decompressed: int = DECOMPRESSED_MAX) -> list[Record]:
    """The records of the one batch that `batch` holds. The CRC is the caller's affair.

    Raises WireError when count, lengths or offsets do not fit, and when the batch expands to more
    than `max_decompressed` bytes.
    """
    header = read_header(batch)
    return records_in(body_of(batch, header, max_decompressed), header)


def records_in(data: bytes, header: BatchHeader) -> list[Record]:
    """The records of an uncompressed body (`body_of`). Raises WireError."""
    try:
        return _decode_body(data, header)
    except IndexError as error:
        raise WireError("a record reaches beyond the end of its batch") from error


def keyless_in(data: bytes, count: int) -> list[int]:
    """The places in an uncompressed body of the records without a key; nothing else is decoded.

    Raises WireError when the records' lengths do not fill it.
    """
    try:
        return _keyless(data, count)
    except IndexError as error:
        raise WireError("a record reaches beyond the end of its batch") from error


def first_since(
    data: bytes, header: BatchHeader, timestamp: int, offset: int
) -> tuple[int, int] | None:
    """Timestamp and offset of the first record in an uncompressed body that is not older than
    `timestamp` nor before `offset`; nothing else is decoded. Raises WireError.
    """
    try:
        return _first_since(data, header, timestamp, offset - header.base_offset)
    except IndexError as error:
        raise WireError("a record reaches beyond the end of its batch") from error


def body_of(batch: Buffer, header: BatchHeader, max_decompressed: int = DECOMPRESSED_MAX) -> bytes:
    """The uncompressed records of the one batch that `batch` holds. Raises WireError."""
    if header.magic != MAGIC or header.size != len(batch):
        raise WireError(f"a batch of {header.size} bytes in {len(batch)}, magic {header.magic}")
    body = memoryview(batch)[HEADER_SIZE:]
    data = decompress(header.codec, body, max_decompressed) if header.codec else bytes(body)
    if not 0 <= header.count <= len(data) // RECORD_MIN:
        raise WireError(f"{header.count} records in {len(data)} bytes")
    return data


def _keyless(data: bytes, count: int) -> list[int]:
    """Walk from record to record: each begins with length, attributes, two deltas, key length."""
    found = []
    position = 0
    for place in range(count):
        number = data[position]
        position += 1
        if number > 127:
            number, position = read_uvarint(data, position - 1)
        at = position + 1
        while data[at] > 127:  # the timestamp delta
            at += 1
        at += 1
        while data[at] > 127:  # the offset delta
            at += 1
        if data[at + 1] == 1:  # zigzag -1
            found.append(place)
        position += number >> 1
        if number & 1 or at >= position:
            raise WireError(f"a record ends before its key, at byte {position}")
    if position != len(data):
        raise WireError(f"the records end at byte {position} of {len(data)}")
    return found


def _first_since(
    data: bytes, header: BatchHeader, timestamp: int, least: int
) -> tuple[int, int] | None:
    """Walk from record to record. Each is of one time where the broker gave it."""
    given = header.max_timestamp if header.is_log_append_time else None
    position = 0
    for _ in range(header.count):
        number, position = data[position], position + 1
        if number > 127:
            number, position = read_uvarint(data, position - 1)
        end = position + (number >> 1)
        delta, at = data[position + 1], position + 2
        if delta > 127:
            delta, at = read_base128(data, position + 1, 64)
        place = data[at]
        if place > 127:
            place, at = read_uvarint(data, at)
        if number & 1 or place & 1 or at >= end:
            raise WireError(f"a record ends before its key, at byte {end}")
        stamp = given
        if stamp is None:
            stamp = wrapped(header.base_timestamp + ((delta >> 1) ^ -(delta & 1)))
        if stamp >= timestamp and place >> 1 >= least:
            return stamp, header.base_offset + (place >> 1)
        position = end
    return None


def _decode_body(data: bytes, header: BatchHeader) -> list[Record]:
    """The inner loop: numbers of one byte, nearly all of them, are read in place."""
    base_offset, base_timestamp = header.base_offset, header.base_timestamp
    stamp = header.max_timestamp if header.is_log_append_time else None
    records = []
    position = 0
    for _ in range(header.count):
        number, position = data[position], position + 1
        if number > 127:
            number, position = read_uvarint(data, position - 1)
        end = -1 if number & 1 else position + (number >> 1)
        attributes = data[position]
        number, position = data[position + 1], position + 2
        if number > 127:
            number, position = read_base128(data, position - 1, 64)
        timestamp = base_timestamp + ((number >> 1) ^ -(number & 1))
        if not INT64_MIN <= timestamp <= INT64_MAX:
            timestamp = wrapped(timestamp)
        number, position = data[position], position + 1
        if number > 127:
            number, position = read_uvarint(data, position - 1)
        offset = number >> 1
        if number & 1 or offset > header.last_offset_delta:
            raise WireError(f"an offset outside the batch at byte {position}")
        key, position = _decode_bytes(data, position)
        value, position = _decode_bytes(data, position)
        headers: Headers = ()
        if data[position]:
            headers, position = _decode_headers(data, position)
        else:
            position += 1
        if position != end:
            raise WireError(f"a record ends at byte {position}, not {end}")
        if stamp is not None:
            timestamp = stamp
        record = (base_offset + offset, timestamp, key, value, headers, attributes)
        records.append(_record(record))
    if position != len(data):
        raise WireError(f"{len(data) - position} bytes after the last record")
    return records


def _decode_bytes(data: bytes, position: int) -> tuple[bytes | None, int]:
    number, position = data[position], position + 1
    if number > 127:
        number, position = read_uvarint(data, position - 1)
    if number & 1:
        if number == 1:
            return None, position
        raise WireError(f"a negative length at byte {position}")
    end = position + (number >> 1)
    if end > len(data):
        raise WireError(f"a value of {number >> 1} bytes at byte {position}")
    return data[position:end], end


def _decode_headers(data: bytes, position: int) -> tuple[Headers, int]:
    count, position = read_varint(data, position)
    if count == 0:
        return (), position
    if not 0 <= count <= (len(data) - position) // 2:
        raise WireError(f"{count} headers at byte {position}")
    headers = []
    for _ in range(count):
        raw, position = _decode_bytes(data, position)
        value, position = _decode_bytes(data, position)
        if raw is None:
            raise WireError(f"a header without a key before byte {position}")
        # To Kafka a key that is no UTF-8 is one all the same: its clients read it like this.
        headers.append((raw.decode(errors="replace"), value))
    return tuple(headers), position


def encode_batch(
    records: Sequence[NewRecord],
    *,
    base_offset: int = 0,
    offsets: Sequence[int] | None = None,
    last_offset: int | None = None,
    codec: int = 0,
    level: int | None = None,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
    transactional: bool = False,
    control: bool = False,
    leader_epoch: int = -1,
    log_append_time: int | None = None,
    delete_horizon: int | None = None,
    max_timestamp: int = -1,
) -> bytearray:
    """One batch of `records` with its CRC.

    Offsets run from `base_offset` unless `offsets` gives them, and `last_offset` may lie beyond the
    last record: both as compaction leaves them. Without records the batch is the bare header that
    keeps a producer's sequence; then `max_timestamp` counts.
    """
    if offsets is None:
        offsets = range(base_offset, base_offset + len(records))
    if last_offset is None:
        last_offset = offsets[-1] if offsets else base_offset
    base_timestamp = records[0][0] if records else -1
    if records:
        max_timestamp = max(record[0] for record in records)
    attributes = (TRANSACTIONAL if transactional else 0) | (CONTROL if control else 0)
    if log_append_time is not None:
        attributes |= LOG_APPEND_TIME
        max_timestamp = log_append_time
    if delete_horizon is not None:
        attributes |= DELETE_HORIZON
        base_timestamp = delete_horizon
    body = _encode_records(records, offsets, base_offset, base_timestamp)
    if codec and records:
        attributes |= codec
        body = compress(codec, body, level)
    batch = bytearray(HEADER_SIZE) + body
    span, length = last_offset - base_offset, len(batch) - LENGTH_OVERHEAD
    times, producer = (base_timestamp, max_timestamp), (producer_id, producer_epoch, base_sequence)
    marks = (leader_epoch, MAGIC, 0, attributes)
    try:
        HEADER.pack_into(
            batch, 0, base_offset, length, *marks, span, *times, *producer, len(records)
        )
    except struct.error as error:
        raise WireError(f"batch header: {error}") from error
    seal(batch, 0, len(batch))
    return batch


def _encode_records(
    records: Sequence[NewRecord], offsets: Sequence[int], base_offset: int, base_timestamp: int
) -> bytes:
    out: list[bytes] = []
    for (timestamp, key, value, headers), offset in zip(records, offsets, strict=True):
        times = varlong(wrapped(timestamp - base_timestamp)) + varint(offset - base_offset)
        body = b"\0" + times + _sized(key) + _sized(value) + _encode_headers(headers)
        out += (varint(len(body)), body)
    return b"".join(out)


def _sized(value: bytes | None) -> bytes:
    return b"\1" if value is None else varint(len(value)) + value


def _encode_headers(headers: Headers) -> bytes:
    if not headers:
        return b"\0"
    pairs = b"".join(_sized(key.encode()) + _sized(value) for key, value in headers)
    return varint(len(headers)) + pairs


def encode_control_batch(
    commit: bool,
    *,
    base_offset: int,
    producer_id: int,
    producer_epoch: int,
    coordinator_epoch: int,
    timestamp: int,
    leader_epoch: int,
) -> bytearray:
    """The marker that ends a producer's transaction in a partition; it takes one offset."""
    key = _CONTROL_KEY.pack(0, int(commit))
    value = _CONTROL_VALUE.pack(0, coordinator_epoch)
    return encode_batch(
        [(timestamp, key, value, ())],
        base_offset=base_offset,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        transactional=True,
        control=True,
        leader_epoch=leader_epoch,
    )


def decode_control(record: Record) -> ControlMarker:
    """What the record of a control batch says; raises WireError for kinds other than the ends of
    transactions.
    """
    try:
        _, kind = _CONTROL_KEY.unpack_from(record.key or b"")
        _, coordinator_epoch = _CONTROL_VALUE.unpack_from(record.value or b"")
    except struct.error as error:
        raise WireError("a control record that is too short") from error
    if kind not in (0, 1):
        raise WireError(f"control record of kind {kind}")
    return ControlMarker(kind == 1, coordinator_epoch)
