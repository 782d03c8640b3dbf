"""The demo: broker, two workers and a feeder in one command, SIGKILLs at random, then an audit.

Run: `python -m examples.fraud_detection.demo [--kills N] [--input FILE] [--rate N] [--data DIR]`.
Exit status 1 when the audit, made from the topics by an independent reader, finds a fault.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import random
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from flowstream.cli.embedded import EmbeddedBroker, embedded_broker

from . import audit as auditing
from . import display
from .feed import create_topic, feed
from .lines import SAMPLE, lines_of, payments_of
from .monitor import Monitor
from .processes import Killer, WorkerProcess
from .progress import Progress

WORKERS = 2
RATE = 1200.0  # lines a second: slow enough to kill in the middle of it
DRAIN_TIMEOUT_S = 60.0


@asynccontextmanager
async def background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work` beside a block and cancel it at its end; a failure of one ends the block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def drained(progress: Progress) -> bool:
    """Wait until everything fed has come out; False when it takes too long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            while not progress.finished:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    return progress.finished


async def stream(args: argparse.Namespace, broker: EmbeddedBroker, progress: Progress) -> None:
    """Feed the input through workers that are killed meanwhile, until all has come out."""
    clock = asyncio.get_running_loop().time
    lines = lines_of(args.input)
    progress.broker = f"{broker.address}, pid {broker.pid}"
    await create_topic(broker.address)
    workers = [
        WorkerProcess(f"worker-{n}", broker.directory, progress) for n in range(1, WORKERS + 1)
    ]
    killer = Killer(args.kills, workers, broker, progress, random.Random(args.seed))

    def fed(count: int) -> None:
        progress.fed = count
        progress.broker = f"{broker.address}, pid {broker.pid}"

    async with background(
        Monitor(broker.address, progress).run(),
        killer.run(),
        *(worker.run() for worker in workers),
    ):
        await feed(broker.address, lines, args.rate, fed)
        if not await drained(progress):
            progress.note(clock(), f"not drained after {DRAIN_TIMEOUT_S:.0f} s")
        progress.ended = clock()


async def demo(args: argparse.Namespace, directory: Path) -> bool:
    """One run; whether the audit found nothing."""
    console = Console()
    clock = asyncio.get_running_loop().time
    lines = lines_of(args.input)
    expected = sum(1 for _ in payments_of(lines))
    progress = Progress(total=len(lines), began=clock())
    console.print(
        f"{expected} payments and {len(lines) - expected} malformed lines, {WORKERS} workers,"
        f" {args.kills} kills, seed {args.seed}, data in {directory}",
        highlight=False,
        soft_wrap=True,
    )
    async with embedded_broker(directory) as broker:
        async with background(display.show(progress, console)):
            await stream(args, broker, progress)
        for event in progress.events:
            console.print(event, highlight=False, style="dim", soft_wrap=True)
        audit = await auditing.run(broker.address, expected=expected)
    display.report(audit, progress, console)
    console.print(audit.line(), highlight=False, soft_wrap=True)
    return audit.passed


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="fraud detection that survives SIGKILL")
    parser.add_argument("--kills", type=int, default=3, help="SIGKILLs at random moments")
    parser.add_argument("--input", type=Path, default=SAMPLE, help="CSV, gzipped or not")
    parser.add_argument("--rate", type=float, default=RATE, help="lines a second; 0 is unlimited")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--data", type=Path, help="keep everything in this empty directory")
    args = parser.parse_args()
    if args.data is not None and args.data.exists() and any(args.data.iterdir()):
        parser.error(f"{args.data} is not empty: each run starts from nothing")
    return args


def main() -> None:
    """Run the demo in a directory of its own, which stays when the audit fails."""
    args = arguments()
    directory = args.data or Path(tempfile.mkdtemp(prefix="flowstream-demo-"))
    directory.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=directory / "demo.log", level=logging.WARNING)
    passed = asyncio.run(demo(args, directory))
    if args.data is None and passed:
        shutil.rmtree(directory)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
