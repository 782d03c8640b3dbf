"""`python -m tests.fuzz --inputs N`: N odd inputs; each failure is printed with its seed."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from multiprocessing import get_context

from tests.fuzz.campaign import CHUNK, LEVELS, run


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1, help="of the first chunk")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--level", choices=LEVELS, action="append")
    options = parser.parse_args(arguments)
    levels = options.level or list(LEVELS)
    chunks = -(-options.inputs // CHUNK)
    tasks = [(levels[i % len(levels)], options.seed + i // len(levels)) for i in range(chunks)]
    total: Counter[str] = Counter()
    failures = 0
    with get_context("spawn").Pool(options.jobs) as pool:
        for level, seed, seen, failure in pool.imap_unordered(run, tasks):
            total.update({f"{level} {what}": many for what, many in seen.items()})
            if failure:
                failures += 1
                print(f"--level {level} --seed {seed} --inputs {CHUNK}\n{failure}", flush=True)
    print(f"{total.total()} inputs, {failures} failing chunks: {dict(sorted(total.items()))}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
