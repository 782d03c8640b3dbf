"""`make crash N=`: kill real workers and the real broker N times, and check every answer.

Victims: a worker, the broker, both at once, and a worker stopped past its session timeout and woken
again (a zombie that must not commit). The broker is the embedded one: the worker that owns it is a
victim like the others, and another takes over. Beside the app a crowd of plain clients (`crowd/`)
keeps compaction, retention, deletion and group protocols busy on the same broker. After each round
the input pauses, everything must drain within 30 s (V1), the stream checker compares outputs, table
and nonces with the model, and the crowd judges what it saw.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from flowstream.cli.embedded import answers, read_address
from tests.checkers.history import Anomaly
from tests.checkers.stream import check_nonces, check_outputs, check_table
from tests.crash.crowd.clients import administrator, configure
from tests.crash.crowd.crowd import ENVIRONMENT, Crowd
from tests.crash.processes import SESSION_TIMEOUT_S, Worker
from tests.crash.stores import check_stores
from tests.crash.topics import IN, PIPES, Feeder, Pipe, create_input

MODULE = "tests.crash.chain_app"
PARTITIONS = 4
WORKERS = 2
RATE = 400.0
ROUND = 20
BREATHING = 0.75
DRAIN_S = 30.0
CHANGES_KEPT_MS = 180_000
FROZEN_S = 300.0
"""A round that takes longer does not go on: the clients of the crowd are C code, and when one holds
what all need, no bound in Python is looked at any more. The workers are left running.
"""
QUIET_S = 1.0
"""Ten commit intervals: an answer that comes later than all that were wanted is a duplicate."""
VICTIMS = ("worker",) * 4 + ("broker",) * 3 + ("both",) * 2 + ("zombie",)


class Campaign:
    """Workers that own their broker in turn, and what was found so far."""

    def __init__(self, directory: Path, rng: random.Random) -> None:
        self.kills: Counter[str] = Counter()
        self.anomalies: list[Anomaly] = []
        self.stores = 0
        self.pipes: list[Pipe] = []
        self.address = ""
        self.workers = [
            Worker(f"worker-{n}", MODULE, directory, ENVIRONMENT) for n in range(1, WORKERS + 1)
        ]
        self._zombie: asyncio.Task[None] | None = None
        self._directory, self._rng = directory, rng

    async def start(self) -> None:
        """Wait for the broker that the first worker starts; create the input."""
        address = None
        while address is None or not await answers(address):
            await asyncio.sleep(0.05)
            address = read_address(self._directory)
        await create_input(address, PARTITIONS)
        self.address = address
        self.feeder = Feeder(address, RATE, self._rng)
        self.pipes = [Pipe(address, *names) for names in PIPES]
        self.crowd = Crowd.of(address, self._directory, self._rng)
        await asyncio.to_thread(keep_changes, address, [pipe.changes.topic for pipe in self.pipes])
        await self.crowd.prepare()

    async def round(self, kills: int) -> None:
        """Feed, kill `kills` times, drain, check."""
        stop = asyncio.Event()
        feeding = asyncio.create_task(self.feeder.run(stop))
        self.crowd.begin()
        await asyncio.sleep(0.5)
        for _ in range(kills):
            await self._strike()
            await self._breathe()
        stop.set()
        await feeding
        if self._zombie is not None:
            await self._zombie
        await asyncio.gather(self._drain(), self.crowd.end())
        self._check()
        self.anomalies += self.crowd.take_anomalies()

    async def _breathe(self) -> None:
        """Time until the next one: mostly while all is at work again, else while it starts."""
        if self._rng.random() < BREATHING:
            while not await answers(self.address):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await asyncio.sleep(self._rng.uniform(0.2, 1.6))

    async def _strike(self) -> None:
        victim = self._rng.choice(VICTIMS)
        worker = self._rng.choice(self.workers)
        if victim == "zombie":
            if self._zombie is not None:
                await self._zombie
            # What dies while it sleeps, it does not know when it wakes.
            sleep = SESSION_TIMEOUT_S + self._rng.uniform(0.5, 2.0)
            self._zombie = asyncio.create_task(worker.freeze(sleep))
        self.kills[victim] += 1
        if victim in ("worker", "both"):
            worker.kill()
        if victim in ("broker", "both"):
            kill_broker(self._directory)
            self.crowd.struck()

    async def _drain(self) -> None:
        """Wait until there is an answer for every input, or the bound is over (V1)."""
        for pipe in self.pipes:
            await self._drain_pipe(pipe)

    async def _drain_pipe(self, pipe: Pipe) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + DRAIN_S
        wanted, seen = len(self.feeder.inputs), -1
        while True:
            await pipe.answers.look()
            found = len(pipe.answers.records)
            if found >= wanted:
                if found == seen:
                    break
                # What is too much may still be on its way.
                seen = found
                await asyncio.sleep(QUIET_S)
            if clock() > deadline:
                evidence = f"{found} of {wanted} {pipe.out} after {DRAIN_S:.0f} s"
                self.anomalies.append(Anomaly("stalled", "V1", evidence))
                break
        await pipe.changes.look()

    def _check(self) -> None:
        for pipe in self.pipes:
            inputs, outputs, rows = self.feeder.inputs, pipe.outputs(), pipe.rows()
            self.anomalies += check_outputs(inputs, outputs)
            self.anomalies += check_table(inputs, {key: row.state for key, row in rows.items()})
            self.anomalies += check_nonces({key: row.nonce for key, row in rows.items()}, outputs)

    def check_stores(self) -> None:
        """S1, S10: after the last round, what the workers left on disk."""
        for pipe in self.pipes:
            found, count = check_stores(
                self._directory / "state", "chain", pipe.table, pipe.changes.records
            )
            self.anomalies += found
            self.stores += count

    def check_ends(self) -> None:
        """V1: a worker that nobody killed goes on, whatever died around it."""
        for worker in self.workers:
            for status in worker.take_ends():
                evidence = f"{worker.name} ended by itself with status {status}"
                self.anomalies.append(Anomaly("unexpected end", "V1", evidence))


def keep_changes(broker: str, topics: list[str]) -> None:
    """Let the changelogs be cleaned only of what `Results` has read: the stores' checker folds
    every change, and a round takes less than this.
    """
    admin = administrator(broker)
    for topic in topics:
        configure(admin, topic, "min.compaction.lag.ms", str(CHANGES_KEPT_MS))


async def stays_in_place(run: Campaign, directory: Path) -> None:
    """Raise when the broker is elsewhere: the campaign's own clients cannot follow it."""
    while True:
        await asyncio.sleep(1.0)
        address = read_address(directory)
        if address not in (None, run.address):
            raise RuntimeError(
                f"the broker came back at {address}, because another process took {run.address}"
                " while it was down: run the campaign again"
            )


