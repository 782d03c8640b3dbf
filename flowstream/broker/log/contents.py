"""What is read of the records in a client's batch, and only where it must be: keys for compaction,
timestamps when old ones are refused (KIP-937), everything to store it in another codec or when
`record.validation` is `full`.

The errors of single records are told with their place in the batch (KIP-467).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from flowstream.broker.log.config import EXPANSION, LogConfig
from flowstream.broker.log.index import NO_TIMESTAMP
from flowstream.broker.types import Instant
from flowstream.errors import WireError
from flowstream.wire.batch import (
    BatchHeader,
    Record,
    body_of,
    encode_batch,
    keyless_in,
    read_header,
    records_in,
)
from flowstream.wire.error_codes import ErrorCode

KEYLESS = "Compacted topic cannot accept message without key."

NAMED_MOST = 1000
"""Records of a batch that its refusal names; the others of a batch that large fail with them."""

READ_LEAST = 32 << 20
RECORD = 64
NAMED = 1024
"""What reading costs beside the bytes: each record, and each one that a refusal names."""


class Allowance:
    """What may be read of the records in one request's batches (X4): two hundred bytes expand to
    150,000 records, and a request brings thousands of batches. Whoever sends more may have more
    read; one batch is always read.
    """

    __slots__ = ("_left",)

    def __init__(self, request_bytes: int = 0) -> None:
        """For a request of so many bytes."""
        self._left = READ_LEAST + request_bytes * EXPANSION // 2

    @property
    def is_spent(self) -> bool:
        """Whether no more is read."""
        return self._left <= 0

    def body_of(self, batch: memoryview, header: BatchHeader, limit: int) -> bytes:
        """The uncompressed records of a batch, at most `limit` bytes. Raises WireError."""
        self._left -= limit
        body = body_of(batch, header, limit)
        self._left += limit - len(body) - RECORD * header.count
        return body

    def named(self, records: int) -> None:
        """So many records were named."""
        self._left -= NAMED * records


@dataclass(slots=True)
class Refused:
    """Kafka's error, and which records (index in the batch, message) are at fault when it is not
    the whole batch.
    """

    error: ErrorCode
    message: str
    record_errors: tuple[tuple[int, str], ...] = ()


def check_records(
    batch: memoryview,
    header: BatchHeader,
    config: LogConfig,
    now: Instant,
    allowance: Allowance,
) -> tuple[BatchHeader, memoryview] | Refused:
    """The batch to store, which is another one when the topic wants another codec."""
    if allowance.is_spent:
        # What clients of all kinds send again, knowing that nothing was appended.
        told = "the request's other batches expand too far: send this one again"
        return Refused(ErrorCode.NOT_ENOUGH_REPLICAS, told)
    recompress = config.codec is not None and config.codec != header.codec
    try:
        body = allowance.body_of(batch, header, config.max_expanded)
        if config.compact and (keyless := keyless_in(body, header.count)):
            return _keyless(keyless, allowance)
        dated = not config.log_append_time
        if not (recompress or (dated and config.bounds_age) or config.full_validation):
            return header, batch
        records = records_in(body, header)
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
            return _dated_wrong(errors, allowance)
    return _recompressed(records, header, config) if recompress else (header, batch)


def out_of_range(
    batch: memoryview,
    header: BatchHeader,
    limit: int,
    earliest: int,
    latest: int,
    allowance: Allowance,
) -> Refused:
    """The refusal of a batch whose header tells of records before `earliest` or after `latest`;
    they are named when it expands to at most `limit` bytes.
    """
    records: list[Record] = []
    if not allowance.is_spent:
        with suppress(WireError):
            records = records_in(allowance.body_of(batch, header, limit), header)
    return _dated_wrong(_out_of_range(records, earliest, latest), allowance)


def _keyless(places: Sequence[int], allowance: Allowance) -> Refused:
    message = f"One or more records have been rejected due to {len(places)} record errors in total."
    named = places[:NAMED_MOST]
    allowance.named(len(named))
    return Refused(ErrorCode.INVALID_RECORD, message, tuple((at, KEYLESS) for at in named))


def _out_of_range(
    records: Sequence[Record], earliest: int, latest: int
) -> tuple[tuple[int, str], ...]:
    wrong = (
        (at, record.timestamp)
        for at, record in enumerate(records)
        if record.timestamp != NO_TIMESTAMP and not earliest <= record.timestamp <= latest
    )
    return tuple(
        (
            at,
            f"Timestamp {timestamp} of message with offset {at} is out of range. "
            f"The timestamp should be within [{earliest}, {latest}]",
        )
        for at, timestamp in islice(wrong, NAMED_MOST)
    )


def _dated_wrong(errors: tuple[tuple[int, str], ...], allowance: Allowance) -> Refused:
    allowance.named(len(errors))
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
