"""`make crashapps N=`: apps of every kind, struck N times, every output and table checked.

A run is some kinds side by side in one app, two workers (a third comes and goes) and a broker:
one that a worker owns, or one behind a proxy that loses, repeats and holds back what commits
consist of. Inputs flow while the adversary strikes; then all must drain (V1), every kind's naive
model is compared with the whole read_committed logs, and after the last round each store with the
fold of its changelog (S1, S10).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import flowstream as fs
from tests.checkers.history import Anomaly
from tests.crash.kinds.adversary import KILLS, Adversary
from tests.crash.kinds.app import KINDS, NAME, app_of, company
from tests.crash.kinds.beside import DIRECTORY
from tests.crash.kinds.ledger import Feeder, Ledger, create_inputs
from tests.crash.kinds.stage import ForeignStage, ProxiedStage, Stage, reasons
from tests.crash.kinds.stores import check_stores

RATE = 150.0
TOGETHER = 5
"""Kinds in one app."""
STRIKES = 12
"""In a round."""
ROUNDS = 2
"""In a run."""
DRAIN_S = 30.0
QUIET_STRIKES = 2
"""Kills after the last input of a round."""
QUIET_S = 1.0
"""Ten commit intervals: what comes later than all that was wanted is a duplicate."""


class Totals:
    """What stands behind the zero."""

    def __init__(self) -> None:
        self.strikes: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.slowest_s = 0.0

    def __str__(self) -> str:
        strikes = ", ".join(f"{act} {count}" for act, count in sorted(self.strikes.items()))
        counts = ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items()))
        return f"{self.struck} strikes ({strikes}); {counts}; slowest drain {self.slowest_s:.1f} s"

    @property
    def struck(self) -> int:
        """Strikes, without what is counted beside them."""
        return sum(count for act, count in self.strikes.items() if " " not in act)


class Run:
    """Some kinds on one stage, until something is broken or the rounds are over."""

    def __init__(
        self, stage: Stage, kinds: Sequence[str], rng: random.Random, drain_s: float
    ) -> None:
        self._drain_s = drain_s
        self.kinds = [KINDS[name]() for name in kinds]
        self.anomalies: list[Anomaly] = []
        self.drain_s = 0.0
        self.stores = 0
        self.adversary = Adversary(stage, rng, self.kinds[0].spares)
        self._stage, self._rng = stage, rng
        # The campaign's own, which asks.
        self._app: fs.App = app_of(self.kinds)

    async def start(self) -> None:
        """Processes, topics, clients."""
        await self._stage.start()
        await create_inputs(self._stage.address, self.kinds)
        self._app.connect_to(self._stage.address)
        self.feeder = Feeder(self._stage.address, self.kinds, RATE, self._rng)
        self.ledger = Ledger(self._stage.address, NAME)

    async def round(self, strikes: int) -> None:
        """Feed and strike, drain, check."""
        stop = asyncio.Event()
        feeding = asyncio.create_task(self.feeder.run(stop))
        try:
            await self._strikes(strikes, feeding)
        except BaseException:
            feeding.cancel()
            raise
        stop.set()
        clock = asyncio.get_running_loop().time
        await feeding
        # What nothing comes after any more must not need that anything does.
        for _ in range(QUIET_STRIKES):
            await self.adversary.strike(KILLS)
            await self.adversary.breathe()
        await self.adversary.relent()
        began = clock()
        found = await self._drain(began + 3 * self._drain_s)
        self.drain_s = max(self.drain_s, clock() - began)
        if not found and self.drain_s > self._drain_s:
            evidence = f"all was there after {self.drain_s:.0f} s"
            found.append(Anomaly("slow", "V1", evidence))
        if not found:
            await asyncio.sleep(QUIET_S)
            await self.ledger.look()
            found = self._judge()
        self.anomalies += found + self._stage.ends()

    async def _strikes(self, strikes: int, feeding: asyncio.Task[None]) -> None:
        await asyncio.sleep(0.5)
        for _ in range(strikes):
            await self.adversary.strike()
            await self.adversary.breathe()
            self._stage.check()
            if feeding.done():
                feeding.result()
        await self.adversary.relent()

    async def _drain(self, deadline: float) -> list[Anomaly]:
        clock = asyncio.get_running_loop().time
        while True:
            await self.ledger.look()
            found = self._judge()
            if not found or clock() > deadline:
                return found
            self._stage.check()
            await asyncio.sleep(0.3)

    def _judge(self) -> list[Anomaly]:
        logs = self.ledger.logs
        return [*self.feeder.judge(logs), *(a for kind in self.kinds for a in kind.judge(logs))]

    async def stop(self) -> None:
        """End everything; then look at the stores."""
        await self._app.close()
        await self._stage.stop()
        self.anomalies += self._stage.ends()
        if not self.anomalies:
            async with self._stage.reopened() as address:
                self.ledger.move(address)
                await self.ledger.look()
            self.anomalies += self._judge()
            found, self.stores = check_stores(
                self._stage.directory / "state",
                self.ledger.logs,
                is_fenced=all(kind.is_fenced for kind in self.kinds),
            )
            self.anomalies += found

    def add_to(self, totals: Totals) -> None:
        """Count."""
        totals.strikes += self.adversary.counts
        totals.slowest_s = max(totals.slowest_s, self.drain_s)
        totals.counts["inputs"] += self.feeder.count
        totals.counts["outputs"] += sum(
            len(self.ledger.records[topic])
            for topic in (f"{NAME}-dead-letters", *(t for k in self.kinds for t in k.outputs))
        )
        for kind in self.kinds:
            totals.counts.update(kind.counts)
        totals.counts["stores"] += self.stores
        totals.counts["runs"] += 1
        totals.kinds.update(kind.name for kind in self.kinds)


async def run(
    stage: Stage, kinds: Sequence[str], rng: random.Random, strikes: int, drain_s: float
) -> Run:
    """One run; what it found is in it."""
    made = Run(stage, kinds, rng, drain_s)
    try:
        await made.start()
        left = strikes
        while left > 0 and not made.anomalies:
            await made.round(min(STRIKES, left))
            left -= STRIKES
    finally:
        await made.stop()
    return made


def stage_of(
    directory: Path, kinds: Sequence[str], rng: random.Random, broker: str | None
) -> Stage:
    """A foreign cluster when there is one; else an owned broker or one behind a proxy."""
    standbys = int(rng.random() < 0.5)
    if broker is not None:
        return ForeignStage(directory, kinds, standbys, broker)
    return (Stage if rng.random() < 0.6 else ProxiedStage)(directory, kinds, standbys)


def main() -> None:
    """Run a campaign; exit status 1 and the directory kept when it found something."""
    parser = argparse.ArgumentParser(prog="tests.crash.kinds", description=__doc__)
    parser.add_argument("--strikes", type=int, default=24)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--kinds", help="these side by side, in every run: " + ", ".join(KINDS))
    parser.add_argument("--together", type=int, default=TOGETHER, help="kinds in one app")
    parser.add_argument("--drain", type=float, default=DRAIN_S, help="V1's bound, in seconds")
    parser.add_argument("--broker", help="HOST:PORT of a cluster; only workers are harmed")
    args = parser.parse_args()
    totals, seed, left = Totals(), args.seed, args.strikes
    print(f"seed {seed}, {left} strikes", flush=True)
    order: list[str] = []
    while left > 0:
        rng = random.Random(seed)
        if args.kinds:
            kinds = args.kinds.split(",")
            if company(kinds, len(kinds)) != kinds:
                parser.error("these kinds do not go together: they differ in settings or strikes")
        else:
            if len(order) < args.together:
                rest = list(KINDS)
                rng.shuffle(rest)
                order += [kind for kind in rest if kind not in order]
            kinds = company(order, args.together)
            order = [kind for kind in order if kind not in kinds]
        directory = Path(tempfile.mkdtemp(prefix="flowstream-kinds-"))
        logging.basicConfig(
            filename=directory / "campaign.log", level=logging.WARNING, force=True,
            format="%(asctime)s %(name)s: %(message)s",
        )  # fmt: skip
        os.environ[DIRECTORY] = str(directory)
        stage = stage_of(directory, kinds, rng, args.broker)
        now = min(left, STRIKES * ROUNDS)
        done = asyncio.run(run(stage, kinds, rng, now, args.drain))
        done.add_to(totals)
        beside = " with standbys" if stage.standbys else ""
        print(
            f"{stage.mode}{beside}, {', '.join(kinds)}: {len(done.anomalies)} violations",
            flush=True,
        )
        if done.anomalies:
            tell(done, directory, f"--seed {seed} --kinds {','.join(kinds)} --strikes {now}")
            print(f"{len(done.anomalies)} violations in {totals}")
            sys.exit(1)
        shutil.rmtree(directory)
        left -= now
        seed += 1
    print(f"0 violations in {totals}")
    print("kinds: " + ", ".join(f"{kind} {count}" for kind, count in sorted(totals.kinds.items())))


def tell(done: Run, directory: Path, again: str) -> None:
    """What was found, and what repeats it."""
    for reason in reasons(directory):
        print(f"note: {reason}")
    for anomaly in done.anomalies[:20]:
        print(f"{anomaly.invariant} {anomaly.name}: {anomaly.evidence[:600]}")
    print(f"data in {directory}; again: python -m tests.crash.kinds {again}")


if __name__ == "__main__":
    main()
