"""Whether batches may enter a partition's log: header arithmetic, CRC, sizes, timestamps (KIP-32),
keys of compacted topics.

Decides from the bytes and the topic's configuration alone; who the producer is and what it sent
before is `producers`' affair. The contents of records are read only where Kafka reads them: keys
for compaction, and to store them in another codec.
"""

from __future__ import annotations

from dataclasses import dataclass

from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.index import NO_TIMESTAMP
from flowstream.broker.types import Instant
from flowstream.errors import WireError
from flowstream.wire.batch import (
    HEADER_SIZE,
    BatchHeader,
    check_crc,
    decode_records,
    encode_batch,
    keyless_records,
    read_header,
)
from flowstream.wire.batch_header import (
    CODEC_MASK,
    CONTROL,
    DELETE_HORIZON,
    LOG_APPEND_TIME,
    MAGIC,
    TRANSACTIONAL,
)
from flowstream.wire.checksum import crc32c
from flowstream.wire.error_codes import ErrorCode

CRC_FROM = 21
"""The CRC covers a batch from its attributes on."""
_ZSTD = 4
_NOT_FROM_CLIENTS = CONTROL | LOG_APPEND_TIME | DELETE_HORIZON


@dataclass(slots=True)
class Refused:
    """Kafka's error, and which records (index in the batch, message) are at fault when it is not
    the whole batch.
    """

    error: ErrorCode
    message: str
    record_errors: tuple[tuple[int, str], ...] = ()


def check_client_batch(
    batch: memoryview, config: LogConfig, now: Instant
) -> tuple[BatchHeader, memoryview] | Refused:
    """The one batch of a Produce request, and the bytes to store: the producer's own unless the
    topic wants another codec.
    """
    size = len(batch)
    if size < HEADER_SIZE:
        return Refused(ErrorCode.INVALID_RECORD, f"a record batch of {size} bytes")
    header = read_header(batch)
    if header.magic != MAGIC or header.batch_length + 12 != size:
        return _wrong_shape(header, size)
    if size > config.max_message_bytes or size > config.segment_bytes:
        return _too_large(size, config)
    if crc32c(batch[CRC_FROM:]) != header.crc:
        return Refused(ErrorCode.CORRUPT_MESSAGE, "the CRC does not match the batch")
    refused = _check_header(header)
    if refused is None and not config.log_append_time:
        refused = _check_timestamps(header, config, now)
    if refused is not None:
        return refused
    if config.compact or config.codec is not None:
        return _check_records(batch, header, config)
    return header, batch


def check_whole_batches(batches: memoryview) -> list[tuple[int, BatchHeader]] | Refused:
    """Position and header of each batch that another node or a coordinator wrote; nothing may be
    left over.
    """
    found = []
    position, end = 0, len(batches)
    while end - position >= HEADER_SIZE:
        header = read_header(batches, position)
        if header.magic != MAGIC or not check_crc(batches, header, position):
            return Refused(ErrorCode.CORRUPT_MESSAGE, f"no valid batch at byte {position}")
        found.append((position, header))
        position += header.size
    if position != end or not found:
        return Refused(ErrorCode.CORRUPT_MESSAGE, f"{end - position} bytes after the last batch")
    return found


def _wrong_shape(header: BatchHeader, size: int) -> Refused:
    if header.magic != MAGIC:
        return Refused(ErrorCode.INVALID_RECORD, f"record batches of magic {header.magic}")
    if HEADER_SIZE <= header.size < size:
        return Refused(ErrorCode.INVALID_RECORD, "more than one record batch")
    return Refused(ErrorCode.CORRUPT_MESSAGE, f"a batch of {header.size} bytes in {size}")


def _too_large(size: int, config: LogConfig) -> Refused:
    if size > config.max_message_bytes:
        return Refused(
            ErrorCode.MESSAGE_TOO_LARGE,
            f"a batch of {size} bytes, max.message.bytes is {config.max_message_bytes}",
        )
    return Refused(
        ErrorCode.RECORD_LIST_TOO_LARGE,
        f"a batch of {size} bytes, segment.bytes is {config.segment_bytes}",
    )


def _check_header(header: BatchHeader) -> Refused | None:
    attributes = header.attributes
    if header.count != header.last_offset_delta + 1 or header.count <= 0 or header.base_offset:
        return Refused(
            ErrorCode.INVALID_RECORD,
            f"{header.count} records from offset {header.base_offset},"
            f" the last one {header.last_offset_delta} further",
        )
    if attributes & _NOT_FROM_CLIENTS:
        if attributes & LOG_APPEND_TIME:
            return Refused(ErrorCode.INVALID_TIMESTAMP, "a producer's batch with LogAppendTime")
        return Refused(ErrorCode.INVALID_RECORD, "clients may not write control records")
    if attributes & CODEC_MASK > _ZSTD:
        return Refused(
            ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, f"compression {attributes & CODEC_MASK}"
        )
    if header.producer_id >= 0:
        if header.base_sequence < 0 or header.producer_epoch < 0:
            return Refused(ErrorCode.INVALID_RECORD, "a producer id without epoch and sequence")
    elif attributes & TRANSACTIONAL:
        return Refused(ErrorCode.INVALID_RECORD, "a transactional batch without a producer id")
    return None


def _check_timestamps(header: BatchHeader, config: LogConfig, now: Instant) -> Refused | None:
    if header.max_timestamp - now > config.timestamp_after_max_ms:
        return Refused(
            ErrorCode.INVALID_TIMESTAMP, f"timestamp {header.max_timestamp} is too far ahead"
        )
    # The first record's; the smallest one would need the records, and only a clock far behind
    # matters here.
    stamped = header.base_timestamp != NO_TIMESTAMP
    if stamped and now - header.base_timestamp > config.timestamp_before_max_ms:
        return Refused(
            ErrorCode.INVALID_TIMESTAMP, f"timestamp {header.base_timestamp} is too far back"
        )
    return None


def _check_records(
    batch: memoryview, header: BatchHeader, config: LogConfig
) -> tuple[BatchHeader, memoryview] | Refused:
    if not config.compact and config.codec == header.codec:
        return header, batch
    try:
        if config.compact and (keyless := keyless_records(batch)):
            message = "a record without a key in a compacted topic"
            return Refused(
                ErrorCode.INVALID_RECORD, message, tuple((at, message) for at in keyless)
            )
        if config.codec is None or config.codec == header.codec:
            return header, batch
        records = decode_records(batch)
    except WireError as error:
        return Refused(ErrorCode.INVALID_RECORD, str(error))
    stored = encode_batch(
        [(r.timestamp, r.key, r.value, r.headers) for r in records],
        codec=config.codec,
        producer_id=header.producer_id,
        producer_epoch=header.producer_epoch,
        base_sequence=header.base_sequence,
        transactional=header.is_transactional,
    )
    return read_header(stored), memoryview(stored)
