"""Queries that somebody else than the owner answers: a standby when the owner is gone or does not
move, and any worker for a global table.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.queries.router import Router
from tests.processing.conftest import ROOT, Kit
from tests.processing.stores.test_standbys import starter_of
from tests.web.conftest import visited
from tests.web.counting import ALL, Words, settled
from tests.web.test_killed_owner import MODULE

LONG_S = 60.0
"""Longer than the test: whoever is gone is a member until its end."""
SETTINGS = {"session_timeout": LONG_S, "standby_replicas": 1}


@asynccontextmanager
async def owner_elsewhere(kit: Kit, name: str, where: Path) -> AsyncIterator[Any]:
    """A worker of the app in a process of its own."""
    settings = f"session_timeout={LONG_S}, standby_replicas=1"
    text = MODULE.format(name=name).replace("session_timeout=6.0", settings)
    (where / "victim.py").write_text(text, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "flowstream", "worker", "-A", "victim", "--web-port", "0",
        "--broker", f"kafka://{kit.address}", "--data", str(where / "victim"),
        cwd=where, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until_copied(kit: Kit, worker: fs.Worker) -> None:
    """Until there is a copy of every task that does not run here."""

    async def copied() -> bool:
        standing_by = starter_of(worker).standing_by
        found = [id for id in standing_by.tasks if standing_by.is_current(id)]
        return len(worker.tasks) + len(found) == 4 and bool(found)

    await kit.until(copied)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_copy_answers_within_the_bound_when_its_owner_is_gone(
    kit: Kit, name: str, tmp_path: Path, how: signal.Signals
) -> None:
    words = Words(kit, name, **SETTINGS)
    await kit.create(words.app)
    async with (
        visited(kit, words.app) as (worker, client),
        owner_elsewhere(kit, name, tmp_path) as process,
    ):
        await settled(kit, words.app, 4, 2)
        await until_copied(kit, worker)
        query = words.app.query("counts")
        sent = await words.send(*ALL)
        assert [await query.get(w, after=sent, timeout=20) for w in ALL] == [1] * 12
        process.send_signal(how)
        here = {int(task.split("/")[0]) for task in worker.tasks}
        gone = [w for w, at in zip(ALL, sent, strict=True) if at.partition not in here]
        assert gone, "the other worker had some"
        for word in gone[:2]:
            assert await query.get(word, max_staleness=LONG_S, timeout=20) == 1
            answer = await client.get(f"/tables/counts/{word}?max_staleness={LONG_S}&timeout=20")
            assert answer.json() == {"key": word, "value": 1}
        found = await query.range(max_staleness=LONG_S, after=sent, timeout=6)
        assert found == [(word, 1) for word in sorted(ALL)]
        with pytest.raises(fs.TableUnavailable, match="does not answer"):
            await query.get(gone[0], timeout=0.5)
        (late,) = await words.send(gone[0])
        with pytest.raises((fs.QueryTimeout, fs.TableUnavailable)):
            await query.get(gone[0], max_staleness=LONG_S, after=late, timeout=1)
        with pytest.raises(fs.TooStale, match="and its owner does not answer") as refused:
            await query.get(gone[0], max_staleness=0.01, timeout=3)
        assert "max_staleness=0.01" in str(refused.value)
        path = f"/tables/counts/{gone[0]}?max_staleness=0.01&timeout=3"
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["kind"]) == (503, "stale")


async def test_any_worker_answers_for_a_global_table_by_itself(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    apps = []
    for data in "ab":
        app = kit.app(name, data_dir=kit.directory / data, web_port=0)
        topic = app.topic(f"{name}-in", key_type=str, value_type=int, partitions=4)
        last = app.GlobalTable("last", key_type=str, value_type=int, partitions=4)

        @app.agent(topic)
        async def keep(stream: fs.Stream[int], last: Any = last) -> None:
            async for key, value in stream.items():
                last[key] = value

        apps.append((app, topic))
    await kit.create(apps[0][0])

    async def nobody_is_asked(*args: object, **kwargs: object) -> None:
        raise AssertionError("asked another worker")

    async with visited(kit, apps[0][0]) as (_, first), visited(kit, apps[1][0]) as (_, second):
        await settled(kit, apps[0][0], 4, 2)
        outside = apps[0][0].query("last")
        sent = [await apps[0][1].send(key=word, value=1) for word in ALL]
        assert [await outside.get(word, after=sent, timeout=20) for word in ALL] == [1] * 12
        monkeypatch.setattr(Router, "_post", nobody_is_asked)
        for number, client in enumerate((first, second) * 2, 2):
            for word in ALL:
                at = await apps[0][1].send(key=word, value=number)
                after = f"after={at.topic}:{at.partition}:{at.offset}&timeout=20"
                found = await client.get(f"/tables/last/{word}?{after}&max_staleness=20")
                assert found.json() == {"key": word, "value": number}
