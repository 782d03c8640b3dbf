"""`python -m tests.crash.flips --flips N [--seed S]`: change one byte of one file of a data
directory, after a clean stop or a kill, start a broker on it and read everything (D6).

No flip may be read silently wrong, none may make anything go: the broker refuses, a reader is told
of an error, the report tells, or everything reads as before.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass
from functools import cache

from flowstream.broker.types import Instant
from flowstream.errors import FlowstreamError
from tests.crash.populated import Seen, after, disk_of, opened

STATES = ("stopped", "killed")


@dataclass(frozen=True, slots=True)
class Flip:
    """One changed byte."""

    state: str
    path: str
    position: int
    mask: int

    def __str__(self) -> str:
        return f"{self.state}: {self.path} byte {self.position} xor {self.mask:#04x}"


@cache
def truth(state: str) -> tuple[Seen, frozenset[str]]:
    """What a broker on the undamaged directory shows and reports."""
    files, now = after(state)
    seen, report = opened(disk_of(files), now)
    return seen, frozenset(report)


def pick(rng: random.Random) -> Flip:
    """Every file kind as likely as the others, the ends of files a little more than the middle."""
    state = rng.choice(STATES)
    files = [path for path, data in after(state)[0].items() if data]
    kinds = sorted({kind_of(path) for path in files})
    kind = rng.choice(kinds)
    path = rng.choice([path for path in files if kind_of(path) == kind])
    size = len(after(state)[0][path])
    position = rng.randrange(size)
    if "journal" in path:
        # Most of it is room for later.
        position = rng.randrange(min(size, 64 * 1024))
    return Flip(state, path, position, rng.choice([1 << rng.randrange(8), rng.randrange(1, 256)]))


def kind_of(path: str) -> str:
    """What sort of file this is."""
    name = path.rpartition("/")[2]
    stem, dot, suffix = name.partition(".")
    return suffix if dot and stem.isdigit() else name


def judge(flip: Flip) -> str:
    """ "refused", "reported", "harmless", or what was violated after a "!"."""
    files, now = after(flip.state)
    changed = bytearray(files[flip.path])
    changed[flip.position] ^= flip.mask
    storage = disk_of({**files, flip.path: bytes(changed)})
    expected, lines = truth(flip.state)
    try:
        seen, report = opened(storage, Instant(now))
    except FlowstreamError:
        return "refused"
    except Exception as error:  # noqa: BLE001 - any other exception is a finding
        return f"! {type(error).__name__}: {error}"
    if set(report) - lines:
        return "reported"
    if seen != expected:
        return f"! read silently wrong: {difference(expected, seen)}"
    return "harmless"


def difference(expected: Seen, seen: Seen) -> str:
    """Where two views differ."""
    for name in ("identity", "topics", "coordinators"):
        if getattr(expected, name) != getattr(seen, name):
            return f"{name}: {getattr(seen, name)}"[:300]
    for name, value in expected.partitions.items():
        if seen.partitions.get(name) != value:
            now = seen.partitions.get(name)
            assert isinstance(value, tuple)
            pairs = enumerate(zip(value, now, strict=True)) if isinstance(now, tuple) else ()
            parts = [f"{at}: {b} instead of {a}"[:150] for at, (a, b) in pairs if a != b]
            return f"{name}: " + "; ".join(parts)
    return "more partitions"


def run(flips: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Outcomes by kind, and the violations."""
    rng = random.Random(seed)
    outcomes: Counter[str] = Counter()
    violations = []
    for _ in range(flips):
        flip = pick(rng)
        outcome = judge(flip)
        outcomes[f"{kind_of(flip.path)}: {outcome if outcome[0] != '!' else 'VIOLATION'}"] += 1
        if outcome.startswith("!"):
            violations.append(f"{flip}{outcome[1:]}")
    return outcomes, violations


def main() -> int:
    """Exit status 1 when a flip was read silently wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.flips", description=__doc__)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started = time.monotonic()
    outcomes, violations = run(arguments.flips, arguments.seed)
    for line, count in sorted(outcomes.items()):
        print(f"{count:7} {line}")
    for line in violations[:20]:
        print(line)
    took = time.monotonic() - started
    print(f"{len(violations)} violations in {arguments.flips} flips, {took:.0f} s")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
