"""Reading one partition's log: by offset, by timestamp, from end to end. Changes nothing but
memories of where reads ended.

A fetch returns whole batches (L5). Bytes that this process did not write are checked against their
CRC before they are first served.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from flowstream.broker.log.places import (
    Place,
    check_aborted,
    checked_batches,
    continues,
    place_of,
    place_of_time,
    segment_at,
    segment_end,
)
from flowstream.broker.log.segment import Segment
from flowstream.broker.log.state import LogState
from flowstream.errors import CorruptLog, WireError
from flowstream.wire.batch import (
    HEADER_SIZE,
    BatchHeader,
    body_of,
    check_crc,
    first_since,
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
        try:
            start = place_of(log, segment, offset)
            end = segment.size if bound >= end_offset else place_of(log, segment, bound).position
            if start.position < end:
                limit = min(bound, end_offset)
                _read_segment(log, segment, start, end, max_bytes, min_one, limit, found)
                break
        except (CorruptLog, WireError):
            found.error = ErrorCode.KAFKA_STORAGE_ERROR
            break
        if bound <= end_offset:
            break
        # Compaction took all that was left of this segment.
        at, offset = at + 1, end_offset
    if committed_only and found.size:
        try:
            found.aborted = _aborted(log, at, offset, found.next_offset)
        except CorruptLog:
            return Read(offset, error=ErrorCode.KAFKA_STORAGE_ERROR)
    return found


def _read_segment(
    log: LogState,
    segment: Segment,
    place: Place,
    end: int,
    max_bytes: int,
    min_one: bool,
    bound: int,
    found: Read,
) -> None:
    """Fill `found` from `segment` between two positions; `end` is where the batch of offset `bound`
    begins.
    """
    start = place.position
    data = log.storage.read(segment.path, start, min(end - start, max(max_bytes, HEADER_SIZE)))
    if len(data) < end - start:
        data, bound = _whole(log, segment, start, end, data, max_bytes, min_one)
        if not data:
            return
    if start < segment.own_from and not _trusted(log, segment, place, data, bound):
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
    first = read_header(data)
    if first.size > max_bytes or first.size > len(data):
        if start + first.size > end:
            raise CorruptLog(f"{segment.path}: the batch at byte {start} reaches beyond {end}")
        if not min_one:
            return data[:0], 0
        if first.size > len(data):
            data = log.storage.read(segment.path, start, first.size)
        if len(data) < first.size:
            raise CorruptLog(f"{segment.path}: ends inside the batch at byte {start}")
        return data[: first.size], first.last_offset + 1
    # The index spares walking over every header of a large read. The last entry inside it may point
    # to a batch that is not whole; then the batches of the entry before end there.
    header, cut, limit = first, first.size, len(data)
    while cut < limit:
        position = _indexed(segment, start, data, limit)
        for at, next_header in iter_batches(data[position:]):
            header, cut = next_header, position + at + next_header.size
        limit = position - 1
    return data[:cut], header.last_offset + 1


def _indexed(segment: Segment, start: int, data: memoryview, limit: int) -> int:
    """Where the last indexed batch begins in the first `limit` bytes of `data`, which are those of
    the segment from `start` on; 0 when the index does not tell or is wrong.
    """
    entry = segment.index.floor_position(start + limit)
    if entry is None or entry[1] <= start:
        return 0
    position = entry[1] - start
    if position + HEADER_SIZE > len(data) or read_header(data, position).last_offset == entry[0]:
        return position
    return 0


def _trusted(log: LogState, segment: Segment, place: Place, data: memoryview, bound: int) -> bool:
    """Whether bytes that an earlier process wrote match their CRCs and continue the log up to
    `bound`. What was checked once is not checked again.
    """
    start, expected = place
    end = min(start + len(data), segment.own_from)
    if end <= segment.checked:
        return True
    position = 0
    while start + position < end:
        header = read_header(data, position)
        if not (continues(log, header, expected) and check_crc(data, header, position)):
            return False
        position += header.size
        expected = header.last_offset + 1
    if position == len(data) and not (expected == bound or (expected < bound and log.gaps)):
        return False
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
        if segment.own_from:
            check_aborted(log, segment)
        for transaction in segment.aborted:
            if transaction.last_offset >= start and transaction.first_offset < end:
                found.append((transaction.producer_id, transaction.first_offset))
            if transaction.last_stable_offset >= end:
                return found
    return found


def scan(log: LogState) -> Iterator[memoryview]:
    """Every batch from the log start on; raises CorruptLog where one of an earlier life is not what
    was written.
    """
    for segment in list(log.segments):
        for header, batch in checked_batches(log, segment, Place(0, segment.base_offset)):
            if header.last_offset >= log.log_start:
                yield batch


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
    for header, batch in checked_batches(log, segment, place_of_time(log, segment, timestamp)):
        if header.max_timestamp >= timestamp:
            found = _first_in_batch(log, header, batch, timestamp)
            if found is not None:
                return found
    return None


def _first_in_batch(
    log: LogState, header: BatchHeader, batch: memoryview, timestamp: int
) -> TimestampOffset | None:
    try:
        body = body_of(batch, header, log.config.max_expanded)
        found = first_since(body, header, timestamp, log.log_start)
    except WireError:
        # A lying body inside a valid CRC is stored as it came, and one that expands too far is not
        # read: the batch's beginning is near enough.
        return TimestampOffset(header.max_timestamp, header.base_offset, header.leader_epoch)
    if found is not None:
        return TimestampOffset(*found, header.leader_epoch)
    if header.count and header.base_offset >= log.log_start:
        # The header lies about its records. The next batches may do so too, and each would be read
        # in the turn that asks (X4).
        return TimestampOffset(header.max_timestamp, header.base_offset, header.leader_epoch)
    return None


def _epoch_at(log: LogState, offset: int) -> int:
    found = -1
    for epoch, start in log.epochs.entries:
        if start <= offset:
            found = epoch
    return found
