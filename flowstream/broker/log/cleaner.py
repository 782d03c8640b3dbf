"""One cleaning of a compacted log, slice by slice: which part is due, reading it twice, and putting
the smaller segments in the place of the old ones (L7, C1).

`Cleaning.step` reads a bounded number of bytes and returns what is to be written; the caller goes
on when that is durable. Whatever happens to the log meanwhile only makes the cleaning stop.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple, TypeVar

from flowstream.broker.doors import Append, Flush, Operation
from flowstream.broker.log import names
from flowstream.broker.log.aborted import Aborted
from flowstream.broker.log.cleaning import RECORD, Filter, OffsetMap, Transactions, add_keys
from flowstream.broker.log.config import LONG_MAX
from flowstream.broker.log.places import (
    Place,
    check_aborted,
    checked_batches,
    header_at,
    place_of,
    segment_at,
    segment_end,
)
from flowstream.broker.log.segment import SPAN, Segment
from flowstream.broker.log.state import LogState
from flowstream.broker.log.swapping import CleanedSegment, exchange
from flowstream.broker.types import Instant
from flowstream.errors import WireError
from flowstream.wire.batch import BatchHeader, read_header

SLICE = 1 << 17
"""Work of one step in bytes; a record counts as RECORD bytes at least."""

T = TypeVar("T")
Steps = Generator[list[Operation], None, T]


class Plan(NamedTuple):
    """What of a log can be cleaned: by the keys in [first_dirty, end), all segments below `end`.

    `ratio` is Kafka's dirty ratio; `overdue`: something is older than max.compaction.lag.ms.
    """

    first_dirty: int
    end: int
    ratio: float
    overdue: bool


def plan(log: LogState, now: Instant) -> Plan | None:
    """What can be cleaned now: closed segments below the last stable offset that are older than
    min.compaction.lag.ms. None when there is nothing.
    """
    if len(log.segments) == 1 or not log.config.compact:
        return None
    first_dirty = log.clean_end if log.log_start <= log.clean_end <= log.log_end else log.log_start
    dirty = log.segments[segment_at(log, first_dirty) : -1]
    bound = min(log.last_stable, log.active.base_offset)
    if log.config.min_compaction_lag_ms > 0:
        youngest = now - log.config.min_compaction_lag_ms
        bound = min([bound, *(s.base_offset for s in dirty if s.dated(log.config, now) > youngest)])
    end = log.segments[segment_at(log, max(bound, first_dirty))].base_offset
    dirty_bytes = sum(s.size for s in dirty if s.base_offset < end)
    if end <= first_dirty or not dirty_bytes:
        return None
    clean_bytes = sum(s.size for s in log.segments if s.base_offset < first_dirty)
    return Plan(
        first_dirty, end, dirty_bytes / (clean_bytes + dirty_bytes), _overdue(log, dirty, now)
    )


def _overdue(log: LogState, dirty: Sequence[Segment], now: Instant) -> bool:
    """KIP-354: whether a dirty segment begins before max.compaction.lag.ms ago."""
    if log.config.max_compaction_lag_ms == LONG_MAX:
        return False
    oldest = now - log.config.max_compaction_lag_ms
    for segment in dirty:
        if segment.first_timestamp < 0:
            header = header_at(log.storage, segment, 0)
            segment.first_timestamp = -1 if header is None else header.max_timestamp
        if 0 < segment.first_timestamp < oldest:
            return True
    return False


def is_wanted(log: LogState, found: Plan) -> bool:
    """Whether the log is dirty enough, or dirty for long enough."""
    return found.overdue or found.ratio > log.config.min_cleanable_ratio


def groups(log: LogState, end: int) -> list[list[Segment]]:
    """The segments below `end`, neighbours together as long as one segment can hold them."""
    config = log.config
    found: list[list[Segment]] = []
    size = index = times = 0
    for at, segment in enumerate(log.segments):
        if segment.base_offset >= end:
            break
        sizes = (segment.size, 8 * segment.index.entries.filled, 12 * segment.times.entries.filled)
        if (
            found
            and size + sizes[0] <= config.segment_bytes
            and index + sizes[1] <= config.segment_index_bytes
            and times + sizes[2] <= config.segment_index_bytes
            and (not segment.size or segment_end(log, at) - 1 - found[-1][0].base_offset <= SPAN)
        ):
            found[-1].append(segment)
            size, index, times = size + sizes[0], index + sizes[1], times + sizes[2]
        else:
            found.append([segment])
            size, index, times = sizes
    return found


class _Abandoned(Exception):
    """The segments or the policy changed meanwhile: not an error, the next cleaning sees to it."""


class Cleaning:
    """A cleaning that is going on. `end` is where the next one begins, None until this one came to
    its end.
    """

    def __init__(
        self,
        log: LogState,
        found: Plan,
        now: Instant,
        *,
        keys: int,
        flush: bool,
        slice_bytes: int = SLICE,
    ) -> None:
        """Clean `log` as planned, with `keys` keys at most. `flush`: nobody else syncs."""
        self.log = log
        self.end: int | None = None
        self.bytes = 0
        """Read and written so far."""
        self.filter: Filter | None = None
        self._plan = found
        self._now = now
        self._keys = keys
        self._slice = slice_bytes
        self._flush = flush
        self._operations: list[Operation] = []
        self._cleaned: CleanedSegment | None = None
        self._needed: list[Segment] = []
        """Segments that must still be the log's."""
        self._work = 0
        self._steps = self._run()

    def step(self) -> list[Operation] | None:
        """The next slice: what to write before the one after it. None when there is no more.

        Raises CorruptLog or WireError; then `abandon`.
        """
        return next(self._steps, None)

    def abandon(self) -> list[Operation]:
        """Leave the log as it is; remove what is half made."""
        cleaned, self._cleaned = self._cleaned, None
        return [] if cleaned is None else cleaned.abandon()

    def _run(self) -> Steps[None]:
        offsets = OffsetMap(self._keys)
        try:
            yield from self._map(offsets)
            end = offsets.latest + 1
            self.filter = Filter(
                offsets,
                Transactions((yield from self._aborted(0))),
                round_end=self._plan.end,
                now=self._now,
                delete_retention_ms=self.log.config.delete_retention_ms,
            )
            for group in groups(self.log, end):
                yield from self._clean(group, self.filter)
            self.end = end
        except _Abandoned:
            yield self.abandon()

    # Slices

    def _pause(self, work: int) -> Steps[None]:
        """Let the others have their turn after enough work; then look whether all is as before."""
        self._work += work
        self.bytes += work
        if self._work >= self._slice:
            yield from self._stop()

    def _stop(self) -> Steps[None]:
        self._work = 0
        operations, self._operations = self._operations, []
        if self._flush and operations and self._cleaned is not None:
            operations.append(Flush(self._cleaned.cleaned(names.LOG)))
        yield operations
        segments, needed = self.log.segments, self._needed
        at = segments.index(needed[0]) if needed and needed[0] in segments else -1
        if not self.log.config.compact or (needed and segments[at : at + len(needed)] != needed):
            raise _Abandoned

    def _breathing(self, work: Generator[int, None, T]) -> Steps[T]:
        """Carry out the work on one batch, which tells how many records it has seen."""
        while True:
            try:
                records = next(work)
            except StopIteration as done:
                result: T = done.value
                return result
            yield from self._pause(records * RECORD)

    # Reading

    def _aborted(self, start: int) -> Steps[list[Aborted]]:
        """The aborted transactions that reach beyond offset `start`."""
        found: list[Aborted] = []
        for segment in list(self.log.segments):
            self._needed = [segment]
            yield from self._pause(RECORD)
            if segment.own_from:
                check_aborted(self.log, segment)
            found += [each for each in segment.aborted if each.last_offset >= start]
        return found

    def _map(self, offsets: OffsetMap) -> Steps[None]:
        """Find the newest offset of each key of the dirty section, as far as the map reaches."""
        log, (first_dirty, end, _, _) = self.log, self._plan
        offsets.latest = first_dirty - 1
        transactions = Transactions((yield from self._aborted(first_dirty)))
        at = segment_at(log, first_dirty)
        dirty = [s for s in log.segments[at:-1] if s.base_offset < end]
        for position, segment in enumerate(dirty):
            self._needed = dirty[position:]
            place = place_of(log, segment, max(first_dirty, segment.base_offset))
            for header, batch in checked_batches(log, segment, place):
                if not (yield from self._add(offsets, transactions, header, batch)):
                    return
                offsets.latest = max(offsets.latest, header.last_offset)
                yield from self._pause(header.size + RECORD * header.count)
            offsets.latest = max(offsets.latest, segment_end(log, log.segments.index(segment)) - 1)

    def _add(
        self,
        offsets: OffsetMap,
        transactions: Transactions,
        header: BatchHeader,
        batch: memoryview,
    ) -> Steps[bool]:
        """Put one batch into the map; False when it is full."""
        if header.is_control:
            transactions.ends_nothing(header, batch)
            return True
        if transactions.is_aborted(header):
            return True
        try:
            keys = add_keys(offsets, header, batch, self._plan.first_dirty)
            return (yield from self._breathing(keys))
        except WireError:
            return True  # `Filter` keeps it as it is, and counts it

    # Writing

    def _clean(self, group: list[Segment], filter: Filter) -> Steps[None]:
        """Write what stays of `group` into one segment and put that in its place.

        As long as the first segment stays as it is, nothing is written.
        """
        log = self.log
        base, created = group[0].base_offset, group[-1].created
        cleaned = CleanedSegment(log.storage, log.directory, base, created, log.config)
        self._needed, self._cleaned = group, cleaned
        filter.remember_last(log.producers)
        same = True
        for segment in group:
            if segment is not group[0] and same:
                same = False
                yield from self._copy(group[0], cleaned)
            for header, batch in checked_batches(log, segment, Place(0, segment.base_offset)):
                kept = yield from self._breathing(filter.retained(header, batch))
                if kept is not batch and same:
                    same = False
                    yield from self._copy(group[0], cleaned)
                if kept is not None:
                    written = header if kept is batch else read_header(kept)
                    cleaned.extend(written.last_offset, written.max_timestamp, written.size)
                    if not same:
                        self._append(cleaned, kept)
                yield from self._pause(header.size + RECORD * header.count)
        cleaned.aborted = filter.transactions.take_kept()
        if not same:
            self._operations += cleaned.write_cleaned_indexes()
            yield from self._stop()
            self._operations += exchange(log, group, cleaned)
            self._needed, self._cleaned = [cleaned], None
            try:
                yield from self._stop()
            finally:
                # Whatever ends the cleaning here: the exchange was handed over and is performed.
                cleaned.settle()
        self._needed, self._cleaned = [], None

    def _copy(self, segment: Segment, cleaned: CleanedSegment) -> Steps[None]:
        """Begin with the first `cleaned.size` bytes of `segment`, of which all stays."""
        self._operations += cleaned.begin()
        self._append(cleaned, b"")
        for position in range(0, cleaned.size, SLICE):
            length = min(SLICE, cleaned.size - position)
            self._append(cleaned, self.log.storage.read(segment.path, position, length))
            yield from self._pause(length)

    def _append(self, cleaned: CleanedSegment, data: bytes | bytearray | memoryview) -> None:
        self._operations.append(Append(cleaned.cleaned(names.LOG), (data,)))
