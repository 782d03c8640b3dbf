"""Reading one partition's log: by offset, by timestamp, from end to end. Changes nothing but
memories of where reads ended.

A fetch returns whole batches (L5). Bytes that this process did not write are checked against their
CRC before they are first served.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from flowstream.broker.log.scanning import headers, whole_batches
from flowstream.broker.log.segment import Segment
from flowstream.broker.log.state import LogState
from flowstream.errors import CorruptLog, WireError
from flowstream.wire.batch import (
    HEADER_SIZE,
    BatchHeader,
    check_crc,
    decode_records,
    iter_batches,
    read_header,
)
from flowstream.wire.error_codes import ErrorCode

LATEST = -1
EARLIEST = -2
MAX_TIMESTAMP = -3
EARLIEST_LOCAL = -4
LATEST_TIERED = -5
EARLIEST_PENDING_UPLOAD = -6


@dataclass(slots=True)
class Read:
    """What a fetch found. `aborted` is there for read_committed only; `next_offset` is where to go
    on.
    """

    next_offset: int
    buffers: list[memoryview] = field(default_factory=list)
    size: int = 0
    aborted: list[tuple[int, int]] | None = None
    error: ErrorCode = ErrorCode.NONE


class TimestampOffset(NamedTuple):
    """A place in the log as ListOffsets tells it; a timestamp of -1 where none applies."""

    timestamp: int
    offset: int
    leader_epoch: int


def read(
    log: LogState, offset: int, max_bytes: int, committed_only: bool, upto: str, min_one: bool
) -> Read:
    """Whole batches of one segment, from the batch that holds `offset`, at most `max_bytes` (one
    batch at least if `min_one`).
    """
    if not log.log_start <= offset <= log.log_end:
        return Read(offset, error=ErrorCode.OFFSET_OUT_OF_RANGE)
    bound = _bound(log, upto)
    found = Read(offset, aborted=[] if committed_only else None)
    if offset >= bound:
        return found
    at = segment_at(log, offset)
    while at < len(log.segments):
        segment = log.segments[at]
        end_offset = segment_end(log, at)
        start = position_of(log, segment, offset)
        end = segment.size if bound >= end_offset else position_of(log, segment, bound)
        if start < end:
            limit = min(bound, end_offset)
            try:
                _read_segment(log, segment, start, end, max_bytes, min_one, limit, found)
            except WireError:
                found.error = ErrorCode.KAFKA_STORAGE_ERROR
            break
        if bound <= end_offset:
            break
        # Compaction took all that was left of this segment.
        at, offset = at + 1, end_offset
    if committed_only and found.size:
        found.aborted = _aborted(log, at, offset, found.next_offset)
    return found


def _read_segment(
    log: LogState,
    segment: Segment,
    start: int,
    end: int,
    max_bytes: int,
    min_one: bool,
    bound: int,
    found: Read,
) -> None:
    """Fill `found` from `segment` between two positions; `end` is where the batch of offset `bound`
    begins.
    """
    data = log.storage.read(segment.path, start, min(end - start, max(max_bytes, HEADER_SIZE)))
    if len(data) < end - start:
        data, bound = _whole(log, segment, start, end, data, max_bytes, min_one)
        if not data:
            return
    if start < segment.own_from and not _trusted(segment, start, data):
        found.error = ErrorCode.KAFKA_STORAGE_ERROR
        return
    found.buffers.append(data)
    found.size = len(data)
    found.next_offset = bound
    log.remember(bound, segment, start + len(data))


def _whole(
    log: LogState,
    segment: Segment,
    start: int,
    end: int,
    data: memoryview,
    max_bytes: int,
    min_one: bool,
) -> tuple[memoryview, int]:
    """Cut `data` behind its last whole batch, or read the first one whole when it alone is larger;
    and the offset after it.
    """
    if len(data) < HEADER_SIZE:
        return data[:0], 0
    first = read_header(data)
    if first.size > max_bytes or first.size > len(data):
        if not min_one or start + first.size > end:
            return data[:0], 0
        if first.size > len(data):
            data = log.storage.read(segment.path, start, first.size)
        if len(data) < first.size:
            return data[:0], 0
        return data[: first.size], first.last_offset + 1
    # The index spares walking over every header of a large read. The last entry inside it may point
    # to a batch that is not whole; then the batches of the entry before end there.
    header, cut, limit = first, first.size, len(data)
    while cut < limit:
        position = max(segment.index.floor_position(start + limit) - start, 0)
        for at, next_header in iter_batches(data[position:]):
            header, cut = next_header, position + at + next_header.size
        limit = position - 1
    return data[:cut], header.last_offset + 1


def _trusted(segment: Segment, start: int, data: memoryview) -> bool:
    """Whether bytes that an earlier process wrote match their CRCs. What was checked once is not
    checked again.
    """
    end = min(start + len(data), segment.own_from)
    if end <= segment.checked:
        return True
    position = 0
    while start + position < end:
        header = read_header(data, position)
        if not check_crc(data, header, position):
            return False
        position += header.size
    if start <= segment.checked:
        segment.checked = end
    return True


def _bound(log: LogState, upto: str) -> int:
    if upto == "high_watermark":
        return log.high_watermark
    if upto == "last_stable":
        return log.last_stable
    assert upto == "log_end", f"upto={upto!r}"
    return log.log_end


def _aborted(log: LogState, at: int, start: int, end: int) -> list[tuple[int, int]]:
    """(producer id, first offset) of the aborted transactions that reach into [start, end) (T6)."""
    found: list[tuple[int, int]] = []
    for segment in log.segments[at:]:
        for transaction in segment.aborted:
            if transaction.last_offset >= start and transaction.first_offset < end:
                found.append((transaction.producer_id, transaction.first_offset))
            if transaction.last_stable_offset >= end:
                return found
    return found


def segment_at(log: LogState, offset: int) -> int:
    """Number of the segment that `offset` is in."""
    segments = log.segments
    if offset >= segments[-1].base_offset:
        return len(segments) - 1
    return max(bisect_right(segments, offset, key=_base_offset) - 1, 0)


def _base_offset(segment: Segment) -> int:
    return segment.base_offset


def segment_end(log: LogState, at: int) -> int:
    """The offset at which the segment after number `at` begins, or the log end."""
    return log.segments[at + 1].base_offset if at + 1 < len(log.segments) else log.log_end


def position_of(log: LogState, segment: Segment, offset: int) -> int:
    """Position of the first batch of `segment` that ends at or after `offset`; its size when there
    is none.
    """
    cursor = log.cursors.get(offset)
    if cursor is not None and cursor[0] is segment:
        return cursor[1]
    if offset <= segment.base_offset:
        return 0
    start = segment.index.floor(offset)
    for position, header in headers(log.storage, segment.path, start, segment.size):
        if header.last_offset >= offset:
            return position
    return segment.size


def scan(log: LogState) -> Iterator[memoryview]:
    """Every batch from the log start on; raises CorruptLog where one of an earlier life does not
    match its CRC.
    """
    for segment in list(log.segments):
        expected = 0
        for position, header, batch in whole_batches(log.storage, segment.path, 0, segment.size):
            if position < segment.own_from and not check_crc(batch, header):
                raise CorruptLog(f"{segment.path}: bad CRC at offset {header.base_offset}")
            expected = position + header.size
            if header.last_offset >= log.log_start:
                yield batch
        if expected != segment.size:
            raise CorruptLog(f"{segment.path}: no whole batch at byte {expected}")


def offset_for_timestamp(log: LogState, timestamp: int) -> TimestampOffset | None:
    """ListOffsets: the first record not older than `timestamp`, or a special place (KIP-405,
    KIP-734, KIP-1005, KIP-1023).
    """
    if timestamp == LATEST:
        return TimestampOffset(-1, log.high_watermark, log.epochs.latest)
    if timestamp in (EARLIEST, EARLIEST_LOCAL):
        return TimestampOffset(-1, log.log_start, _epoch_at(log, log.log_start))
    if timestamp in (LATEST_TIERED, EARLIEST_PENDING_UPLOAD):
        return TimestampOffset(-1, -1, -1)
    if timestamp == MAX_TIMESTAMP:
        return _largest(log)
    for segment in log.segments:
        if segment.max_timestamp >= timestamp:
            found = _first_not_older(log, segment, timestamp)
            if found is not None:
                return found
    return None


def _largest(log: LogState) -> TimestampOffset | None:
    """The first record with the largest timestamp (KIP-734)."""
    best: Segment | None = None
    for segment in log.segments:
        if segment.size and (best is None or segment.max_timestamp > best.max_timestamp):
            best = segment
    if best is None or best.max_timestamp < 0:
        return None
    return _first_not_older(log, best, best.max_timestamp)


def _first_not_older(log: LogState, segment: Segment, timestamp: int) -> TimestampOffset | None:
    start = position_of(log, segment, max(segment.times.floor(timestamp), log.log_start))
    for _, header, batch in whole_batches(log.storage, segment.path, start, segment.size):
        if header.max_timestamp >= timestamp:
            found = _first_in_batch(log, header, batch, timestamp)
            if found is not None:
                return found
    return None


def _first_in_batch(
    log: LogState, header: BatchHeader, batch: memoryview, timestamp: int
) -> TimestampOffset | None:
    try:
        records = decode_records(batch)
    except WireError:
        # A lying body inside a valid CRC is stored as it came: the batch's beginning is near
        # enough.
        return TimestampOffset(header.max_timestamp, header.base_offset, header.leader_epoch)
    for record in records:
        if record.timestamp >= timestamp and record.offset >= log.log_start:
            return TimestampOffset(record.timestamp, record.offset, header.leader_epoch)
    return None


def _epoch_at(log: LogState, offset: int) -> int:
    found = -1
    for epoch, start in log.epochs.entries:
        if start <= offset:
            found = epoch
    return found
