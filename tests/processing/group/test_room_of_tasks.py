"""X3: what waits in all tasks of a worker is bounded, however many there are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

import flowstream as fs
from flowstream.processing.units import task as task_module
from tests.processing.conftest import Kit

SIZE, PARTITIONS, MANY = 10_000, 3, 40


async def test_X3_what_waits_behind_stuck_lanes_of_all_tasks_is_bounded_together(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_module, "MOST_PENDING_BYTES", 10 * SIZE)
    monkeypatch.setattr(task_module, "WORKER_PENDING_BYTES", 6 * SIZE)
    app = kit.app(name, max_poll_records=1)
    words = app.topic(f"{name}-in", value_type=str, partitions=PARTITIONS)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)
    go = asyncio.Event()

    @app.agent(words, sink=[out], concurrency=2)
    async def spread(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            if word == "slow":
                await go.wait()
            yield "x" * SIZE

    await kit.create(app)
    for partition in range(PARTITIONS):
        for number in range(MANY):
            await words.send(value="quick" if number else "slow", partition=partition)
    async with kit.running(app) as worker:

        def tasks() -> list[task_module.Task]:
            held = worker.membership
            return [] if held is None else [running.task for running in held.tasks.values()]

        await kit.sees(lambda: sum(task.is_clogged for task in tasks()) == PARTITIONS)
        # One alone may have had all the room there was; the others had their shares then.
        assert sum(task.pending_bytes for task in tasks()) < 2.5 * 10 * SIZE
        go.set()
        await kit.until(kit.count(out.name, PARTITIONS * MANY))
