"""One segment against itself: every batch continues the log with a matching CRC, and what the
indexes say is what the log holds.

Reads the batches once, in order; the findings about index files come after the last batch. Of the
batches it keeps only what those files speak of: a segment may have millions (X3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from flowstream.broker.doors import Storage
from flowstream.broker.inspection.findings import Finding, error, warning
from flowstream.broker.inspection.words import internal_words
from flowstream.broker.log import names
from flowstream.broker.log.aborted import ENTRY_SIZE, Aborted, decode_aborted
from flowstream.broker.log.index import OffsetIndex, TimeIndex
from flowstream.broker.log.scanning import whole_batches
from flowstream.errors import FlowstreamError
from flowstream.wire.batch import BatchHeader, check_crc, decode_control, decode_records

RESTORE = (
    "restore the partition from a copy, or read what is left before this offset with"
    " `flowstream dump --deep`; nothing is repaired by itself"
)
LONG_MAX = (1 << 63) - 1
REBUILT = "delete the file while the broker is stopped: it is rebuilt from the log"


@dataclass(slots=True)
class Rules:
    """What holds for the log that a segment is part of."""

    topic: str
    synced: int
    """Offsets below this were durable: what is bad there is corruption, above it a torn end."""
    journalled: Mapping[str, int]
    """So are bytes below these sizes of files, as the journal says."""
    gaps: bool
    """Compaction may leave them."""
    internal: bool
    deep: bool


@dataclass(slots=True)
class Course:
    """How far the examination has come in a log, from segment to segment."""

    expected: int
    """The offset that is due next."""
    leader_epochs: dict[int, int] = field(default_factory=dict)
    """Epoch -> first offset that carries it."""
    open: dict[int, int] = field(default_factory=dict)
    """Producer id -> first offset of its open transaction."""
    aborted: list[Aborted] = field(default_factory=list)
    """Transactions of this segment that were rolled back."""
    markers: dict[int, int] = field(default_factory=dict)
    """Offset -> producer id of this segment's abort markers."""
    broken: bool = False
    """The log does not go on behind what was found."""


