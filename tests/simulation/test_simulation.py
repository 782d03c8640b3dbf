"""A few seeds in every test run, exact reproduction, and planted bugs that must be found."""

from __future__ import annotations

import pytest

from tests.simulation.campaign import simulate


@pytest.mark.parametrize("seed", range(12))
def test_no_invariant_is_broken(seed: int) -> None:
    result = simulate(seed)
    assert not result.problems, f"seed {seed}: {result.problems[:5]}"
    assert result.operations > 100


def test_a_seed_reproduces_exactly() -> None:
    assert simulate(3) == simulate(3)


def test_D4_an_acknowledgement_before_the_sync_is_found() -> None:
    found = [problem for seed in range(12) for problem in simulate(seed, lies=True).problems]
    assert any("lost write" in problem or "unseen" in problem for problem in found)


def test_L2_points_that_a_topic_leaves_to_the_next_one_of_its_name_are_found() -> None:
    found = [problem for seed in range(8) for problem in simulate(seed, hoards=True).problems]
    assert any("again" in problem and "was synced up to" in problem for problem in found)
