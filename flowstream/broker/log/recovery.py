"""Opening a partition's directory: after a clean stop its files are trusted, after a crash the log
is read from the recovery point on.

Kafka's rules, and D3: bytes above the recovery point are cut at the first bad batch, below it they
are corruption and the log stays closed. Opening twice gives what opening once gives (D5): the
operations may be lost in another crash at any point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from flowstream.broker.doors import Append, Operation, Remove, Replace, Storage
from flowstream.broker.log import names
from flowstream.broker.log.aborted import ENTRY_SIZE
from flowstream.broker.log.checkpoints import (
    decode_epochs,
    decode_partition_metadata,
    encode_partition_metadata,
)
from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.epochs import LeaderEpochs
from flowstream.broker.log.index import OffsetIndex, TimeIndex
from flowstream.broker.log.partition import PartitionLog
from flowstream.broker.log.places import (
    Place,
    checked_batches,
    header_at,
    is_time_entry,
    place_of,
    segment_at,
)
from flowstream.broker.log.producers import Producers
from flowstream.broker.log.rebuilding import Rebuilder
from flowstream.broker.log.removal import remove_durably
from flowstream.broker.log.scanning import headers
from flowstream.broker.log.segment import Segment
from flowstream.broker.log.state import NEVER_CLEANED
from flowstream.broker.types import Instant, TopicPartition
from flowstream.errors import CorruptLog

_OF_SEGMENTS = (names.INDEX, names.TIMEINDEX, names.TXNINDEX, names.TXNCHECK)


@dataclass(slots=True)
class Opened:
    """The log, the operations that make the disk agree with it (to be performed before anything
    else), and what there is to tell.
    """

    log: PartitionLog
    operations: list[Operation] = field(default_factory=list)
    report: list[str] = field(default_factory=list)


def open_log(
    storage: Storage,
    name: TopicPartition,
    topic_id: bytes,
    config: LogConfig,
    now: Instant,
    *,
    clean: bool,
    recovery_point: int,
    log_start: int,
    clean_end: int = NEVER_CLEANED,
    synced: Mapping[str, int] = MappingProxyType({}),
) -> Opened:
    """Open the directory of `name`; the operations of `swapping.finish_swaps` must have been
    performed.

    `clean`: the last process left its mark. `recovery_point`, `log_start`, `clean_end`: from the
    checkpoints, 0 and NEVER_CLEANED where they do not name this log. `synced`: sizes up to which
    the journal knows that files were durable. Raises CorruptLog.
    """
    directory = str(name)
    entries = storage.names(directory)
    operations: list[Operation] = _tidy(directory, entries)
    operations += _identify(storage, directory, topic_id)
    segments = _find_segments(storage, directory, entries, log_start, now, config, operations)
    log = PartitionLog(storage, name, topic_id, config, segments)
    log.clean_end = clean_end
    log.epochs = _read_epochs(storage, directory)
    before = list(log.epochs.entries)
    opened = Opened(log, operations)
    if not clean and _lost_beginning(log, max(recovery_point, log_start)):
        _refuse_synced(log, synced)
        _start_over(opened, max(log_start, log.epochs.entries[0][1]), now)
    rebuilder = Rebuilder(log, recovery_point, synced, now, _snapshots(entries))
    first = _trust_closed(log, clean, recovery_point)
    _find_end(log, first)
    rebuilder.restore_producers(log.log_end)
    for at in range(first, len(log.segments)):
        if not rebuilder.rebuild(at):
            break
    opened.operations += rebuilder.operations
    opened.report += rebuilder.report
    _settle(opened, recovery_point, log_start, before, now)
    strays = _stray_snapshots(log, rebuilder)
    opened.operations += _remove_all(opened, strays)
    return opened


def _refuse_synced(log: PartitionLog, synced: Mapping[str, int]) -> None:
    """A log without its beginning is no log of unsynced bytes when the journal knows some of it to
    be durable (D3).
    """
    for segment in log.segments:
        if synced.get(segment.path):
            raise CorruptLog(
                f"{log.directory}: begins at offset {log.segments[0].base_offset}, but the journal"
                f" says that {segment.path} was synced: the disk lost what is before"
            )


def _lost_beginning(log: PartitionLog, known: int) -> bool:
    """Whether the crash took the first segments, none of which was ever synced, and left later
    ones.

    Where the records were deleted instead, the first leader epoch begins at the log start.
    """
    entries = log.epochs.entries
    return bool(entries) and log.segments[0].base_offset > max(known, entries[0][1])


def _snapshots(entries: Sequence[str]) -> list[int]:
    """Offsets of the producer snapshots."""
    return [at for name in entries if (at := names.offset_of(name, names.SNAPSHOT)) is not None]


def _tidy(directory: str, entries: Sequence[str]) -> list[Operation]:
    """Remove what a crash left of files that were being made or deleted, and index files without
    their segment.
    """
    present = set(entries)
    operations: list[Operation] = []
    for name in entries:
        path = f"{directory}/{name}"
        if name.endswith(names.SWAP):
            raise CorruptLog(f"{path}: an exchange of segments was not finished before opening")
        if name.endswith((names.DELETED, names.CLEANED, names.TEMPORARY)):
            operations.append(Remove(path))
        for suffix in _OF_SEGMENTS if name.endswith(_OF_SEGMENTS) else ():
            if name.endswith(suffix) and name.removesuffix(suffix) + names.LOG not in present:
                operations.append(Remove(path))
    return operations


def _identify(storage: Storage, directory: str, topic_id: bytes) -> list[Operation]:
    """Refuse another topic's directory; give one that has no identity its own."""
    path = f"{directory}/{names.PARTITION_METADATA}"
    size = storage.size(path)
    if size is None:
        return [Replace(path, encode_partition_metadata(topic_id))]
    found = decode_partition_metadata(storage.read(path, 0, size), path)
    if found != topic_id:
        raise CorruptLog(
            f"{path}: the directory belongs to topic {found.hex()}, expected is {topic_id.hex()}"
        )
    return []


