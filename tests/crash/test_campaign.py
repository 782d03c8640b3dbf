"""The campaign's own verdict: an end that nobody asked for is a violation."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkers.stream import Input, chain
from tests.crash import campaign, processes
from tests.crash.campaign import Campaign
from tests.crash.processes import Worker
from tests.crash.topics import Feeder, Found, Pipe, Results


class Script(Worker):
    """A worker that is a line of Python."""

    code = "raise SystemExit(3)"

    async def _spawn(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", self.code, stdout=asyncio.subprocess.PIPE
        )


async def spawned(worker: Script) -> None:
    """Until its process is there."""
    while worker._child is None:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


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
        await spawned(worker)
        assert worker._child.stdout is not None
        await worker._child.stdout.readline()
        running.cancel()
        await asyncio.wait((running,))
    assert worker.take_ends() == [4]
    assert worker.take_ends() == []


async def test_a_worker_that_is_told_to_end_before_it_listens_is_no_violation(
    tmp_path: Path,
) -> None:
    class Young(Script):
        code = "import signal; print('up', flush=True); signal.pause()"

    worker = Young("worker-1", "unused", tmp_path)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(20):
        await spawned(worker)
        running.cancel()
        await asyncio.wait((running,))
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


async def test_S7_an_answer_that_comes_late_is_read_and_is_a_duplicate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "QUIET_S", 0.0)

    class Late(Results):
        """One more answer with every look, until there are three."""

        async def look(self) -> None:
            if len(self.records) < 3:
                value = {"id": "i0", "count": 1, "total": 1, "last": 1, "nonce": "n"}
                value["chain"] = chain("", "i0")
                number = len(self.records)
                self.records.append(Found(0, number, b"k", json.dumps(value).encode()))

    run = Campaign(tmp_path, random.Random(1))
    run.feeder = Feeder("unused", 1.0, random.Random(1))
    run.feeder.inputs.append(Input("k", 1, "i0"))
    pipe = Pipe("unused", "answers", "states")
    pipe.answers, pipe.changes = Late("unused", "answers"), Late("unused", "changes")
    run.pipes = [pipe]
    await run._drain()
    assert len(pipe.answers.records) == 3
    run._check()
    assert [anomaly.name for anomaly in run.anomalies] == ["duplicate", "duplicate"]


async def test_an_input_that_waits_for_metadata_is_sent_before_the_feeder_returns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[bytes] = []
    asked, told, stop = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Producer:
        """Its metadata comes late; a flush sees only what is in its buffer."""

        async def send(self, topic: str, value: bytes, key: bytes) -> None:
            asked.set()
            await told.wait()
            sent.append(value)

        async def flush(self) -> None:
            """The buffer is empty at any time."""

        async def stop(self) -> None:
            """There is nothing to stop."""

    async def started(_: Feeder, stop: asyncio.Event) -> Producer:
        return Producer()

    monkeypatch.setattr(Feeder, "_started", started)
    feeder = Feeder("unused", 1.0, random.Random(1))
    feeding = asyncio.create_task(feeder.run(stop))
    await asked.wait()
    stop.set()
    asyncio.get_running_loop().call_soon(told.set)
    await feeding
    assert len(sent) == len(feeder.inputs) == 1


def test_a_round_in_which_the_process_stands_still_ends_and_tells_where(tmp_path: Path) -> None:
    script = """
import asyncio, random, time
from pathlib import Path
from tests.crash import campaign

async def started(run):
    pass

async def stuck(run, kills):
    time.sleep(3600)  # as C code that does not give the interpreter back

campaign.WORKERS, campaign.FROZEN_S = 0, 0.1
campaign.Campaign.start, campaign.Campaign.round = started, stuck
asyncio.run(campaign.campaign(1, 1, Path(".")))
"""
    root = Path(campaign.__file__).parents[2]
    ended = subprocess.run(
        (sys.executable, "-c", script),
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)}, timeout=60,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "in stuck" in ended.stderr
