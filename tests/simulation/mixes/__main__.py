"""`python -m tests.simulation.mixes --seeds N [--first S]`: run seeds and count what they broke."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.mixes.run import Result, run


def main() -> int:
    """Exit status 1 when any seed broke an invariant; a printed seed reproduces exactly."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mixes", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    started = time.monotonic()
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    kinds: Counter[str] = Counter()
    crashes = bad = 0
    with ProcessPoolExecutor(arguments.jobs) as pool:
        found: Result
        for found in pool.map(run, seeds, chunksize=2):
            kinds[found.kind] += 1
            crashes += found.crashes
            if found.problem:
                bad += 1
                print(f"seed {found.seed}: {found.recipe}\n  {found.problem}", flush=True)
    print(
        f"{bad} seeds with violations in {len(seeds)} seeds ({dict(kinds)}): {crashes} crashes,"
        f" {time.monotonic() - started:.0f} s"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
