"""The demo's processes: workers that are started again when they die, and SIGKILLs at random."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from pathlib import Path

from flowstream.cli.embedded import EmbeddedBroker

from .progress import Progress

ROOT = Path(__file__).resolve().parents[2]
APP_MODULE = "examples.fraud_detection.pipeline"
STOP_TIMEOUT_S = 15.0
SESSION_TIMEOUT_S = 3.0  # how long the others wait for a killed worker
FIRST, LAST = 0.15, 0.85  # kills fall into this part of the feed


class WorkerProcess:
    """One `flowstream worker`, started again whenever it ends before it is told to."""

    def __init__(self, name: str, data: Path, progress: Progress) -> None:
        self.name = name
        self._data = data
        self._progress = progress
        self._child: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Keep the worker alive until cancelled; then stop it with SIGTERM, a last commit
        included.
        """
        clock = asyncio.get_running_loop().time
        try:
            while True:
                self._child = await self._spawn()
                self._progress.workers[self.name] = f"up, pid {self._child.pid}"
                status = await self._child.wait()
                self._progress.workers[self.name] = "down"
                self._progress.note(clock(), f"{self.name} ended ({ending(status)})")
                await asyncio.sleep(0.5)
        finally:
            await self._stop()

    def kill(self) -> bool:
        """SIGKILL it; False when there is nothing to kill."""
        if self._child is None or self._child.returncode is not None:
            return False
        self._child.send_signal(signal.SIGKILL)
        return True

    async def _spawn(self) -> asyncio.subprocess.Process:
        command = ("-m", "flowstream", "worker", "-A", APP_MODULE, "--data", str(self._data))
        environment = {**os.environ, "FLOWSTREAM_SESSION_TIMEOUT": str(SESSION_TIMEOUT_S)}
        with (self._data / f"{self.name}.log").open("ab") as output:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                cwd=ROOT,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the demo, which stops its workers itself
            )

    async def _stop(self) -> None:
        child = self._child
        if child is None or child.returncode is not None:
            return
        child.terminate()
        try:
            await asyncio.wait_for(child.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            child.kill()
            await child.wait()


def ending(status: int) -> str:
    """An exit status in words."""
    return signal.Signals(-status).name if status < 0 else f"status {status}"


class Killer:
    """Kills a worker or the broker at random points of the feed, both kinds in turn."""

    def __init__(
        self,
        kills: int,
        workers: list[WorkerProcess],
        broker: EmbeddedBroker,
        progress: Progress,
        rng: random.Random,
    ) -> None:
        self._at = sorted(rng.uniform(FIRST, LAST) for _ in range(kills))
        self._broker_first = rng.random() < 0.5
        self._workers, self._broker = workers, broker
        self._progress, self._rng = progress, rng

    async def run(self) -> None:
        """Kill until the plan is done."""
        progress = self._progress
        for number, point in enumerate(self._at):
            while progress.fed < point * progress.total:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            if number % 2 == (0 if self._broker_first else 1):
                await self._kill_broker()
            else:
                await self._kill_worker()

    async def _kill_broker(self) -> None:
        while self._broker.pid is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        os.kill(self._broker.pid, signal.SIGKILL)
        self._record("broker")

    async def _kill_worker(self) -> None:
        while not (victim := self._rng.choice(self._workers)).kill():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        self._record(victim.name)

    def _record(self, victim: str) -> None:
        self._progress.kills.append(victim)
        self._progress.note(asyncio.get_running_loop().time(), f"SIGKILL {victim}")
