"""`python -m tests.simulation --seeds N [--first S]`: run N seeds and count what they broke."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.campaign import Result, simulate


def main() -> int:
    """Exit status 1 when any seed broke an invariant; a printed seed reproduces exactly."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    started = time.monotonic()
    crashes = operations = 0
    bad: list[Result] = []
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for result in pool.map(simulate, seeds, chunksize=4):
            crashes += result.crashes
            operations += result.operations
            if result.problems:
                bad.append(result)
                print(f"seed {result.seed}: {len(result.problems)} problems", flush=True)
                for problem in result.problems[:5]:
                    print(f"  {problem}")
    print(
        f"{len(bad)} seeds with violations in {len(seeds)} seeds: {crashes} crashes, "
        f"{operations} recorded operations, {time.monotonic() - started:.0f} s"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
