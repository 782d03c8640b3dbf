"""`python -m tests.fuzz --inputs N`: N odd inputs; each failure is printed with what repeats it.

Levels: `wire` (the decoder), `node` (a node without security), `guarded` (a node where clients log
in and have few rights), `socket` and `secured` (the same two behind real sockets).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context

from tests.fuzz.campaign import LEVELS, Leaks, quiet, tasks_of, work


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 1 when an input did what none may."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1, help="of the first chunk of each level")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--level", choices=LEVELS, action="append", help="default: all")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    total: Counter[str] = Counter()
    leaks = Leaks()
    failures = 0
    tasks = tasks_of(options.level or list(LEVELS), options.inputs, options.seed)
    # A process that dies ends the campaign with BrokenProcessPool: that is a finding too.
    with ProcessPoolExecutor(options.jobs, get_context("spawn"), quiet) as pool:
        while batch := list(islice(tasks, 100 * options.jobs)):
            for result in pool.map(work, batch):
                leaks.add(result)
                level = result.task.level
                total.update({f"{level} {what}": many for what, many in result.seen.items()})
                if result.failure:
                    failures += 1
                    print(result.failure, flush=True)
    for leak in leaks.found():
        failures += 1
        print(leak)
    took = time.monotonic() - started
    print(f"{failures} failures in {total.total()} inputs, {took:.0f} s")
    for what, many in sorted(total.items()):
        print(f"{many:10} {what}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
