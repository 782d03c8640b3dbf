"""Random appends, transactions, rolls, deletions and restarts; a crash at every operation;
recovery; comparison with the model.
"""

from __future__ import annotations

import pytest

from flowstream.broker.storage.memory import Crashed
from tests.broker.log.model import STEPS, Harness


def run(seed: int, steps: int, crash_at: int | None = None) -> Harness:
    """A random life of `steps` steps. With `crash_at` it ends in a crash there, and a recovery that
    crashes too.
    """
    harness = Harness(seed)
    harness.storage.crash_at(crash_at)
    try:
        for _ in range(steps):
            harness.now += harness.rng.randrange(0, 50)  # type: ignore[assignment]
            harness.rng.choice(STEPS)(harness)
    except Crashed:
        harness.crash()
        harness.recover(crash_within=True)
        return harness
    harness.storage.crash_at(None)
    harness.sync()
    harness.check()
    return harness


@pytest.mark.parametrize("seed", range(3))
def test_L1_L2_P3_D5_crash_at_every_operation(seed: int) -> None:
    total = run(seed, 40).storage.operations
    assert total > 50
    for operation in range(6, total):
        try:
            harness = run(seed, 40, operation)
            # Life goes on after it.
            for _ in range(10):
                harness.rng.choice(STEPS)(harness)
            harness.sync()
            harness.check()
        except Exception as error:
            error.add_note(f"seed {seed}, crash at operation {operation} of {total}")
            raise


@pytest.mark.parametrize("seed", range(100, 115))
def test_long_lives_with_many_crashes(seed: int) -> None:
    harness = Harness(seed)
    try:
        for _ in range(12):
            harness.storage.crash_at(harness.storage.operations + harness.rng.randrange(1, 90))
            try:
                for _ in range(60):
                    harness.now += harness.rng.randrange(0, 50)  # type: ignore[assignment]
                    harness.rng.choice(STEPS)(harness)
                harness.storage.crash_at(None)
            except Crashed:
                harness.crash()
                harness.recover(crash_within=True)
        harness.sync()
        harness.check()
    except Exception as error:
        error.add_note(f"seed {seed}")
        raise
