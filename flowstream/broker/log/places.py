"""Where an offset is in a log's files, and whether what is found there continues the log.

Index entries and base offsets have no CRC (D6): an entry counts only when the batch that it points
to agrees, and base offsets must continue one another. What an index tells wrong is looked up in the
segment itself; a segment that contradicts itself raises CorruptLog.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from flowstream.broker.doors import Storage
from flowstream.broker.log.aborted import Aborted
from flowstream.broker.log.names import INDEX, TXNINDEX
from flowstream.broker.log.scanning import headers, whole_batches
from flowstream.broker.log.segment import Segment
from flowstream.broker.log.state import LogState
from flowstream.errors import CorruptLog
from flowstream.wire.batch_header import HEADER_SIZE, MAGIC, BatchHeader, check_crc, read_header


class Place(NamedTuple):
    """The first batch of a segment that ends at or after an offset: its position, and the base
    offset that it must have. The end of the segment when there is no such batch.
    """

    position: int
    base_offset: int


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


def place_of(log: LogState, segment: Segment, offset: int) -> Place:
    """Where the batch of `offset` begins in `segment`."""
    cursor = log.cursors.get(offset)
    if cursor is not None and cursor[0] is segment:
        return Place(cursor[1], offset)
    if offset <= segment.base_offset:
        return Place(0, segment.base_offset)
    entry = segment.index.floor(offset)
    if entry is not None:
        header = header_at(log.storage, segment, entry[1])
        if header is not None and header.last_offset == entry[0]:
            found = _walk(log, segment, Place(entry[1], header.base_offset), offset)
            if found is not None:
                return found
    found = _walk(log, segment, Place(0, segment.base_offset), offset)
    if found is None:
        raise CorruptLog(f"{segment.path}: no batch continues the log before offset {offset}")
    return found


def place_of_time(log: LogState, segment: Segment, timestamp: int) -> Place:
    """Where to begin to look for `timestamp` in `segment`: no batch before reaches it."""
    entry = segment.times.floor(timestamp)
    if entry is not None and entry[1] > log.log_start:
        place = place_of(log, segment, entry[1])
        if is_time_entry(log.storage, segment, place.position, entry):
            return place
    return place_of(log, segment, log.log_start)


def is_time_entry(
    storage: Storage, segment: Segment, position: int, entry: tuple[int, int]
) -> bool:
    """Whether the batch at `position` is the one that a (timestamp, offset) entry tells of."""
    header = header_at(storage, segment, position)
    return (
        header is not None
        and header.max_timestamp == entry[0]
        and header.base_offset <= entry[1] <= header.last_offset
    )


def header_at(storage: Storage, segment: Segment, position: int) -> BatchHeader | None:
    """The header of the whole batch at `position`; None where none can begin."""
    if not 0 <= position <= segment.size - HEADER_SIZE:
        return None
    data = storage.read(segment.path, position, HEADER_SIZE)
    if len(data) < HEADER_SIZE:
        return None
    header = read_header(data)
    whole = header.magic == MAGIC and HEADER_SIZE <= header.size <= segment.size - position
    return header if whole else None


def _walk(log: LogState, segment: Segment, start: Place, offset: int) -> Place | None:
    """From batch to batch until `offset`; None where one does not continue the log."""
    position, expected = start
    for at, header in headers(log.storage, segment.path, position, segment.size):
        if not continues(log, header, expected):
            return None
        if header.last_offset >= offset:
            return Place(at, expected)
        position, expected = at + header.size, header.last_offset + 1
    # What this process appended may not be on the disk yet.
    return Place(position, expected) if position >= segment.own_from else None


def continues(log: LogState, header: BatchHeader, expected: int) -> bool:
    """Whether a batch may begin where offset `expected` is next: only compaction leaves gaps. The
    CRC covers neither the offset nor the magic.
    """
    base = header.base_offset
    return header.magic == MAGIC and (base == expected or (base > expected and log.gaps))


def checked_batches(
    log: LogState, segment: Segment, start: Place
) -> Iterator[tuple[BatchHeader, memoryview]]:
    """Header and bytes of each batch of `segment` from `start` on. Raises CorruptLog where one of
    an earlier life is not what was written.
    """
    position, expected = start
    for at, header, batch in whole_batches(log.storage, segment.path, position, segment.size):
        if at < segment.own_from and not (
            continues(log, header, expected) and check_crc(batch, header)
        ):
            raise CorruptLog(
                f"{segment.path}: bad CRC or offset at byte {at}, where offset {expected} is due"
            )
        position, expected = at + header.size, header.last_offset + 1
        yield header, batch
    if position < segment.own_from:
        raise CorruptLog(f"{segment.path}: no whole batch at byte {position}, offset {expected}")


def check_aborted(log: LogState, segment: Segment) -> None:
    """Compare what an earlier process wrote into the `.txnindex` with the log: a wrong entry would
    show aborted records (T8). Raises CorruptLog.
    """
    if segment.aborted_checked:
        return
    stable = 0
    for entry in segment.aborted:
        marker = _batch_of(log, entry.last_offset)
        first = _batch_of(log, entry.first_offset)
        fits = (
            stable <= entry.first_offset <= entry.last_offset
            and entry.last_stable_offset <= entry.last_offset + 1
            and marker is not None
            and marker.is_control
            and marker.producer_id == entry.producer_id
            # The beginning may be deleted or compacted away, its marker not.
            and (first is None or _begins(log, entry, first))
        )
        if not fits:
            raise CorruptLog(
                f"{segment.file(TXNINDEX)}: {entry} is not what the log holds; delete it together"
                f" with {segment.file(INDEX)} and start again: both are rebuilt from the log"
            )
        stable = max(stable, entry.last_stable_offset)
    segment.aborted_checked = True


def _begins(log: LogState, entry: Aborted, first: BatchHeader) -> bool:
    if log.gaps:
        return True
    return first.base_offset == entry.first_offset and first.producer_id == entry.producer_id


def _batch_of(log: LogState, offset: int) -> BatchHeader | None:
    """The header of the batch that holds `offset`; None where the log has none."""
    if not log.segments[0].base_offset <= offset < log.log_end:
        return None
    segment = log.segments[segment_at(log, offset)]
    return header_at(log.storage, segment, place_of(log, segment, offset).position)
