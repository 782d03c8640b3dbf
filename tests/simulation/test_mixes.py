"""A few apps put together at random in every test run, and a planted bug that must be found."""

from __future__ import annotations

import pytest

from flowstream.processing.running.turns import Turns
from tests.simulation.mixes.run import run

SEEDS = 12


@pytest.mark.parametrize("seed", range(SEEDS))
def test_S2_S7_S12_an_app_commits_the_same_whatever_happens_to_it(seed: int) -> None:
    found = run(seed)
    assert not found.problem, f"seed {seed}: {found.recipe}: {found.problem}"


def test_a_seed_reproduces_exactly() -> None:
    assert run(3) == run(3)


def test_S7_sides_of_a_join_that_take_no_turns_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Turns, "may_begin", lambda self, one: True)
    assert run(34).problem