def kill_broker(directory: Path) -> None:
    """SIGKILL the broker that holds the directory, if there is one just now."""
    data = directory / "broker"
    try:
        pid = int((data / ".lock").read_text(encoding="ascii"))
        command = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return  # between two brokers
    if str(data) in command:  # a lock left behind may name a process of somebody else by now
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def campaign(kills: int, seed: int, directory: Path) -> Campaign:
    """Run all rounds; stops at the first one with an anomaly."""
    run = Campaign(directory, random.Random(seed))
    tasks = [asyncio.create_task(worker.run()) for worker in run.workers]
    try:
        await within(run.start(), tasks)
        tasks.append(asyncio.create_task(stays_in_place(run, directory)))
        left = kills
        while left > 0 and not run.anomalies:
            faulthandler.dump_traceback_later(FROZEN_S, exit=True)
            await within(run.round(min(ROUND, left)), tasks)
            run.check_ends()
            left -= ROUND
            print(report(run), flush=True)
    finally:
        faulthandler.cancel_dump_traceback_later()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    run.check_ends()
    run.crowd.check_happened(run.kills.total())
    run.anomalies += run.crowd.take_anomalies()
    run.check_stores()
    return run


async def within(work: Coroutine[Any, Any, None], others: list[asyncio.Task[None]]) -> None:
    """Do `work`; an error of the tasks beside it is ours."""
    task = asyncio.create_task(work)
    await asyncio.wait({task, *others}, return_when=asyncio.FIRST_COMPLETED)
    for other in others:
        if other.done():
            task.cancel()
            other.result()
    await task


def report(run: Campaign) -> str:
    """The campaign so far, with the number of trials beside every zero."""
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(run.kills.items()))
    return (
        f"{len(run.anomalies)} violations in {run.kills.total()} kills ({kinds});"
        f" {len(run.feeder.inputs)} inputs to {IN}, {run.stores} stores checked"
    )


def reasons(directory: Path) -> list[str]:
    """What the workers gave as reasons for ending."""
    return [
        f"{log.stem}: {line}"
        for log in sorted(directory.glob("worker-*.log"))
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.startswith("error:")
    ]


def main() -> None:
    """Run a campaign; exit status 1 and the directory kept when it found something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--lanes", type=int, default=1, help="concurrency of the first agent")
    args = parser.parse_args()
    os.environ["CHAIN_LANES"] = str(args.lanes)
    directory = Path(tempfile.mkdtemp(prefix="flowstream-crash-"))
    logging.basicConfig(
        filename=directory / "campaign.log", level=logging.WARNING,
        format="%(asctime)s %(name)s: %(message)s",
    )  # fmt: skip
    faulthandler.enable()
    print(f"seed {args.seed}, {args.kills} kills, data in {directory}", flush=True)
    run = asyncio.run(campaign(args.kills, args.seed, directory))
    for reason in reasons(directory):
        print(f"note: {reason}")
    for anomaly in run.anomalies[:20]:
        print(f"{anomaly.invariant} {anomaly.name}: {anomaly.evidence}")
    print(report(run))
    print(run.crowd.report())
    if run.anomalies:
        sys.exit(1)
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
