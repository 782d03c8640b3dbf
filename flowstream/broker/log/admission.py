"""Whether batches may enter a partition's log: header arithmetic, CRC, sizes, timestamps (KIP-32).

Decides from the bytes and the topic's configuration alone; who the producer is and what it sent
before is `producers`' affair. When the records themselves must be read, `contents` does it.
"""

from __future__ import annotations

from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.contents import (
    Allowance,
    Refused,
    check_records,
    out_of_range,
    too_large,
)
from flowstream.broker.log.index import NO_TIMESTAMP
from flowstream.broker.types import Instant
from flowstream.wire.batch import (
    HEADER_SIZE,
    BatchHeader,
    check_crc,
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

__all__ = ["Refused", "check_client_batch", "check_whole_batches"]

CRC_FROM = 21
"""The CRC covers a batch from its attributes on."""
_ZSTD = 4
_NOT_FROM_CLIENTS = CONTROL | LOG_APPEND_TIME | DELETE_HORIZON


def check_client_batch(
    batch: memoryview, config: LogConfig, now: Instant, allowance: Allowance | None = None
) -> tuple[BatchHeader, memoryview] | Refused:
    """The one batch of a Produce request for its partition, and the bytes to store: the producer's
    own unless the topic wants another codec. `allowance` is the request's.
    """
    size = len(batch)
    if size < HEADER_SIZE:
        return Refused(ErrorCode.INVALID_RECORD, f"a record batch of {size} bytes")
    header = read_header(batch)
    if header.magic != MAGIC or header.batch_length + 12 != size:
        return _wrong_shape(header, size)
    if size > config.max_message_bytes or size > config.segment_bytes:
        refused = too_large(size, config)
        assert refused is not None
        return refused
    if crc32c(batch[CRC_FROM:]) != header.crc:
        return Refused(ErrorCode.CORRUPT_MESSAGE, "the CRC does not match the batch")
    refused = _check_header(header) or _too_many(header, config)
    if refused is None and not config.log_append_time:
        refused = _check_timestamps(batch, header, config, now, allowance)
    if refused is not None:
        return refused
    if config.reads_records:
        return check_records(batch, header, config, now, allowance or Allowance())
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


def _too_many(header: BatchHeader, config: LogConfig) -> Refused | None:
    """A producer that is told so splits its batch."""
    if header.count <= config.max_records:
        return None
    told = f"{header.count} records in a batch; max.message.bytes allows {config.max_records}"
    return Refused(ErrorCode.MESSAGE_TOO_LARGE, told)


def _check_timestamps(
    batch: memoryview,
    header: BatchHeader,
    config: LogConfig,
    now: Instant,
    allowance: Allowance | None,
) -> Refused | None:
    """The largest timestamp, and the first record's; where any other one may be too old the
    records are read.
    """
    earliest, latest = now - config.timestamp_before_max_ms, now + config.timestamp_after_max_ms
    first = header.base_timestamp
    if header.max_timestamp <= latest and (first == NO_TIMESTAMP or first >= earliest):
        return None
    allowance = allowance or Allowance()
    return out_of_range(batch, header, config.max_expanded, earliest, latest, allowance)