def _find_segments(
    storage: Storage,
    directory: str,
    entries: Sequence[str],
    log_start: int,
    now: Instant,
    config: LogConfig,
    operations: list[Operation],
) -> list[Segment]:
    """The segments of the directory in order; those that end at or below the log start are on their
    way out.
    """
    bases = [
        base for base in (names.offset_of(name, names.LOG) for name in entries) if base is not None
    ]
    bases.sort()
    while len(bases) > 1 and bases[1] <= log_start:
        operations += Segment(storage, directory, bases.pop(0), now, config).remove()
    if not bases:
        segment = Segment(storage, directory, log_start, now, config)
        operations.append(Append(segment.path, ()))
        return [segment]
    segments = []
    for base in bases:
        segment = Segment(storage, directory, base, now, config)
        segment.size = storage.size(segment.path) or 0
        segment.on_disk = True
        segments.append(segment)
    return segments


def _read_epochs(storage: Storage, directory: str) -> LeaderEpochs:
    path = f"{directory}/{names.LEADER_EPOCHS}"
    size = storage.size(path)
    if size is None:
        return LeaderEpochs()
    return LeaderEpochs(decode_epochs(storage.read(path, 0, size), path))


def _trust_closed(log: PartitionLog, clean: bool, recovery_point: int) -> int:
    """Take the files of closed segments as they are. The number of the first segment that must be
    read: everything before it ends below the recovery point, and its indexes fit.

    A segment that ends exactly there may have been closed after the sync, and its index files lost:
    without its `.txnindex` aborted records would show (T8).
    """
    for at, segment in enumerate(log.segments):
        last = at == len(log.segments) - 1
        if not clean and (last or log.segments[at + 1].base_offset >= recovery_point):
            return at
        if not _fits(log.storage, segment):
            return at
    return len(log.segments)


def _fits(storage: Storage, segment: Segment) -> bool:
    """Trust the segment if its index files are there, of whole entries, and point into it."""
    index_size = storage.size(segment.index.entries.path)
    times_size = storage.size(segment.times.entries.path)
    if index_size is None or times_size is None:
        return False
    if index_size % OffsetIndex.ENTRY.size or times_size % TimeIndex.ENTRY.size:
        return False
    aborted_size = storage.size(segment.file(names.TXNINDEX)) or 0
    if aborted_size % ENTRY_SIZE:
        return False
    segment.index.entries.open_file(index_size)
    segment.times.entries.open_file(times_size)
    if not _last_entries_fit(storage, segment):
        return False
    segment.load_closed(index_size, times_size, aborted_size)
    segment.own_from = segment.closed_size = segment.size
    return True


