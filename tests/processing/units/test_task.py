"""A task's rules: states, positions, and agents that share a partition."""

from __future__ import annotations

import random

import pytest

from flowstream.processing.units.prefix import PrefixTask
from flowstream.processing.units.task import MOVES, Source, Task, TaskId, TaskState
from flowstream.processing.units.unit import Unit


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


@pytest.mark.parametrize("seed", range(40))
def test_S9_steps_that_are_cut_are_complete_for_every_agent_too(seed: int) -> None:
    rng = random.Random(seed)
    agents = rng.choice([2, 3])
    takes = [rng.choice([1, 1, 2, 3]) for _ in range(agents)]
    run = Agents(rng, agents, records=rng.randrange(1, 60), takes=takes)
    while any(n < run.records for n in run.next):
        order = list(range(agents))
        rng.shuffle(order)
        moved = False
        for agent in order:
            if rng.random() < 0.3:
                run.source.cut(max(run.next))
            moved |= run.step(agent)
        assert moved, f"stuck: seed {seed} takes {takes}"
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


def completed(task: Task, source: Source, agent: int, next_offset: int) -> list[tuple[int, int]]:
    """An agent completes a unit; what merges then, by source and end."""
    task.defer(Unit(source.index, next_offset, 0))
    source.done(agent, next_offset)
    return [(unit.source, unit.next_offset) for unit in task.mergeable()]


@pytest.mark.parametrize("kind", [Task, PrefixTask])
def test_S9_S11_what_two_agents_made_of_an_offset_commits_whole(kind: type[Task]) -> None:
    """Two topics with two agents each: the steps of one complete in the midst of the other's."""
    task = kind(TaskId(1, 0))
    one, two = (task.add_source(topic, 0, 0, 2) for topic in ("one", "two"))
    merged: list[tuple[int, int]] = []

    def take(source: Source, agent: int, next_offset: int) -> None:
        merged.extend(completed(task, source, agent, next_offset))
        if isinstance(task, PrefixTask):
            merged.extend((unit.source, unit.next_offset) for unit in task.settled())
        for each in (one, two):
            ends = [end for index, end in merged if index == each.index]
            assert ends.count(each.position) in (0, 2), "its offset is of both agents"
            assert all(ends.count(end) == 2 for end in ends)

    take(one, 0, 5)
    take(two, 0, 3)
    take(one, 1, 5)
    assert one.position == 0, "the first of the other topic waits between its two"
    take(one, 0, 8)
    take(two, 1, 3)
    take(one, 1, 8)
    assert (one.position, two.position) == (8, 3)
    assert sorted(merged) == [(0, 5), (0, 5), (0, 8), (0, 8), (1, 3), (1, 3)]


def test_S9_S11_a_step_waits_whole_for_an_event_beside_it() -> None:
    """Between the units of two agents one of a concurrent agent completes out of order."""
    task = PrefixTask(TaskId(1, 0))
    shared, lanes = task.add_source("shared", 0, 0, 2), task.add_source("lanes", 0, 0, 1)
    task.spread(lanes.index)
    task.fed(lanes.index, [0, 1])
    completed(task, shared, 0, 4)
    task.defer(Unit(lanes.index, 2, 0, offsets=(1,), touched=frozenset()))
    completed(task, shared, 1, 4)
    assert [unit.source for unit in task.settled()] == []
    assert task.offsets() == {("shared", 0): 0, ("lanes", 0): 0}
    task.defer(Unit(lanes.index, 1, 0, offsets=(0,), touched=frozenset()))
    assert [unit.source for unit in task.settled()] == [0, 1, 0, 1]
    assert task.offsets() == {("shared", 0): 4, ("lanes", 0): 2}
