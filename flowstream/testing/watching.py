"""A worker watched from outside: whether it has something to do, and until when it has not.

Reads the parts of a membership and its tasks that nobody else has to know. Changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from flowstream.processing.group.committer import Commit
from flowstream.processing.group.membership import Membership
from flowstream.processing.running.runtime import RunningTask
from flowstream.processing.time.marks import PAUSE_MS, Mark


def state_of(membership: Membership | None) -> tuple[object, ...]:
    """Changes whenever a turn of the membership would find something new."""
    if membership is None:
        return ()
    commits, arriving = membership._commits, membership._arriving
    done = commits._committing
    starts = [start.done() for start in arriving._starts.values()]
    return (
        done is not None and done.done() and _has_result(done),
        sum(starts), len(starts), sum(group.done() for group in arriving._groups),
        membership._failure is not None,
        membership._around.counts.commits,
        bool(commits._buffer),
        tuple(_state_of(task) for task in membership.tasks.values()),
    )  # fmt: skip


def _has_result(done: asyncio.Task[Commit | None]) -> bool:
    return done.cancelled() or done.exception() is not None or done.result() is not None


def _state_of(task: RunningTask) -> tuple[object, ...]:
    positions = tuple(source.position for source in task.task.sources)
    due = tuple(
        instance.is_due and instance.record is None and instance._waiter is not None
        for instance in task._inner
    )
    return task.id, task.dirty, len(task.task.pending), positions, due


def has_work(membership: Membership | None) -> bool:
    """Whether an epoch that closes now would have something to commit."""
    if membership is None:
        return False
    tasks = membership.tasks.values()
    return bool(membership._commits._buffer) or any(
        task.dirty or any(task.committed[tp] != at for tp, at in task.task.offsets().items())
        for task in tasks
    )


def busy(membership: Membership | None) -> list[str]:
    """What is not finished: agents inside an event, or in the pause before they try it again."""
    if membership is None:
        return ["the worker has not joined its group"]
    if not membership.is_ready:
        return ["a rebalance is on its way, or tables are being restored"]
    return [
        instance.label
        for task in membership.tasks.values()
        for instance in task.all_instances
        if instance.is_busy or instance.ready
    ]


def next_tick_s(membership: Membership, now_ms: int, loop_ms: int) -> float | None:
    """In how many seconds something comes due by a clock alone; None: never."""
    found = [due for task in membership.tasks.values() for due in _dues(task, now_ms, loop_ms)]
    return min(found) / 1000 if found else None


def _dues(task: RunningTask, now_ms: int, loop_ms: int) -> Iterator[int]:
    for instance in task._inner:
        first = instance.pending_ms if instance.is_by_wall_clock else None
        if first is not None and first > now_ms:
            yield first - now_ms
    clock = task._time.clock
    if clock is None:
        return
    for source in task.task.sources:
        if not source.is_inner and source.index not in clock.marked:
            left = clock._fed[source.index] + clock._idle_ms - loop_ms
            if left > 0:
                yield left
    for index, marker, _ in task._time._markers:
        if Mark(clock.bound_of(index), clock.is_idle(index, loop_ms)) != marker._told:
            left = marker._at_ms + PAUSE_MS - loop_ms
            if left > 0:
                yield left
