"""What is read of the records in a client's batch, and only where it must be: keys for compaction,
timestamps when old ones are refused (KIP-937), everything to store it in another codec or when
`record.validation` is `full`.

The errors of single records are told with their place in the batch (KIP-467).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.index import NO_TIMESTAMP
from flowstream.broker.types import Instant
from flowstream.errors import WireError
from flowstream.wire.batch import (
    BatchHeader,
    Record,
    decode_records,
    encode_batch,
    keyless_records,
    read_header,
)
from flowstream.wire.error_codes import ErrorCode

KEYLESS = "Compacted topic cannot accept message without key."


@dataclass(slots=True)
class Refused:
    """Kafka's error, and which records (index in the batch, message) are at fault when it is not
    the whole batch.
    """

    error: ErrorCode
    message: str
    record_errors: tuple[tuple[int, str], ...] = ()


def check_records(
    batch: memoryview, header: BatchHeader, config: LogConfig, now: Instant
) -> tuple[BatchHeader, memoryview] | Refused:
    """The batch to store, which is another one when the topic wants another codec."""
    recompress = config.codec is not None and config.codec != header.codec
    dated = config.bounds_age and not config.log_append_time
    limit = config.max_expanded
    try:
        if config.compact and (keyless := keyless_records(batch, max_decompressed=limit)):
            return _keyless(keyless)
        if not (recompress or dated or config.full_validation):
            return header, batch
        records = decode_records(batch, max_decompressed=limit)
    except WireError as error:
        return Refused(ErrorCode.INVALID_RECORD, str(error))
    wrong = [at for at, record in enumerate(records) if record.offset != at]
    if wrong:
        message = f"record {wrong[0]} of the batch has offset {records[wrong[0]].offset}"
        return Refused(ErrorCode.INVALID_RECORD, message)
    if dated:
        earliest = now - config.timestamp_before_max_ms
        latest = now + config.timestamp_after_max_ms
        errors = _out_of_range(records, earliest, latest)
        if errors:
            return _dated_wrong(errors)
    return _recompressed(records, header, config) if recompress else (header, batch)


def out_of_range(batch: memoryview, limit: int, earliest: int, latest: int) -> Refused:
    """The refusal of a batch whose header tells of records before `earliest` or after `latest`;
    they are named when it expands to at most `limit` bytes.
    """
    try:
        records = decode_records(batch, max_decompressed=limit)
    except WireError:
        records = []
    return _dated_wrong(_out_of_range(records, earliest, latest))


def _keyless(places: Sequence[int]) -> Refused:
    message = f"One or more records have been rejected due to {len(places)} record errors in total."
    return Refused(ErrorCode.INVALID_RECORD, message, tuple((at, KEYLESS) for at in places))


def _out_of_range(
    records: Sequence[Record], earliest: int, latest: int
) -> tuple[tuple[int, str], ...]:
    return tuple(
        (
            at,
            f"Timestamp {record.timestamp} of message with offset {at} is out of range. "
            f"The timestamp should be within [{earliest}, {latest}]",
        )
        for at, record in enumerate(records)
        if record.timestamp != NO_TIMESTAMP and not earliest <= record.timestamp <= latest
    )


def _dated_wrong(errors: tuple[tuple[int, str], ...]) -> Refused:
    message = "One or more records have been rejected due to invalid timestamp"
    return Refused(ErrorCode.INVALID_TIMESTAMP, message, errors)


def _recompressed(
    records: Sequence[Record], header: BatchHeader, config: LogConfig
) -> tuple[BatchHeader, memoryview] | Refused:
    """The same records in the topic's codec: a new batch with the producer's numbers."""
    assert config.codec is not None
    stored = encode_batch(
        [(r.timestamp, r.key, r.value, r.headers) for r in records],
        codec=config.codec,
        level=config.compression_level,
        producer_id=header.producer_id,
        producer_epoch=header.producer_epoch,
        base_sequence=header.base_sequence,
        transactional=header.is_transactional,
    )
    refused = too_large(len(stored), config)
    return refused or (read_header(stored), memoryview(stored))


def too_large(size: int, config: LogConfig) -> Refused | None:
    """Whether a batch of `size` bytes is larger than the topic or one of its segments takes."""
    if size > config.max_message_bytes:
        return Refused(
            ErrorCode.MESSAGE_TOO_LARGE,
            f"a batch of {size} bytes, max.message.bytes is {config.max_message_bytes}",
        )
    if size > config.segment_bytes:
        return Refused(
            ErrorCode.RECORD_LIST_TOO_LARGE,
            f"a batch of {size} bytes, segment.bytes is {config.segment_bytes}",
        )
    return None
