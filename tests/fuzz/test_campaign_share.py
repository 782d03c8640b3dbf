"""X1, X3, X4: a bounded share of the campaign that `python -m tests.fuzz` runs at length."""

from __future__ import annotations

import pytest

from tests.fuzz.campaign import LEVELS, TRACED_EVERY, Task, run, tasks_of

SHARE = {"wire": 3000, "node": 600, "guarded": 600, "socket": 80, "secured": 60}


@pytest.mark.parametrize("level", LEVELS)
def test_X4_odd_inputs_cost_nobody_but_their_sender(level: str) -> None:
    result = run(Task(level, 1, SHARE[level]))
    assert result.failure is None, result.failure
    assert result.seen.total() == SHARE[level]
    assert len(result.seen) > 1


@pytest.mark.parametrize("level", ["wire", "node"])
def test_X3_odd_inputs_take_no_memory_to_speak_of(level: str) -> None:
    result = run(Task(level, TRACED_EVERY, SHARE[level] // 2))
    assert result.failure is None, result.failure


def test_a_campaign_has_as_many_inputs_as_it_is_told() -> None:
    tasks = list(tasks_of(list(LEVELS), 12_345, 7))
    assert sum(task.inputs for task in tasks) == 12_345
    assert {task.level for task in tasks} == set(LEVELS)
    assert min(task.seed for task in tasks) == 7
