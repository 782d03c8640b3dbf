"""The demo: broker, two workers and a feeder in one command, SIGKILLs on the way, then an audit.

Run: `python -m examples.web_analytics.demo [--kills N] [--input FILE] [--rate N]`. Exit status 1
when what the pipeline told differs from a single pass over the same file.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from flowstream.cli.embedded import EmbeddedBroker, embedded_broker
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster

from ..fraud_detection.audit import read_all
from . import feed as feeding
from .models import Counted, Referral, Session
from .pipeline import PARTITIONS, app
from .reference import Results, reference

ROOT = Path(__file__).resolve().parents[2]
MODULE = "examples.web_analytics.pipeline"
WORKERS = 2
RATE = 400.0
DRAIN_TIMEOUT_S = 90.0
TOLD: dict[str, type[Any]] = {
    "sessions": Session, "pages": Counted, "statuses": Counted, "bursts": Counted,
    "bots": Counted, "referrals": Referral,
}  # fmt: skip


class Workers:
    """Worker processes that are started again when they die."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start them all."""
        for number in range(1, WORKERS + 1):
            self._tasks.append(asyncio.create_task(self._keep(f"worker-{number}")))

    async def _keep(self, name: str) -> None:
        environment = {**os.environ, "FLOWSTREAM_SESSION_TIMEOUT": "3"}
        while True:
            with (self._directory / f"{name}.log").open("ab") as output:
                worker = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "flowstream", "worker", "-A", MODULE,
                    "--data", str(self._directory), cwd=ROOT, env=environment,
                    stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
                )  # fmt: skip
            self._running[name] = worker
            await worker.wait()
            await asyncio.sleep(0.2)

    def kill(self, rng: random.Random) -> str:
        """SIGKILL one of them; its name."""
        name = rng.choice(sorted(self._running))
        if self._running[name].returncode is None:
            self._running[name].send_signal(signal.SIGKILL)
        return name

    async def stop(self) -> None:
        """SIGTERM, a last commit included."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for worker in self._running.values():
            if worker.returncode is None:
                worker.terminate()
        for worker in self._running.values():
            await worker.wait()


async def told(broker: str) -> dict[str, list[Any]]:
    """Everything that the pipeline has told, in order; what closes the partitions aside."""
    found: dict[str, list[Any]] = {}
    for topic, kind in TOLD.items():
        values = [msgspec.json.decode(r.value, type=kind) for r in await read_all(broker, topic)]
        found[topic] = sorted(value for value in values if not is_closing(value))
    return found


def is_closing(value: Any) -> bool:
    """Whether a result is of the lines that close the partitions."""
    name = value.what if isinstance(value, Counted) else value.visitor
    return str(name).startswith((feeding.CLOSING, "/closing"))


async def drained(broker: str, wanted: Results) -> None:
    """Wait until as much was told as a single pass tells, or for too long."""
    totals = {topic: len(getattr(wanted, topic)) for topic in TOLD}
    try:
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            while True:
                found = await told(broker)
                if all(len(found[topic]) >= total for topic, total in totals.items()):
                    return
                await asyncio.sleep(0.5)
    except TimeoutError:
        logging.getLogger("demo").warning("not drained after %.0f s", DRAIN_TIMEOUT_S)


async def wait_for_kinds(broker: str, count: int) -> None:
    """Wait until the workers know all referrers: a session finds what is known when it is told."""
    cluster = Cluster(broker, client_id="demo")
    await cluster.connect()
    try:
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            while True:
                offsets = await Admin(cluster).group_offsets(app.id)
                if sum(o for tp, o in offsets.items() if tp.topic == feeding.KINDS) >= count:
                    return
                await asyncio.sleep(0.1)
    finally:
        await cluster.close()


async def run(args: argparse.Namespace, broker: EmbeddedBroker, wanted: Results) -> list[str]:
    """Feed the log through workers that are killed meanwhile; what was killed."""
    lines, rng = feeding.lines_of(args.input), random.Random(args.seed)
    workers, killed = Workers(broker.directory), list[str]()
    at = sorted(rng.uniform(0.2, 0.8) * len(lines) for _ in range(args.kills))

    def fed(count: int) -> None:
        if at and count >= at[0]:
            at.pop(0)
            if len(killed) % 2 and broker.pid is not None:
                os.kill(broker.pid, signal.SIGKILL)
                killed.append("broker")
            else:
                killed.append(workers.kill(rng))

    workers.start()
    try:
        await wait_for_topics(broker.address)
        await wait_for_kinds(broker.address, await feeding.feed_kinds(broker.address))
        await feeding.feed(broker.address, lines, PARTITIONS, args.rate, fed)
        await drained(broker.address, wanted)
    finally:
        await workers.stop()
    return killed


async def wait_for_topics(broker: str) -> None:
    """Wait until a worker has created the topics."""
    cluster = Cluster(broker, client_id="demo")
    await cluster.connect()
    try:
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            wanted = {feeding.LINES, feeding.KINDS}
            while not wanted <= set(await Admin(cluster).topics(None)):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    finally:
        await cluster.close()


def audit(found: dict[str, list[Any]], dead: int, wanted: Results) -> tuple[list[str], str]:
    """Faults, and the verdict in one line."""
    faults = []
    for topic in TOLD:
        here, there = Counter(found[topic]), Counter(getattr(wanted, topic))
        if here != there:
            missing, extra = there - here, here - there
            sample = next(iter(missing or extra))
            faults.append(
                f"{topic}: {missing.total()} missing, {extra.total()} too many, e.g. {sample}"
            )
    if dead != wanted.malformed:
        faults.append(f"{wanted.malformed} malformed lines but {dead} dead letters")
    numbers = " ".join(f"{topic}={len(found[topic])}" for topic in TOLD)
    return faults, f"audit: {numbers} dead={dead} different={len(faults)}"


def report(found: dict[str, list[Any]], console: Console) -> None:
    """Tables for people."""
    best: dict[str, Counted] = {}
    for counted in sorted(found["pages"], key=lambda it: (-it.count, it)):
        best.setdefault(counted.what, counted)
    hours = [(it.count, f"{_hour(it.start)}  {it.what}") for it in list(best.values())[:5]]
    show(console, "busiest hours of pages", hours)
    by_status: Counter[str] = Counter()
    for counted in found["statuses"]:
        by_status[counted.what] += counted.count
    show(console, "requests by status", [(n, name) for name, n in sorted(by_status.items())])
    kinds = Counter(referral.kind for referral in found["referrals"])
    show(console, "sessions by referrer", [(n, kind) for kind, n in kinds.most_common()])
    bots = Counter(counted.what for counted in found["bots"])
    show(console, "fast visitors, by minutes", [(n, name) for name, n in bots.most_common(5)])


def _hour(start: float) -> str:
    return f"from {datetime.fromtimestamp(start, UTC):%Y-%m-%d %H:%M}"


def show(console: Console, title: str, rows: Sequence[tuple[int, str]]) -> None:
    """One small table."""
    console.print(title, style="bold")
    table = Table(box=None, show_header=False, pad_edge=False)
    for count, name in rows:
        table.add_row(str(count), name)
    console.print(table)
    console.print()


async def demo(args: argparse.Namespace, directory: Path) -> bool:
    """One run; whether what was told equals the single pass."""
    console = Console()
    lines = feeding.lines_of(args.input)
    wanted = reference(lines, feeding.KIND_OF)
    console.print(f"{len(lines)} lines, {WORKERS} workers, {args.kills} kills, seed {args.seed}")
    async with embedded_broker(directory) as broker:
        killed = await run(args, broker, wanted)
        found = await told(broker.address)
        dead = len(await read_all(broker.address, app.dead_letters))
    report(found, console)
    console.print(f"killed: {', '.join(killed) or 'nobody'}", highlight=False)
    faults, line = audit(found, dead, wanted)
    for fault in faults:
        console.print(f"fault: {fault}", highlight=False, soft_wrap=True)
    console.print(line, highlight=False, soft_wrap=True)
    return not faults


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="web analytics that survive SIGKILL")
    parser.add_argument("--kills", type=int, default=2, help="SIGKILLs at random moments")
    parser.add_argument("--input", type=Path, default=feeding.SAMPLE, help="access log")
    parser.add_argument("--rate", type=float, default=RATE, help="lines a second; 0 is unlimited")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    return parser.parse_args()


def main() -> None:
    """Run the demo in a directory of its own, which stays when the audit fails."""
    args = arguments()
    directory = Path(tempfile.mkdtemp(prefix="flowstream-analytics-"))
    logging.basicConfig(filename=directory / "demo.log", level=logging.WARNING)
    passed = asyncio.run(demo(args, directory))
    if passed:
        shutil.rmtree(directory)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
