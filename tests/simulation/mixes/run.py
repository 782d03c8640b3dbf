"""One seed: an app and its inputs, undisturbed and killed."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass

from flowstream.errors import FlowstreamError
from flowstream.testing import assert_exactly_once
from tests.simulation.mixes.recipe import inputs_of, recipe_of

MOST_RUNS = 25
LONGEST = 1500
PARTS = ("key", "value", "headers", "timestamp")


@dataclass(frozen=True, slots=True)
class Result:
    """What one seed showed."""

    seed: int
    kind: str
    recipe: str
    crashes: int
    problem: str
    """Empty when the app committed the same whatever happened to it."""


def run(seed: int) -> Result:
    """Run one seed to its end."""
    logging.disable(logging.CRITICAL)
    rng = random.Random(seed)
    recipe = recipe_of(rng)
    inputs = inputs_of(rng, recipe)
    crashes, problem = 0, ""
    try:
        compare = ("key", "value", "headers") if recipe.take else PARTS
        report = assert_exactly_once(
            recipe.make, inputs, workers=rng.choice([1, 1, 2]), compare=compare,
            most_runs=MOST_RUNS, seed=seed,
        )  # fmt: skip
        crashes = report.crashes
    except (AssertionError, FlowstreamError) as error:
        problem = f"{type(error).__name__}: {error}"[:LONGEST]
    finally:
        logging.disable(logging.NOTSET)
    return Result(seed, recipe.kind, repr(recipe), crashes, problem)
