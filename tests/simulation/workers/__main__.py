"""`python -m tests.simulation.workers --seeds N [--first S] [--kind K]`: run seeds of the worker's
simulator and count what they broke.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.simulation.workers.kinds import KINDS
from tests.simulation.workers.world import Result, simulate


def run(kind: str | None, seed: int) -> Result:
    """One seed, of one kind or of any."""
    logging.disable(logging.CRITICAL)
    kinds = [each for each in KINDS if kind in (None, each.__name__)]
    try:
        return simulate(seed, kinds)
    except Exception as error:  # noqa: BLE001 (a seed that breaks the simulator is a finding, too)
        return Result(seed, "?", 0, 0, 0, 0, (f"the simulator failed: {error!r}",), 0)


def main() -> int:
    """Exit status 1 when any seed broke an invariant; a printed seed reproduces exactly."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.workers", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--kind", choices=[kind.__name__ for kind in KINDS])
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    started = time.monotonic()
    kinds: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    bad = 0
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for result in pool.map(partial(run, arguments.kind), seeds, chunksize=4):
            kinds[result.kind] += 1
            if kinds.total() % 500 == 0:
                print(f"{kinds.total()} seeds, {bad} with violations", flush=True)
            for what in ("kills", "holds", "aborts", "records"):
                totals[what] += getattr(result, what)
            if result.problems:
                bad += 1
                print(f"seed {result.seed} ({result.kind}): {len(result.problems)} problems")
                for problem in result.problems[:5]:
                    print(f"  {problem[:600]}", flush=True)
    told = ", ".join(f"{count} {what}" for what, count in totals.items())
    print(f"{bad} seeds with violations in {len(seeds)} seeds ({dict(kinds)}): {told}, "
          f"{time.monotonic() - started:.0f} s")  # fmt: skip
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
