"""The life of one task: its states, the offsets it has completed, and which units may commit.

Pure. A task is one partition number of all co-partitioned topics. When several agents share a
topic, they advance in lockstep: a step is a run of records that all of them finish before any of
their units may commit, so that a committed offset is complete for every agent and no committed
unit has read from one that is not.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import Enum
from itertools import islice
from typing import NamedTuple

from flowstream.processing.units.epoch import MOST_WAITING, OUTPUT_BYTES
from flowstream.processing.units.unit import Unit


class TaskId(NamedTuple):
    """A task: partition `number` of the topics that have `partitions` partitions."""

    partitions: int
    number: int

    def __str__(self) -> str:
        return f"{self.number}/{self.partitions}"


def task_of(name: str) -> TaskId:
    """The task of a name in claims and orders, `<partition count>/<partition>`."""
    partitions, _, number = name.partition("/")
    return TaskId(int(partitions), int(number))


class TaskState(Enum):
    """Where a task is in its life."""

    CREATED = "created"
    """Assigned; nothing is open yet."""
    RESTORING = "restoring"
    """Stores are open and catch up with their changelogs; no event is processed."""
    RUNNING = "running"
    """Events are processed and committed."""
    CLOSING = "closing"
    """No more events; what is complete may still commit under the old generation."""
    CLOSED = "closed"
    """Stores are closed; nothing of the task is left."""


MOVES: dict[TaskState, frozenset[TaskState]] = {
    TaskState.CREATED: frozenset({TaskState.RESTORING, TaskState.CLOSING}),
    TaskState.RESTORING: frozenset({TaskState.RUNNING, TaskState.CLOSING}),
    TaskState.RUNNING: frozenset({TaskState.CLOSING}),
    TaskState.CLOSING: frozenset({TaskState.CLOSED}),
    TaskState.CLOSED: frozenset(),
}

FAST_STEP_S = 0.02
LONGEST_STEP = 512

MOST_PENDING = 10_000
"""Units of a task that wait for a slow agent before all but that one wait, too."""
MOST_PENDING_BYTES = MOST_WAITING * OUTPUT_BYTES
"""So much may wait, as it may behind a commit."""
WORKER_PENDING_BYTES = 8 * MOST_PENDING_BYTES
"""From so much in all tasks of a worker on, each has to do with its share of it."""


class Source:
    """One topic partition of a task: its position and the lockstep of its agents.

    Invariant: position is the end of the contiguous prefix that every agent has completed and
    whose units are merged; position <= limit.
    """

    __slots__ = (
        "_cleared",
        "_done",
        "_ends",
        "_next_size",
        "_offsets",
        "_started",
        "_step",
        "index",
        "is_inner",
        "limit",
        "partition",
        "position",
        "topic",
    )

    def __init__(
        self,
        index: int,
        topic: str,
        partition: int,
        position: int,
        agents: int,
        *,
        inner: bool = False,
    ) -> None:
        self.is_inner = inner
        self.index = index
        self.topic = topic
        self.partition = partition
        self.position = position
        self.limit = position
        self._done = [position] * agents
        self._cleared = position
        self._ends: deque[int] = deque()
        """Where all agents met, beyond the position: steps that have not merged, in order."""
        self._offsets: deque[int] = deque()
        self._step: list[int] = []
        """The offsets of the step that is not over, or was the last."""
        self._next_size = 1
        self._started = 0.0

    @property
    def is_shared(self) -> bool:
        """True when several agents read this partition."""
        return len(self._done) > 1

    def fed(self, offsets: list[int]) -> None:
        """Records arrived (only shared sources keep account of them)."""
        if self.is_shared:
            self._offsets.extend(offsets)

    def may_take(self, agent: int, offset: int, *, holding: bool, now: float) -> bool:
        """Whether an agent may begin this record now.

        An agent at the end of the step whose unit is still open (a `take`) extends the step by
        one record: a step can only end where every agent's unit ends.
        """
        if offset < self.limit:
            return True
        if holding:
            self._extend(1)
        elif min(self._done) >= self.limit and self._offsets:
            self._adapt(now)
            self._step.clear()
            self._extend(self._next_size)
        return offset < self.limit

    def _adapt(self, now: float) -> None:
        """Steps double while they are quick and shrink when an agent is slow."""
        if self._started:
            quick = now - self._started < FAST_STEP_S
            self._next_size = min(self._next_size * 2, LONGEST_STEP) if quick else 1
        self._started = now

    def _extend(self, records: int) -> None:
        for _ in range(min(records, len(self._offsets))):
            self._step.append(self._offsets.popleft())
            self.limit = self._step[-1] + 1

    def cut(self, end: int) -> None:
        """There is no room for more: the step is over at `end`, as far as any agent has begun, and
        the next ones grow anew.
        """
        while self._step and self._step[-1] >= end:
            self._offsets.appendleft(self._step.pop())
        self.limit = min(self.limit, end)
        self._next_size, self._started = 1, 0.0

    def done(self, agent: int, next_offset: int) -> None:
        """An agent completed everything below `next_offset`."""
        self._done[agent] = next_offset
        if min(self._done) == max(self._done):
            self._cleared = next_offset
            if self.is_shared:
                self._ends.append(next_offset)

    def pass_to(self, next_offset: int) -> None:
        """A unit has merged."""
        self.position = max(self.position, next_offset)
        while self._ends and self._ends[0] <= self.position:
            self._ends.popleft()

    def step_of(self, next_offset: int) -> int:
        """The step that a unit of a shared source belongs to, as the offset at which it ends."""
        place = bisect.bisect_left(self._ends, next_offset)
        return self._ends[place] if place < len(self._ends) else next_offset

    def is_clear(self, next_offset: int) -> bool:
        """True when units below `next_offset` may merge: all agents met at one end since."""
        return self._cleared >= next_offset

    @property
    def is_step_over(self) -> bool:
        """True when every agent has finished the step and waits for the next."""
        return min(self._done) >= self.limit


class Task:
    """One task's units in the order of their completion, and what of them may be merged."""

    __slots__ = ("id", "most_bytes", "pending", "pending_bytes", "sources", "state")

    def __init__(self, id: TaskId) -> None:
        self.id = id
        self.state = TaskState.CREATED
        self.sources: list[Source] = []
        self.pending: deque[Unit] = deque()
        """Completed units that wait for an offset before them, in the order of completion."""
        self.pending_bytes = 0
        """The sum of their sizes."""
        self.most_bytes = MOST_PENDING_BYTES
        """See `share_room`."""

    @property
    def is_clogged(self) -> bool:
        """Whether so much waits that only those may go on for whom it waits."""
        return len(self.pending) > MOST_PENDING or self.pending_bytes > self.most_bytes

    def move(self, state: TaskState) -> None:
        """Enter a state; an illegal move is a broken invariant."""
        assert state in MOVES[self.state], f"task {self.id}: {self.state} to {state}"
        self.state = state

    def add_source(
        self, topic: str, partition: int, position: int, agents: int, *, inner: bool = False
    ) -> Source:
        """Join a topic partition at its committed offset; an `inner` source has none."""
        source = Source(len(self.sources), topic, partition, position, agents, inner=inner)
        self.sources.append(source)
        return source

    def defer(self, unit: Unit) -> None:
        """A unit completed that may not merge at once: keep the order of completion."""
        self.pending.append(unit)
        self.pending_bytes += unit.size

    def mergeable(self) -> Iterator[Unit]:
        """Take the units that may join the open epoch now, in the order of completion.

        A unit waits for every unit that completed before it in this task: it may have read it.
        And what several agents made of the same offsets merges as a whole, or not at all: the
        source's position is of all of them.
        """
        if len(self.pending) > 1 and not self._has_cleared(self.pending[-1]):
            return  # it waits for whatever the others wait for
        waiting = (n for n, unit in enumerate(self.pending) if not self._may_merge(unit))
        for _ in range(self._without_parts(next(waiting, len(self.pending)))):
            unit = self.pending.popleft()
            self.pending_bytes -= unit.size
            self.sources[unit.source].pass_to(unit.next_offset)
            yield unit

    def _has_cleared(self, unit: Unit) -> bool:
        source = self.sources[unit.source]
        return source.is_shared and source.is_clear(unit.next_offset)

    def _without_parts(self, count: int) -> int:
        """So many leading units, or fewer, that no step of a shared source is cut in two."""
        while 0 < count < len(self.pending):
            cut = self.first_steps(islice(self.pending, count, None))
            leading = enumerate(islice(self.pending, count))
            first = next((place for place, unit in leading if self.is_beyond(unit, cut)), count)
            if first == count:
                break
            count = first
        return count

    def first_steps(self, units: Iterable[Unit]) -> dict[int, int]:
        """Of each shared source the first step that one of these units belongs to."""
        found: dict[int, int] = {}
        for unit in units:
            source = self.sources[unit.source]
            if source.is_shared:
                step = source.step_of(unit.next_offset)
                found[unit.source] = min(step, found.get(unit.source, step))
        return found

    def is_beyond(self, unit: Unit, steps: Mapping[int, int]) -> bool:
        """Whether a unit is of one of these steps, or of a later one."""
        step = steps.get(unit.source)
        return step is not None and self.sources[unit.source].step_of(unit.next_offset) >= step

    def _may_merge(self, unit: Unit) -> bool:
        source = self.sources[unit.source]
        return not source.is_shared or source.is_clear(unit.next_offset)

    def offsets(self) -> dict[tuple[str, int], int]:
        """The committable offset of every source that is a topic."""
        return {(s.topic, s.partition): s.position for s in self.sources if not s.is_inner}


def share_room(tasks: Collection[Task]) -> None:
    """Say how much may wait in each of a worker's tasks."""
    most = MOST_PENDING_BYTES
    if sum(task.pending_bytes for task in tasks) > WORKER_PENDING_BYTES:
        most = min(most, WORKER_PENDING_BYTES // len(tasks))
    for task in tasks:
        task.most_bytes = most
