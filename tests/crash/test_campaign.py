"""The campaign's own verdict: an end that nobody asked for is a violation."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import pytest

from tests.crash import processes
from tests.crash.campaign import Campaign
from tests.crash.processes import Worker


class Script(Worker):
    """A worker that is a line of Python."""

    code = "raise SystemExit(3)"

    async def _spawn(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", self.code, stdout=asyncio.subprocess.PIPE
        )


async def test_V1_a_worker_that_ends_by_itself_is_a_violation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "RESTART_S", 0.0)
    worker = Script("worker-1", "unused", tmp_path)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(20):
        while not worker.ends:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait((running,))
    found = Campaign(tmp_path, random.Random(1))
    found.workers = [worker]
    found.check_ends()
    assert found.anomalies[0].evidence == "worker-1 ended by itself with status 3"


async def test_V4_a_worker_that_does_not_end_well_is_a_violation(tmp_path: Path) -> None:
    class Sour(Script):
        code = (
            "import signal, sys\n"
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))\n"
            "print('up', flush=True)\n"
            "signal.pause()"
        )

    worker = Sour("worker-1", "unused", tmp_path)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(20):
        while worker._child is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert worker._child.stdout is not None
        await worker._child.stdout.readline()
        running.cancel()
        await asyncio.wait((running,))
    assert worker.take_ends() == [4]
    assert worker.take_ends() == []


async def test_a_killed_worker_is_no_violation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "RESTART_S", 0.0)

    class Sleeper(Script):
        code = "import signal; signal.pause()"

    worker = Sleeper("worker-1", "unused", tmp_path)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(20):
        while worker.pid is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        worker.kill()
        while worker.starts < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert worker.take_ends() == []
    worker.kill()
    running.cancel()
    await asyncio.wait((running,))
