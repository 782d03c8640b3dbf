"""Reading segments back after a crash: indexes, producer state, aborted transactions and leader
epochs are folds of the batches (P3).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from flowstream.broker.doors import Flush, Operation, Replace, Truncate
from flowstream.broker.log import names
from flowstream.broker.log.partition import PartitionLog
from flowstream.broker.log.places import checked_batches, place_of, segment_at
from flowstream.broker.log.producers import REMEMBERED_BATCHES, Batch
from flowstream.broker.log.scanning import headers, whole_batches
from flowstream.broker.log.segment import SPAN, Segment
from flowstream.broker.log.snapshots import CorruptSnapshot, decode_snapshot, encode_snapshot
from flowstream.broker.types import Instant
from flowstream.errors import CorruptLog, WireError
from flowstream.wire.batch import BatchHeader, check_crc

RECALL_BYTES = 4 << 20
"""How far before a snapshot the batches are looked for that it does not keep. A retry across a
restart comes from the last moments before the stop; beyond this it is refused as out of order,
never appended twice.
"""


class Rebuilder:
    """Folds batches into a log that is being opened, and gathers the operations that its files
    need.
    """

    def __init__(
        self,
        log: PartitionLog,
        recovery_point: int,
        synced: Mapping[str, int],
        now: Instant,
        snapshots: Sequence[int],
    ) -> None:
        """Batches that begin below `recovery_point`, or in a file below its size in `synced`, were
        durable: they may not be bad.
        """
        self.log = log
        self.recovery_point = recovery_point
        self.synced = synced
        self.now = now
        self.snapshots = snapshots
        """Offsets of the producer snapshots that the directory holds."""
        self.operations: list[Operation] = []
        self.report: list[str] = []
        self.torn_snapshots: set[int] = set()

    def restore_producers(self, upto: int) -> None:
        """Producer state at offset `upto`: the newest whole snapshot at or below it, and the
        batches from there on.
        """
        log = self.log
        start = log.segments[0].base_offset
        for offset in sorted(self._snapshots(upto), reverse=True):
            path = names.file_path(log.directory, offset, names.SNAPSHOT)
            try:
                found = decode_snapshot(
                    log.storage.read(path, 0, log.storage.size(path) or 0), self.now
                )
            except CorruptSnapshot as error:
                self.report.append(
                    f"{path}: {error}; removed, an older one and the log tell the same"
                )
                self.torn_snapshots.add(offset)
                continue
            log.producers.restore(found, offset)
            start = offset
            break
        if log.producers.by_id:
            self._recall(start)
        for segment, header, batch in self._batches(start, upto):
            self._fold(segment, header, batch, known=True)

    def _snapshots(self, upto: int) -> list[int]:
        first = self.log.segments[0].base_offset
        return [offset for offset in self.snapshots if first <= offset <= upto]

    def _batches(self, start: int, end: int) -> Iterator[tuple[Segment, BatchHeader, memoryview]]:
        """The batches of trusted segments in [start, end)."""
        log = self.log
        for segment in log.segments[segment_at(log, start) :]:
            if segment.base_offset >= end or start >= end:
                return
            for header, batch in checked_batches(log, segment, place_of(log, segment, start)):
                if header.base_offset >= start:
                    yield segment, header, batch

    def _recall(self, offset: int) -> None:
        """Find the last five batches of each producer of a snapshot taken at `offset`: it keeps but
        one of them.
        """
        wanted = {p.producer_id: p for p in self.log.producers if p.batches}
        found: dict[int, deque[Batch]] = {pid: deque(maxlen=REMEMBERED_BATCHES) for pid in wanted}
        for header in self._headers_before(offset):
            producer = wanted.get(header.producer_id)
            if producer is None or header.is_control or header.producer_epoch != producer.epoch:
                continue
            found[header.producer_id].append(_remembered(header))
        for pid, batches in found.items():
            producer = wanted[pid]
            if batches and batches[-1][1] == producer.batches[-1][1]:
                producer.batches = batches

    def _headers_before(self, offset: int) -> Iterator[BatchHeader]:
        """Headers of the last batches below `offset`, in order."""
        log = self.log
        at = segment_at(log, offset)
        runs: list[tuple[Segment, int, int]] = []
        budget = max(RECALL_BYTES, (REMEMBERED_BATCHES + 1) * log.config.max_message_bytes)
        end = place_of(log, log.segments[at], offset).position
        while budget > 0:
            segment = log.segments[at]
            entry = segment.index.floor_position(end - budget) if end > budget else None
            start = 0 if entry is None else entry[1]
            runs.append((segment, start, end))
            budget -= end - start
            if at == 0:
                break
            at -= 1
            end = log.segments[at].size
        for segment, start, end in reversed(runs):
            for _, header in headers(log.storage, segment.path, start, end):
                yield header

    def rebuild(self, at: int) -> bool:
        """Read segment number `at` from its beginning; False when it was cut and nothing comes
        after it.
        """
        log = self.log
        segment = log.segments[at]
        size = segment.size
        self._reset(segment)
        # The one before may end earlier: compaction took its last batches.
        log.log_end = max(log.log_end, segment.base_offset)
        self._check_snapshot(segment)
        gaps = log.gaps and at + 1 < len(log.segments)
        for position, header, batch in whole_batches(log.storage, segment.path, 0, size):
            if not self._is_next(segment, header, batch, gaps):
                break
            segment.extend(
                header.last_offset,
                header.max_timestamp,
                header.size,
            )
            assert segment.size == position + header.size
            if header.leader_epoch >= 0:
                log.epochs.assign(header.leader_epoch, header.base_offset)
            log.log_end = header.last_offset + 1
            self._fold(segment, header, batch, known=False)
        whole = segment.size == size and not self._lacks_its_end(at)
        if not whole:
            self._cut(at, size)
        self.operations.append(Flush(segment.path))
        if at < len(log.segments) - 1:
            segment.close()
            self.operations += segment.write_indexes(Replace)
        return whole

    def _reset(self, segment: Segment) -> None:
        fresh = Segment(
            segment.storage, segment.directory, segment.base_offset, self.now, self.log.config
        )
        segment.index, segment.times = fresh.index, fresh.times
        segment.aborted = []
        segment.size = segment.indexed_at = segment.own_from = 0
        segment.max_timestamp = fresh.max_timestamp
        segment.max_timestamp_offset = fresh.max_timestamp_offset

    def _is_next(
        self, segment: Segment, header: BatchHeader, batch: memoryview, gaps: bool
    ) -> bool:
        """Whether the batch is valid and continues the log. Only compaction leaves gaps; the CRC
        covers neither the offset nor the leader epoch.
        """
        base, expected = header.base_offset, self.log.log_end
        epochs = self.log.epochs
        return (
            (base == expected or (gaps and base > expected))
            and (header.leader_epoch > epochs.latest or epochs.fits(header.leader_epoch, base))
            and header.last_offset_delta >= 0
            and header.last_offset - segment.base_offset <= SPAN
            and check_crc(batch, header)
        )

    def _lacks_its_end(self, at: int) -> bool:
        """Whether the crash took whole batches from the end of segment `at`, and left the next one.

        The next one was appended later and cannot have been acknowledged. Compaction leaves such
        holes too; a compacted log therefore flushes a segment before it begins another.
        """
        log = self.log
        if log.gaps or at + 1 >= len(log.segments):
            return False
        return log.segments[at + 1].base_offset > max(log.log_end, self.recovery_point)

    def _cut(self, at: int, size: int) -> None:
        """The bytes of segment `at` from its size on are bad: an unacknowledged tail goes, anything
        else is corruption (D3).
        """
        log = self.log
        segment = log.segments[at]
        where = f"{segment.path}: no valid batch at byte {segment.size}, offset {log.log_end}"
        if log.log_end < self.recovery_point:
            raise CorruptLog(
                f"{where}, but everything below offset {self.recovery_point} was synced:"
                " the disk lost or changed it"
            )
        self._refuse_synced(where, segment.path, segment.size)
        for later in log.segments[at + 1 :]:
            self._refuse_synced(where, later.path, 0)
        lost = size - segment.size + sum(s.size for s in log.segments[at + 1 :])
        self.report.append(f"{where}: cut {lost} bytes that were never acknowledged as durable")
        # The later ones first: a crash in between must not leave them behind a hole.
        for later in reversed(log.segments[at + 1 :]):
            self.operations += later.remove()
        self.operations.append(Truncate(segment.path, segment.size))
        del log.segments[at + 1 :]

    def _refuse_synced(self, where: str, path: str, kept: int) -> None:
        """Nothing of `path` beyond `kept` may be known to have been durable."""
        synced = self.synced.get(path, 0)
        if synced > kept:
            raise CorruptLog(
                f"{where}, but the journal says that {path} was synced up to byte {synced}:"
                " the disk lost or changed it"
            )

    def _check_snapshot(self, segment: Segment) -> None:
        """The snapshot at the base of a segment above the recovery point may be torn: it must say
        what the log says.
        """
        producers = self.log.producers
        if segment.base_offset <= producers.snapshot_offset or segment is self.log.segments[0]:
            return
        path = names.file_path(segment.directory, segment.base_offset, names.SNAPSHOT)
        content = encode_snapshot(producers)
        size = self.log.storage.size(path)
        if size is None or self.log.storage.read(path, 0, size) != content:
            self.operations.append(Replace(path, content))
            self.torn_snapshots.discard(segment.base_offset)
        producers.snapshot_offset = segment.base_offset

    def _fold(self, segment: Segment, header: BatchHeader, batch: memoryview, known: bool) -> None:
        if header.producer_id < 0:
            return
        if not header.is_control:
            self.log.producers.append(header, header.base_offset, self.now)
            return
        aborted = list(segment.aborted) if known else []
        try:
            self.log.fold_marker(segment, batch, header, header.base_offset, self.now)
        except WireError as error:
            raise CorruptLog(
                f"{segment.path}: control record at offset {header.base_offset}: {error}"
            ) from error
        if known:
            segment.aborted = aborted


def _remembered(header: BatchHeader) -> Batch:
    return (
        header.last_sequence,
        header.last_offset,
        header.last_offset_delta,
        header.max_timestamp,
    )
