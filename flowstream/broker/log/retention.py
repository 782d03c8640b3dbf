"""What a log may forget: whole segments by age, by size and below the log start (L8), and producers
long silent (P2).
"""

from __future__ import annotations

from flowstream.broker.doors import Flush, Operation
from flowstream.broker.effects import Effect, Happened, Write
from flowstream.broker.log import rolling
from flowstream.broker.log.names import SNAPSHOT, file_path
from flowstream.broker.log.places import segment_end
from flowstream.broker.log.state import LogState
from flowstream.broker.types import Instant

SEGMENTS_AT_ONCE = 16
"""The loop waits for the disk once for each (X4)."""


def delete_before(log: LogState, offset: int, most: int = SEGMENTS_AT_ONCE) -> list[Effect]:
    """Move the log start to `offset` and delete the segments that end there or earlier, `most` of
    them; the others are for `tick`.

    The caller writes the log-start checkpoint before it answers: the record deletion must survive a
    crash.
    """
    start = min(offset, log.high_watermark)
    if start <= log.log_start:
        return []
    return _begin_at(log, start, most)


def is_behind(log: LogState) -> bool:
    """Whether segments are left whose records are all deleted."""
    return len(log.segments) > 1 and log.segments[1].base_offset <= log.log_start


def _begin_at(log: LogState, start: int, most: int = SEGMENTS_AT_ONCE) -> list[Effect]:
    """The log begins at `start`, or later: what lies before it goes, `most` segments of it."""
    if start > log.log_start:
        log.log_start = start
        log.epochs_stale = log.epochs.cut_start(start) or log.epochs_stale
    count = min(_too_low(log), most)
    if not count:
        return []  # the checkpoint tells all, and a file for each of many partitions takes seconds
    # Recovery takes segments that are missing below the first epoch's start for deleted, not lost.
    return [Write([*log.write_epochs(), *_delete(log, count)])]


def tick(log: LogState, now: Instant) -> list[Effect]:
    """Apply the topic's retention, some segments at a time, and forget silent producers. No effects
    mean that nothing is left to be deleted now.
    """
    log.producers.expire(Instant(now - log.config.producer_expiration_ms))
    if not log.config.delete:
        return []
    count = min(max(_too_low(log), _too_old(log, now), _too_many(log)), SEGMENTS_AT_ONCE)
    if count == 0:
        return []
    operations: list[Operation] = []
    if count == len(log.segments):
        operations += rolling.roll(log, now)
        # From here on only the snapshot tells what the producers have sent.
        operations.append(Flush(file_path(log.directory, log.log_end, SNAPSHOT)))
    effects: list[Effect] = [Write(operations)] if operations else []
    start = segment_end(log, count - 1)
    line = f"{log.name}: retention deletes below offset {start}, segments: {count}"
    return [*effects, *_begin_at(log, start), Happened(line)]


def _too_low(log: LogState) -> int:
    """How many segments, oldest first, hold only what lies before the log start."""
    count = 0
    while count < len(log.segments) - 1 and segment_end(log, count) <= log.log_start:
        count += 1
    return count


def _too_old(log: LogState, now: Instant) -> int:
    """How many segments, oldest first, hold only records past their time, all of them durable."""
    if log.config.retention_ms < 0:
        return 0
    count = 0
    for at, segment in enumerate(log.segments):
        expired = now - segment.dated(log.config, now) > log.config.retention_ms
        empty_end = segment.size == 0 and segment is log.active
        if not expired or empty_end or segment_end(log, at) > log.high_watermark:
            break
        count += 1
    return count


def _too_many(log: LogState) -> int:
    """How many segments, oldest first, can go so that at least retention.bytes remain."""
    if log.config.retention_bytes < 0:
        return 0
    excess = log.size - log.config.retention_bytes
    count = 0
    for at, segment in enumerate(log.segments):
        excess -= segment.size
        empty_end = segment.size == 0 and segment is log.active
        if excess < 0 or empty_end or segment_end(log, at) > log.high_watermark:
            break
        count += 1
    return count


def _delete(log: LogState, count: int) -> list[Operation]:
    """Delete the `count` oldest segments; one always stays."""
    assert count < len(log.segments), f"{log.name}: deleting all of {count} segments"
    operations: list[Operation] = []
    for segment in log.segments[:count]:
        operations += segment.remove()
    if count:
        log.segments = log.segments[count:]
        log.cursors.clear()
    return operations
