"""A task's rules: states, positions, and agents that share a partition."""

from __future__ import annotations

import random

import pytest

from flowstream.processing.task import MOVES, Task, TaskId, TaskState
from flowstream.processing.unit import Unit


def test_every_state_ends_in_closed() -> None:
    for state in TaskState:
        seen, todo = {state}, [state]
        while todo:
            for after in MOVES[todo.pop()] - seen:
                seen.add(after)
                todo.append(after)
        assert TaskState.CLOSED in seen


def test_illegal_moves_are_broken_invariants() -> None:
    task = Task(TaskId(4, 0))
    with pytest.raises(AssertionError):
        task.move(TaskState.RUNNING)


def test_a_lone_agent_commits_what_it_completed() -> None:
    task = Task(TaskId(1, 0))
    source = task.add_source("t", 0, 5, 1)
    source.position = 8
    assert task.offsets() == {("t", 0): 8}


class Agents:
    """Agents over one shared source, driven by a random scheduler; records what merges."""

    def __init__(self, rng: random.Random, agents: int, records: int, takes: list[int]) -> None:
        self.rng = rng
        self.task = Task(TaskId(1, 0))
        self.source = self.task.add_source("t", 0, 0, agents)
        self.source.fed(list(range(records)))
        self.next = [0] * agents
        self.began = [0] * agents
        self.takes = takes
        self.records = records
        self.merged: list[tuple[int, int, int]] = []
        self.now = 0.0

    def step(self, agent: int) -> bool:
        """One agent tries to take a record; its unit is complete after `takes` records."""
        if self.next[agent] >= self.records:
            return False
        self.now += self.rng.choice([0.0001, 0.1])
        open_unit = self.next[agent] > self.began[agent]
        offset = self.next[agent]
        if not self.source.may_take(agent, offset, holding=open_unit, now=self.now):
            return False
        self.next[agent] += 1
        size = self.next[agent] - self.began[agent]
        if size == self.takes[agent] or self.next[agent] == self.records:
            self.complete(agent)
        return True

    def complete(self, agent: int) -> None:
        """The agent moves on."""
        unit = Unit(self.source.index, self.next[agent], 0)
        self.task.defer(unit)
        self.source.done(agent, self.next[agent])
        self.began[agent] = self.next[agent]
        for merged in self.task.mergeable():
            self.merged.append((agent, merged.next_offset, self.source.position))
            # Whatever has merged, everyone has completed.
            assert min(self.began) >= self.source.position


@pytest.mark.parametrize("seed", range(40))
def test_S9_shared_offsets_are_complete_for_every_agent(seed: int) -> None:
    rng = random.Random(seed)
    agents = rng.choice([2, 3])
    takes = [rng.choice([1, 1, 2, 3]) for _ in range(agents)]
    run = Agents(rng, agents, records=rng.randrange(1, 60), takes=takes)
    while any(n < run.records for n in run.next):
        order = list(range(agents))
        rng.shuffle(order)
        moved = [run.step(agent) for agent in order]
        assert any(moved), f"stuck: seed {seed} takes {takes}"
    assert run.source.position == run.records
    assert not run.task.pending
    assert len(run.merged) == sum(-(-run.records // take) for take in takes)


def test_units_merge_in_the_order_of_completion_over_sources() -> None:
    task = Task(TaskId(1, 0))
    shared, lone = task.add_source("s", 0, 0, 2), task.add_source("l", 0, 0, 1)
    shared.fed([0, 1])
    assert shared.may_take(0, 0, holding=False, now=0.0)
    task.defer(Unit(shared.index, 1, 0))
    shared.done(0, 1)
    assert list(task.mergeable()) == []
    task.defer(Unit(lone.index, 7, 0))
    assert list(task.mergeable()) == [], "it may have read what the shared source's agent wrote"
    assert not shared.may_take(0, 1, holding=False, now=0.0)
    task.defer(Unit(shared.index, 1, 0))
    shared.done(1, 1)
    assert [unit.source for unit in task.mergeable()] == [0, 1, 0]
    assert task.offsets() == {("s", 0): 1, ("l", 0): 7}
