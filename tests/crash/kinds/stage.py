"""The processes of one run: workers, and the broker that one of them owns, or one behind a proxy.

What is done to them is the adversary's affair.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from flowstream.cli.embedded import answers, read_address
from tests.checkers.history import Anomaly
from tests.crash.campaign import kill_broker
from tests.crash.kinds.app import VARIABLE
from tests.crash.kinds.beside import DIRECTORY
from tests.crash.processes import RESTART_S, ROOT, Worker
from tests.transport.proxy import Proxy

MODULE = "tests.crash.kinds.app"
WORKERS = 2
POLL_S = 0.05
START_S = 60.0
JOIN_S = 10.0
GIVEN = (-signal.SIGTERM, -signal.SIGKILL, 255)
"""Ends of a guest that leaves rudely, or is told to before it has begun to listen; 255 is asyncio's
word for a child that was gone before it looked.
"""
NOBODY = "no Kafka broker answers at"


class Stage:
    """Workers and their broker. `address` is where the campaign's own clients find it."""

    mode = "embedded"

    def __init__(self, directory: Path, kinds: Sequence[str], standbys: int = 0) -> None:
        self.directory = directory
        self.standbys = standbys
        self.environment = {
            VARIABLE: ",".join(kinds), DIRECTORY: str(directory),
            "FLOWSTREAM_STANDBY_REPLICAS": str(standbys),
        }  # fmt: skip
        self.address = ""
        self.tasks: list[asyncio.Task[None]] = []
        self.workers: list[Worker] = []
        self.guest: Worker | None = None
        """The one that comes and goes."""
        self.proxy: Proxy | None = None
        self._guesting: asyncio.Task[None] | None = None
        self._excused = 0

    async def start(self) -> None:
        """Start everything; returns when the broker answers."""
        self._start_workers(None)
        await self._find()
        self.tasks.append(asyncio.create_task(self._stays()))

    async def _find(self) -> None:
        async with asyncio.timeout(START_S):
            while True:
                found = read_address(self.directory)
                if found is not None and await answers(found):
                    self.address = found
                    return
                await asyncio.sleep(POLL_S)

    async def _stays(self) -> None:
        """Raise when the broker is elsewhere: the campaign's clients cannot follow it."""
        while True:
            await asyncio.sleep(1.0)
            if read_address(self.directory) not in (None, self.address):
                raise RuntimeError("another process took the broker's port: run it again")

    def _start_workers(self, broker: str | None) -> None:
        for number in range(1, WORKERS + 2):
            worker = Worker(
                f"worker-{number}", MODULE, self.directory, self.environment, broker=broker
            )
            if number > WORKERS:
                self.guest = worker
            else:
                self.workers.append(worker)
                self.tasks.append(asyncio.create_task(worker.run()))

    async def stop(self) -> None:
        """SIGTERM for all, the broker last."""
        await self.dismiss()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    @asynccontextmanager
    async def reopened(self) -> AsyncIterator[str]:
        """The broker of a run that has stopped, for a last look."""
        child = await start_broker(self.directory, "0")
        try:
            yield await ready(child)
        finally:
            child.terminate()
            await child.wait()

    def check(self) -> None:
        """Raise what went wrong in the campaign's own tasks."""
        for task in self.tasks:
            if task.done():
                task.result()

    def ends(self) -> list[Anomaly]:
        """V1, V4: whoever ended by itself, or badly."""
        found = []
        told = self._unreachable()
        for worker in (*self.workers, *(() if self.guest is None else (self.guest,))):
            for status in worker.take_ends():
                if worker is self.guest and status in GIVEN:
                    continue
                if status == 1 and self._excused < told:
                    self._excused += 1
                    continue
                evidence = f"{worker.name} ended with status {status}"
                found.append(Anomaly("unexpected end", "V1", evidence))
        return found

    def _unreachable(self) -> int:
        """How often a worker found nobody at the address of a broker that is not its own: it says
        so and ends.
        """
        if self.mode == "embedded":
            return 0
        return sum(NOBODY in reason for reason in reasons(self.directory))

    # -- a guest --------------------------------------------------------------------------------

    @property
    def has_guest(self) -> bool:
        """Whether the third worker is there."""
        return self._guesting is not None

    async def invite(self) -> bool:
        """The third worker starts; whether it has partitions after some time."""
        assert self.guest is not None
        log = self.directory / f"{self.guest.name}.log"
        seen = log.stat().st_size if log.exists() else 0
        self._guesting = asyncio.create_task(self.guest.run())
        for _ in range(round(JOIN_S / POLL_S)):
            if log.exists() and b": assigned: " in log.read_bytes()[seen:]:
                return True
            await asyncio.sleep(POLL_S)
        return False

    async def dismiss(self, *, rudely: bool = False) -> None:
        """The third worker leaves, by SIGTERM or without a word."""
        guesting, self._guesting = self._guesting, None
        if guesting is None or self.guest is None:
            return
        if rudely:
            self.guest.kill()
        guesting.cancel()
        await asyncio.wait((guesting,))

    # -- the broker -----------------------------------------------------------------------------

    @property
    def broker_pid(self) -> int | None:
        """The broker's process, None between two."""
        try:
            return int((self.directory / "broker" / ".lock").read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return None

    def kill_broker(self) -> None:
        """SIGKILL."""
        kill_broker(self.directory)

    async def pause_broker(self, seconds: float) -> None:
        """SIGSTOP for a while: a commit that has begun takes that long."""
        pid = self.broker_pid
        if pid is None or not is_ours(pid, self.directory):
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
            finally:
                os.kill(pid, signal.SIGCONT)


class ProxiedStage(Stage):
    """A broker of its own process, and between it and the workers a proxy that loses, repeats and
    holds back requests.
    """

    mode = "proxied"

    async def start(self) -> None:
        """Broker first."""
        self.tasks.append(asyncio.create_task(self._keep_broker()))
        await self._find()
        self.proxy = await Proxy(self.address).__aenter__()
        self._start_workers(f"kafka://{self.proxy.address}")
        self.tasks.append(asyncio.create_task(self._stays()))

    async def stop(self) -> None:
        """Workers first: they commit once more."""
        broker, self.tasks = self.tasks[:1], self.tasks[1:]
        await super().stop()
        if self.proxy is not None:
            await self.proxy.__aexit__()
        for task in broker:
            task.cancel()
        await asyncio.gather(*broker, return_exceptions=True)

    async def _keep_broker(self) -> None:
        """Run it, and again whenever it dies, at the same port."""
        port = "0"
        while True:
            child = await start_broker(self.directory, port)
            try:
                address = await ready(child)
                if address:
                    port = address.rpartition(":")[2]
                    (self.directory / "broker.address").write_text(address, encoding="ascii")
                await child.wait()
            finally:
                if child.returncode is None:
                    child.terminate()
                    await child.wait()
            await asyncio.sleep(RESTART_S)


class ForeignStage(Stage):
    """A cluster that somebody else runs: only workers are harmed."""

    mode = "foreign"

    def __init__(self, directory: Path, kinds: Sequence[str], standbys: int, broker: str) -> None:
        super().__init__(directory, kinds, standbys)
        self.address = broker

    async def start(self) -> None:
        """Workers only."""
        self._start_workers(f"kafka://{self.address}")

    @asynccontextmanager
    async def reopened(self) -> AsyncIterator[str]:
        """It runs on."""
        yield self.address

    def kill_broker(self) -> None:
        """Not ours."""

    async def pause_broker(self, seconds: float) -> None:
        """Not ours."""


async def start_broker(directory: Path, port: str) -> asyncio.subprocess.Process:
    """`flowstream broker` on a run's directory."""
    with (directory / "broker.log").open("ab") as errors:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "flowstream", "broker",
            "--data", str(directory / "broker"), "--port", port,
            "--set", "group.min.session.timeout.ms=1000",
            cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=errors, start_new_session=True,
        )  # fmt: skip


async def ready(broker: asyncio.subprocess.Process) -> str:
    """Where it listens, nothing when it ended before."""
    assert broker.stdout is not None
    words = (await broker.stdout.readline()).split()
    return words[1].decode() if words[:1] == [b"ready"] else ""


def is_ours(pid: int, directory: Path) -> bool:
    """Whether a process is the broker of a directory: a lock left behind may name another one."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return str(directory / "broker") in command


def reasons(directory: Path) -> list[str]:
    """What the workers gave as reasons for ending."""
    return [
        f"{log.stem}: {line}"
        for log in sorted(directory.glob("worker-*.log"))
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.startswith("error:")
    ]