class SegmentExam:
    """The examination of one `.log` file and the index files beside it."""

    def __init__(
        self,
        storage: Storage,
        directory: str,
        base: int,
        rules: Rules,
        course: Course,
        *,
        trusted: bool,
    ) -> None:
        """`course` is carried on by this segment. Its index files are looked at when the next start
        uses them as they are: `trusted`.
        """
        self._trusted = trusted
        self._storage = storage
        self._directory = directory
        self._base = base
        self._rules = rules
        self._course = course
        self._path = names.file_path(directory, base, names.LOG)
        self._is_empty = True
        self._ends: dict[int, int | None] = {}
        """Position in the offset index -> last offset of the batch that begins there."""
        self._times: list[int] = []
        """The offsets of the time index."""
        self._reached: list[tuple[int, int]] = []
        """Of each of them: base offset and timestamp of the batch that holds it."""

    def findings(self) -> Iterator[Finding]:
        """Everything that does not fit."""
        course = self._course
        course.aborted, course.markers = [], {}
        if self._trusted:
            self._look_ahead()
        size = self._storage.size(self._path) or 0
        position = 0
        for at, header, batch in whole_batches(self._storage, self._path, 0, size):
            bad = self._batch_fault(header, batch)
            if bad:
                break
            yield from self._records(at, header, batch)
            self._take(at, header, batch)
            position = at + header.size
        else:
            bad = "no whole batch begins here" if position < size else ""
        if bad:
            course.broken = True
            yield self._bad_batch(bad, position, size)
            return
        if self._trusted:
            yield from self._check_indexes()

    def _batch_fault(self, header: BatchHeader, batch: memoryview) -> str:
        """What is wrong with a batch's arithmetic or bytes; empty when nothing is."""
        expected, base = self._course.expected, header.base_offset
        if not check_crc(batch, header):
            return "the CRC does not match the bytes"
        if base < expected or (base > expected and not self._rules.gaps):
            return f"a batch of offset {base} where {expected} is due"
        span = header.last_offset - base + 1
        if span < 1 or header.count < 0 or header.count > span:
            return f"{header.count} records in {span} offsets"
        if header.count < span and not self._rules.gaps and not header.is_control:
            return f"{header.count} records in {span} offsets"
        return ""

    def _bad_batch(self, what: str, position: int, size: int) -> Finding:
        offset = self._course.expected
        if offset < self._rules.synced:
            until = self._rules.synced
            synced = "all of it was" if until == LONG_MAX else f"offsets up to {until} were"
            told = f"{what}; {synced} synced"
            return error(self._path, told, RESTORE, position=position, offset=offset)
        journalled = self._rules.journalled.get(self._path, 0)
        if position < journalled:
            told = f"{what}; the journal says that the file was synced up to byte {journalled}"
            return error(self._path, told, RESTORE, position=position, offset=offset)
        told = f"{what}: {size - position} bytes that nobody was promised"
        cut = "the next start cuts them off and goes on"
        return warning(self._path, told, cut, position=position, offset=offset)

    def _records(self, at: int, header: BatchHeader, batch: memoryview) -> Iterator[Finding]:
        rules = self._rules
        if not (rules.deep or rules.internal):
            return
        try:
            records = decode_records(batch)
            if not header.is_control:
                for record in records:
                    internal_words(rules.topic, record)
        except FlowstreamError as fault:
            what = f"records that cannot be understood: {fault}"
            if rules.internal:
                remedy = "the broker will not start with it: " + RESTORE
            else:
                remedy = "the producer sent it so; readers will fail here: skip this offset"
            yield error(self._path, what, remedy, position=at, offset=header.base_offset)

    def _take(self, at: int, header: BatchHeader, batch: memoryview) -> None:
        """The batch is good: what it adds to the course of the log."""
        course = self._course
        course.expected = header.last_offset + 1
        course.leader_epochs.setdefault(header.leader_epoch, header.base_offset)
        self._is_empty = False
        if at in self._ends:
            self._ends[at] = header.last_offset
        reached = self._reached
        while len(reached) < len(self._times) and self._times[len(reached)] <= header.last_offset:
            reached.append((header.base_offset, header.max_timestamp))
        if not header.is_transactional:
            return
        producer, offset = header.producer_id, header.base_offset
        if not header.is_control:
            course.open.setdefault(producer, offset)
        else:
            began = course.open.pop(producer, None)
            if not decode_control(decode_records(batch)[0]).commit:
                course.markers[offset] = producer
                if began is not None:
                    course.aborted.append(Aborted(producer, began, offset, offset + 1))

    # -- index files ----------------------------------------------------------------------

    def _look_ahead(self) -> None:
        """Which batches the index files speak of."""
        _, offsets, _ = self._content(names.INDEX, OffsetIndex.ENTRY.size)
        self._ends = {position: None for _, position in OffsetIndex.ENTRY.iter_unpack(offsets)}
        _, times, _ = self._content(names.TIMEINDEX, TimeIndex.ENTRY.size)
        entries = TimeIndex.ENTRY.iter_unpack(times)
        self._times = [self._base + relative for _, relative in entries]

    def _check_indexes(self) -> Iterator[Finding]:
        yield from self._check_offsets()
        yield from self._check_times()
        yield from self._check_aborted()

    def _content(self, suffix: str, entry: int) -> tuple[str, memoryview, list[Finding]]:
        path = names.file_path(self._directory, self._base, suffix)
        size = self._storage.size(path)
        if size is None:
            if suffix == names.TXNINDEX:
                return path, memoryview(b""), []
            return path, memoryview(b""), [warning(path, "the file is missing", "it is rebuilt")]
        torn = []
        if size % entry:
            told = f"{size} bytes are not a whole number of {entry}-byte entries"
            torn = [warning(path, told, "it is rebuilt from the log")]
        return path, self._storage.read(path, 0, size - size % entry), torn

    def _check_offsets(self) -> Iterator[Finding]:
        path, content, found = self._content(names.INDEX, OffsetIndex.ENTRY.size)
        yield from found
        last = -1
        for at, (relative, position) in enumerate(OffsetIndex.ENTRY.iter_unpack(content)):
            offset = self._base + relative
            if position <= last or self._ends[position] != offset:
                told = f"offset {offset} at byte {position} is no batch of the log"
                yield warning(path, told, REBUILT, position=at * OffsetIndex.ENTRY.size)
                return
            last = position

    def _check_times(self) -> Iterator[Finding]:
        path, content, found = self._content(names.TIMEINDEX, TimeIndex.ENTRY.size)
        yield from found
        last = -2
        for at, (timestamp, relative) in enumerate(TimeIndex.ENTRY.iter_unpack(content)):
            offset = self._base + relative
            is_held = at < len(self._reached)
            base, reached = self._reached[at] if is_held else (offset + 1, -1)
            empty = self._is_empty and timestamp in (-1, 0)
            if not empty and (timestamp <= last or not base <= offset or reached != timestamp):
                told = f"time {timestamp} at offset {offset} is not what the log holds"
                yield warning(path, told, REBUILT, position=at * TimeIndex.ENTRY.size)
                return
            last = timestamp

    def _check_aborted(self) -> Iterator[Finding]:
        """A wrong entry here would show aborted records, or hide others (T8)."""
        path, content, found = self._content(names.TXNINDEX, ENTRY_SIZE)
        yield from found
        told = decode_aborted(content)
        known = {(entry.producer_id, entry.last_offset): entry for entry in told}
        index = names.file_path(self._directory, self._base, names.INDEX)
        remedy = f"delete it together with {index} while the broker is stopped: both are rebuilt"
        for mine in self._course.aborted:
            entry = known.pop((mine.producer_id, mine.last_offset), None)
            wrong_start = (
                entry is not None
                and entry.first_offset != mine.first_offset
                and not self._rules.gaps
            )
            if entry is None or wrong_start:
                what = (
                    f"the transaction of producer {mine.producer_id} that was rolled back at"
                    f" offset {mine.last_offset} is not told right"
                )
                yield error(path, what, remedy, offset=mine.first_offset)
        for entry in known.values():
            if self._course.markers.get(entry.last_offset) != entry.producer_id:
                what = f"{entry} has no marker in the log"
                yield error(path, what, remedy, offset=entry.last_offset)
