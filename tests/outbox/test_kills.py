"""kill -9 before and after every step between a topic and a database: each effect is there once."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from flowstream.outbox.applying import STEPS
from flowstream.processing.commit import EXACTLY_ONCE, ORDER
from flowstream.testing import Broker
from flowstream.transport.cluster import Cluster
from tests.outbox.conftest import Database
from tests.outbox.killed import build
from tests.processing.conftest import ROOT, Kit

NAME = "killed"
QUICK = {"group.min.session.timeout.ms": "500"}
"""Who was killed is out of the group after half a second."""
KEYS = 5
AT_A_TIME = 30
ALL = [f"database {step}" for step in STEPS] + [f"kafka {s.value}" for s in ORDER[EXACTLY_ONCE]]


async def run(kit: Kit, database: Database, step: str) -> int:
    """A worker process until it ends; how it ended."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.outbox.killed", NAME, kit.address, str(kit.directory / NAME),
        database.named, step, cwd=ROOT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            return await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def check(database: Database) -> int:
    """S7, S9: of each key the numbers from 1 on, each once and in order; how many there are."""
    rows = database.rows("SELECT who, what FROM effects")
    numbers: dict[str, list[int]] = defaultdict(list)
    for who, what in rows:
        numbers[who].append(int(what.split()[1]))
    for who, found in numbers.items():
        assert found == list(range(1, len(found) + 1)), (who, found)
    return len(rows)


@pytest.mark.timeout(300)
async def test_S9_kill_9_at_every_step_leaves_each_effect_once(
    database: Database, tmp_path: Path
) -> None:
    async with Broker(QUICK) as broker:
        cluster = Cluster(broker.address, client_id="test")
        await cluster.connect()
        kit = Kit(broker.address, tmp_path, cluster)
        try:
            await kill_at_every_step(kit, database, tmp_path)
        finally:
            for app in kit.apps:
                await app.close()
            await cluster.close()


async def kill_at_every_step(kit: Kit, database: Database, tmp_path: Path) -> None:
    name = NAME
    app, inputs, _ = build(name, kit.address, str(tmp_path / "sender"), database.named)
    kit.apps.append(app)
    await kit.create(app)
    sent = 0
    for step in ALL:
        for _ in range(AT_A_TIME):
            await inputs.send(key=f"k{sent % KEYS}", value=str(sent))
            sent += 1
        assert await run(kit, database, step) == -signal.SIGKILL, step
        check(database)
    last, _, _ = build(name, kit.address, str(tmp_path / "last"), database.named)
    kit.apps.append(last)
    async with kit.running(last):
        await kit.until(kit.committed(last, f"{name}-in", sent))

        async def stored() -> bool:
            return check(database) >= sent

        await kit.until(stored)
    ids = [what.split()[0] for _, what in database.rows("SELECT who, what FROM effects")]
    assert sorted(ids, key=int) == [str(n) for n in range(sent)]
