"""One chunk of a campaign: a level and a seed decide all its inputs. And what many chunks say
together.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tests.fuzz.asking import guarded, node
from tests.fuzz.decoding import wire
from tests.fuzz.secured_sockets import guarded_sockets
from tests.fuzz.sockets import socket
from tests.fuzz.watch import MIB, Watch, resident, watching

Level = Callable[[int, int, Watch], Counter[str]]
"""Seed, number of inputs, watch -> what came of them."""


class Kind(NamedTuple):
    """How a level is run."""

    run: Level
    chunk: int
    """Inputs per seed."""
    share: float
    """Of a campaign over all levels."""


LEVELS = {
    "wire": Kind(wire, 1000, 0.9),
    "node": Kind(node, 1000, 0.07),
    "guarded": Kind(guarded, 1000, 0.02),
    "socket": Kind(socket, 500, 0.007),
    "secured": Kind(guarded_sockets, 500, 0.003),
}
TRACED_EVERY = 50
"""One seed of so many has its memory counted to the byte, at a third of the speed."""
HANGS_S = 120
"""Not even a signal comes through: the process ends itself."""
LEAK_BYTES = 48 * MIB
"""What a process may have more at the end of a campaign than in its middle."""
LEAK_CHUNKS = 400
"""Fewer say nothing: codecs are compiled when a message is first met."""


class Task(NamedTuple):
    """One chunk."""

    level: str
    seed: int
    inputs: int


class Result(NamedTuple):
    """What came of a chunk's inputs, the failure that ended it, and its process afterwards."""

    task: Task
    seen: Counter[str]
    failure: str | None
    process: int
    resident: int


def tasks_of(levels: Sequence[str], inputs: int, seed: int) -> Iterator[Task]:
    """The chunks of a campaign of so many inputs in all, seeds from `seed` on."""
    shares = {level: LEVELS[level].share for level in levels}
    whole = sum(shares.values())
    left = inputs
    for at, (level, share) in enumerate(shares.items()):
        mine = left if at == len(shares) - 1 else round(inputs * share / whole)
        left -= mine
        for number, begin in enumerate(range(0, mine, LEVELS[level].chunk)):
            yield Task(level, seed + number, min(LEVELS[level].chunk, mine - begin))


def run(task: Task) -> Result:
    """One chunk; a failure tells how it is repeated."""
    seen: Counter[str] = Counter()
    failure = None
    with watching(traced=task.seed % TRACED_EVERY == 0) as watch:
        try:
            seen = LEVELS[task.level].run(task.seed, task.inputs, watch)
        except Exception:  # noqa: BLE001 - whatever it is, it is the finding
            again = f"--level {task.level} --seed {task.seed} --inputs {watch.number + 1}"
            failure = f"input {watch.number}, again by {again}\n{traceback.format_exc()}"
    return Result(task, seen, failure, os.getpid(), resident())


def work(task: Task) -> Result:
    """One chunk in a process of a campaign, which says where it hangs and ends."""
    faulthandler.dump_traceback_later(HANGS_S, exit=True)
    result = run(task)
    faulthandler.cancel_dump_traceback_later()
    return result


def quiet() -> None:
    """What the broker logs of bad input is no news to a process of a campaign."""
    logging.disable(logging.CRITICAL)


class Leaks:
    """How large the processes of a campaign are after each of its chunks."""

    def __init__(self) -> None:
        self._sizes: dict[int, list[int]] = defaultdict(list)

    def add(self, result: Result) -> None:
        """One more chunk is done."""
        self._sizes[result.process].append(result.resident)

    def found(self) -> list[str]:
        """The processes that grow: larger in the last quarter than ever in the second."""
        told = []
        for process, sizes in self._sizes.items():
            quarter = len(sizes) // 4
            if len(sizes) < LEAK_CHUNKS:
                continue
            before = max(sizes[quarter : 2 * quarter])
            after = min(sizes[3 * quarter :])
            if after > before + LEAK_BYTES:
                told.append(f"process {process} grew from {before} to {after} bytes")
        return told
