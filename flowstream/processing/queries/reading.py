"""A worker's numbers at one moment, for those who watch it.

Shell: reads a running worker and changes nothing. What the numbers are called is `web`'s affair.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowstream.processing.running.surroundings import Counts
from flowstream.processing.watching.meters import Histogram, Taken
from flowstream.transport.types import TopicPartition

if TYPE_CHECKING:
    from flowstream.processing.group.membership import Membership
    from flowstream.processing.running.runtime import RunningTask
    from flowstream.processing.worker import Worker


@dataclass(frozen=True, slots=True)
class PartitionReading:
    """A source partition. `records` are those not processed yet, None before the first fetch;
    `seconds` is the age of the oldest of them (0 without any, None where nobody knows it).
    """

    topic: str
    partition: int
    position: int
    records: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class TableReading:
    """A partition of a table: what its store says of its size without reading it."""

    table: str
    partition: int
    rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Reading:
    """One worker at one moment."""

    app: str
    guarantee: str
    warnings: tuple[str, ...]
    ready: bool
    unanswered_s: float
    """For how long the broker has not answered; 0 while it does."""
    tasks: tuple[str, ...]
    counts: Counts
    events: dict[Taken, int]
    outputs: dict[str, int]
    commit_seconds: Histogram
    epoch_records: Histogram
    rebalance_seconds: Histogram
    restored_rows: int
    restore_left: int
    """Changelog offsets that running restores have still to read."""
    partitions: tuple[PartitionReading, ...]
    tables: tuple[TableReading, ...]


def read(worker: Worker) -> Reading:
    """The numbers of now; call it in the worker's event loop."""
    membership, meters = worker.membership, worker.meters
    tasks = [] if membership is None else list(membership.tasks.values())
    events = Counter(meters.events)
    for task in tasks:
        events.update(task.taken())
    progress = worker.restore_progress
    return Reading(
        app=worker.app_id,
        guarantee=worker.settings.processing_guarantee,
        warnings=tuple(worker.warnings()),
        ready=membership is not None and membership.is_ready,
        unanswered_s=0.0 if membership is None else membership.consumer.unanswered_s,
        tasks=tuple(str(task.id) for task in tasks),
        counts=dataclasses.replace(worker.counts),
        events=dict(events),
        outputs=dict(meters.outputs),
        commit_seconds=meters.commit_seconds.copy(),
        epoch_records=meters.epoch_records.copy(),
        rebalance_seconds=meters.rebalance_seconds.copy(),
        restored_rows=meters.restored_rows + progress.rows,
        restore_left=max(0, progress.total - progress.done),
        partitions=() if membership is None else lags(membership, worker.wall_time_ms()),
        tables=tuple(each for task in tasks for each in sizes(task)),
    )


def lags(membership: Membership, now_ms: int) -> tuple[PartitionReading, ...]:
    """How far behind every source partition is."""
    return tuple(
        lag_of(membership, task, TopicPartition(source.topic, source.partition), now_ms)
        for task in membership.tasks.values()
        for source in task.task.sources
        if not source.is_inner
    )


def lag_of(
    membership: Membership, task: RunningTask, tp: TopicPartition, now_ms: int
) -> PartitionReading:
    """How far behind one source partition is.

    What is fetched is counted; of what is not, the offsets. Behind the consumer's position there
    are no transaction markers left to count for records.
    """
    waiting, oldest_ms = task.waiting(tp.topic)
    position = next(s.position for s in task.task.sources if s.topic == tp.topic)
    ahead = membership.consumer.unfetched(tp)
    records = None if ahead is None else waiting + ahead
    if not waiting and ahead:
        # The next one is not here yet; the last that came is hardly newer.
        oldest_ms = membership.newest_ms.get(tp)
    seconds: float | None = None
    if records == 0:
        seconds = 0.0
    elif records and oldest_ms is not None:
        seconds = max(0, now_ms - oldest_ms) / 1000
    return PartitionReading(tp.topic, tp.partition, position, records, seconds)


def sizes(task: RunningTask) -> list[TableReading]:
    """The tables of a task."""
    found = []
    for name, store in task.stores.items():
        size = store.size()
        found.append(TableReading(name, task.id.number, size.rows, size.bytes))
    return found
