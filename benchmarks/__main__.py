"""`python -m benchmarks [ROW...] [--rounds N]`: measure rows (all but growth by default)."""

from __future__ import annotations

import argparse

from benchmarks import answers, growth, rebalance, worker_growth
from benchmarks.measure import HEADER
from benchmarks.rows import ROWS

KNOWN = {**ROWS, **growth.ROWS, **worker_growth.ROWS, **rebalance.ROWS, **answers.ROWS}


def main() -> None:
    """Run the rows one after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "rows",
        nargs="*",
        choices=[*KNOWN, []],
        help="rows to measure (default: all but growth)",
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="alternating rounds a row (default 5)"
    )
    arguments = parser.parse_args()
    rows = []
    for name in arguments.rows or ROWS:
        rows.append(KNOWN[name](arguments.rounds))
        print(rows[-1], flush=True)
    print(HEADER)
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