def _last_entries_fit(storage: Storage, segment: Segment) -> bool:
    """Whether the last entry of each index tells of a batch that is there (D6): the log end and the
    segment's largest timestamp are taken from them.
    """
    index, times = segment.index.entries, segment.times.entries
    if index:
        position = index[-1][1]
        header = header_at(storage, segment, position)
        if header is None or position == 0:
            return False
        if header.last_offset != segment.base_offset + index[-1][0]:
            return False
    if not times or segment.size == 0:
        return True
    entry = segment.times.last()
    before = segment.index.floor(entry[1])
    start = before[1] if before is not None else 0
    return any(
        is_time_entry(storage, segment, at, entry)
        for at, header in headers(storage, segment.path, start, segment.size)
        if header.last_offset >= entry[1]
    )


def _find_end(log: PartitionLog, trusted: int) -> None:
    """The log end as far as it is known without reading; a last segment that is trusted grows."""
    if trusted < len(log.segments):
        log.log_end = log.segments[trusted].base_offset
        return
    segment = log.active
    segment.make_resident()
    log.log_end = segment.base_offset
    last = header_at(log.storage, segment, segment.indexed_at)
    base = segment.base_offset if last is None or segment.indexed_at == 0 else last.base_offset
    for header, _ in checked_batches(log, segment, Place(segment.indexed_at, base)):
        log.log_end = header.last_offset + 1
    for _, header in headers(log.storage, segment.path, 0, segment.size):
        segment.first_timestamp = header.max_timestamp
        break


def _settle(
    opened: Opened,
    recovery_point: int,
    log_start: int,
    epochs_before: list[tuple[int, int]],
    now: Instant,
) -> None:
    """Offsets, epochs and snapshots agree with what was found."""
    log = opened.log
    if log.log_end < recovery_point:
        raise CorruptLog(
            f"{log.active.path}: ends at offset {log.log_end}, was synced up to {recovery_point}:"
            " the disk lost the rest"
        )
    if log.log_end < log_start:
        _start_over(opened, log_start, now)
    log.log_start = max(log.segments[0].base_offset, log_start)
    log.high_watermark = log.recovery_point = log.log_end
    log.completed.clear()
    _settle_first_epoch(log)
    log.leader_epoch = max(log.epochs.latest, 0)
    log.epochs.cut_end(log.log_end + 1)
    log.epochs.cut_start(log.log_start)
    if log.epochs.entries != epochs_before:
        opened.operations += log.write_epochs()


def _settle_first_epoch(log: PartitionLog) -> None:
    """A first epoch that begins behind the log start is contradicted by the batches: a deletion was
    not finished, or the file is damaged (D6).
    """
    entries = log.epochs.entries
    if not entries or entries[0][1] <= log.log_start:
        return
    if log.log_end > log.log_start:
        segment = log.segments[segment_at(log, log.log_start)]
        place = place_of(log, segment, log.log_start)
        first = header_at(log.storage, segment, place.position)
        if first is None or first.leader_epoch != entries[0][0]:
            return
    log.epochs.begin(log.log_start)


def _stray_snapshots(log: PartitionLog, rebuilder: Rebuilder) -> list[str]:
    """Whole snapshots are true at the bases of segments, and where the state was taken from."""
    true = {segment.base_offset for segment in log.segments} | {log.producers.snapshot_offset}
    true -= rebuilder.torn_snapshots
    strays = [offset for offset in rebuilder.snapshots if offset not in true]
    return [names.file_path(log.directory, offset, names.SNAPSHOT) for offset in strays]


def _remove_all(opened: Opened, paths: Sequence[str]) -> list[Operation]:
    """Durably; some may be on their way out already."""
    if not paths:
        return []
    removed = {operation.path for operation in opened.operations if isinstance(operation, Remove)}
    return remove_durably([path for path in paths if path not in removed])


def _start_over(opened: Opened, log_start: int, now: Instant) -> None:
    """Nothing of the log was ever synced, or all of that was deleted: go on empty at the log start,
    as Kafka does.
    """
    log = opened.log
    opened.report.append(f"{log.name}: ends at {log.log_end}, begins anew at log start {log_start}")
    for segment in reversed(log.segments):
        opened.operations += segment.remove()
    log.segments = [Segment(log.storage, log.directory, log_start, now, log.config)]
    opened.operations.append(Append(log.active.path, ()))
    log.log_end = log_start
    log.producers = Producers()
