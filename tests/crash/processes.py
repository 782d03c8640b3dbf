"""Workers as real processes that are started again when they die, and what can be done to them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SESSION_TIMEOUT_S = 2.0
TRANSACTION_TIMEOUT_S = 4.0
RESTART_S = 0.2
STOP_TIMEOUT_S = 15.0
ASKED = (0, -signal.SIGTERM)
"""How a worker ends that is told to: one that has only just been started does not listen yet."""


class Worker:
    """One `flowstream worker`, kept alive until it is stopped."""

    def __init__(
        self,
        name: str,
        module: str,
        data: Path,
        environment: Mapping[str, str] | None = None,
        *,
        broker: str | None = None,
    ) -> None:
        """`environment`: more settings, for the worker and for the broker that it starts;
        `broker`: the URL of one that it does not start.
        """
        self.name = name
        self.starts = 0
        self.ends: list[int] = []
        self._module, self._data = module, data
        self._environment = dict(environment or {})
        self._options = () if broker is None else ("--broker", broker)
        self._child: asyncio.subprocess.Process | None = None
        self._expected = False

    async def run(self) -> None:
        """Start it, and again whenever it ends, until cancelled."""
        try:
            while True:
                self._child = await self._spawn()
                self.starts += 1
                status = await self._child.wait()
                if not self._expected:
                    self.ends.append(status)
                self._expected = False
                await asyncio.sleep(RESTART_S)
        finally:
            await self.stop()

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        child = self._child
        return None if child is None or child.returncode is not None else child.pid

    def kill(self) -> None:
        """SIGKILL."""
        if self.pid is not None:
            self._expected = True
            with contextlib.suppress(ProcessLookupError):  # it ended, and nobody has told us yet
                os.kill(self.pid, signal.SIGKILL)

    async def restart(self) -> None:
        """SIGTERM, and wait until it has ended; it is started again. V4: it ends well."""
        child = self._child
        if child is None or child.returncode is not None:
            return
        self._expected = True
        child.terminate()
        try:
            status = await asyncio.wait_for(child.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            child.kill()
            status = await child.wait()
        if status not in (*ASKED, -signal.SIGKILL):  # or somebody killed it
            self.ends.append(status)

    def take_ends(self) -> list[int]:
        """Exit statuses nobody asked for, since this was last called."""
        ends, self.ends = self.ends, []
        return ends

    async def freeze(self, seconds: float) -> None:
        """SIGSTOP for a while, then SIGCONT: a zombie if it was longer than the session timeout."""
        pid = self.pid
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):  # as in `kill`
            os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            if self.pid == pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    async def stop(self) -> None:
        """SIGTERM and wait; V4 bounds it."""
        child, self._child = self._child, None
        if child is None or child.returncode is not None:
            return
        child.terminate()
        try:
            status = await asyncio.wait_for(child.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            child.kill()
            status = await child.wait()
        if status not in ASKED:
            self.ends.append(status)

    async def _spawn(self) -> asyncio.subprocess.Process:
        settings = {
            "FLOWSTREAM_SESSION_TIMEOUT": str(SESSION_TIMEOUT_S),
            "FLOWSTREAM_TRANSACTION_TIMEOUT": str(TRANSACTION_TIMEOUT_S),
        }
        command = ("-m", "flowstream", "worker", "-A", self._module, "--data", str(self._data))
        with (self._data / f"{self.name}.log").open("ab") as output:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                *self._options,
                cwd=ROOT,
                env={**os.environ, **settings, **self._environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
