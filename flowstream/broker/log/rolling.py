"""Where one segment ends and the next begins, and how a log is left behind at a clean stop.

A rolled segment's indexes and the producer snapshot are written without waiting for the disk:
recovery rebuilds what lies above the recovery point, so a torn index file costs time and nothing
else.
"""

from __future__ import annotations

from flowstream.broker.doors import Append, Operation, Put, Truncate
from flowstream.broker.log import names
from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.segment import SPAN, Segment
from flowstream.broker.log.snapshots import encode_snapshot
from flowstream.broker.log.state import LogState
from flowstream.broker.types import Instant


def must_roll(
    segment: Segment,
    config: LogConfig,
    size: int,
    max_timestamp: int,
    last_offset: int,
    now: Instant,
) -> bool:
    """Whether batches of `size` bytes up to `last_offset` belong into a new segment: Kafka's
    conditions.

    The age counts in *record* time from the first batch, so that a segment of old records does not
    swallow a new one; the clock counts only when the records have no timestamps, or such as the
    topic would not take now: those of a clock that was set back since.
    """
    if segment.size == 0:
        return last_offset - segment.base_offset > SPAN
    if 0 <= segment.first_timestamp <= now + config.timestamp_after_max_ms:
        age = max_timestamp - segment.first_timestamp
    else:
        age = now - segment.created
    return (
        segment.size + size > config.segment_bytes
        or age > config.segment_ms - segment.jitter
        or last_offset - segment.base_offset > SPAN
        or segment.full
    )


def roll(log: LogState, now: Instant) -> list[Operation]:
    """Close the active segment and begin one at the log end."""
    closed = log.active
    closed.close()
    # Of a log whose beginning is not durable yet recovery must know that it had one.
    unsure = log.high_watermark <= log.segments[0].base_offset
    operations = log.write_epochs() if unsure else []
    operations += closed.write_indexes()
    if log.gaps:
        # Recovery cannot tell a lost end from what compaction left (see `rebuilding`).
        operations += closed.flush()
    operations += snapshot(log)
    log.sealed.append((log.log_end, closed))
    segment = Segment(log.storage, log.directory, log.log_end, now, log.config)
    log.segments.append(segment)
    operations.append(Append(segment.path, ()))
    return operations


def snapshot(log: LogState, *, atomically: bool = False) -> list[Operation]:
    """Write the producer state at the log end, unless the newest snapshot says the same."""
    if log.producers.snapshot_offset >= log.log_end:
        return []
    log.producers.snapshot_offset = log.log_end
    path = names.file_path(log.directory, log.log_end, names.SNAPSHOT)
    content = encode_snapshot(log.producers)
    if atomically:
        return [Put(path, content)]
    # Recovery removed every snapshot beyond the log end, but what a crash left may be unsynced
    # still.
    operations: list[Operation] = [Truncate(path, 0)] if log.storage.size(path) else []
    return [*operations, Append(path, (content,))]


def segments_from(log: LogState, offset: int) -> list[Segment]:
    """The segments that may hold batches at or beyond `offset`."""
    segments = log.segments
    first = len(segments) - 1
    while first > 0 and segments[first].base_offset > offset:
        first -= 1
    return segments[first:]


def close_clean(log: LogState, *, synced: bool) -> list[Operation]:
    """Write indexes and producer state as Kafka does at a clean stop. With the next sync they are
    durable, and the batches too, unless they are `synced`; only then the recovery point may say so.
    """
    operations: list[Operation] = []
    for segment in segments_from(log, log.recovery_point):
        if segment.is_unchanged:
            continue
        operations += [] if synced else segment.sync()
        segment.close()
        operations += segment.write_indexes(Put)
    operations += snapshot(log, atomically=True)
    if log.epochs_stale:
        operations.append(Put(*log.epochs_file()))
    log.recovery_point = log.log_end
    return operations
