"""What goes wrong beside the straight path: cancelled awaits, swallowed ends, failed commits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.group.membership import Membership
from flowstream.processing.group.memberships import Memberships
from flowstream.transport.errors import SendFailed
from flowstream.transport.producer import IdempotentProducer
from flowstream.transport.types import NewTopic
from tests.processing.conftest import Kit


async def test_V2_an_agent_that_awaits_something_cancelled_stops_the_worker(
    kit: Kit, name: str
) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)

    @app.agent(words)
    async def wait(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            gone.cancel()
            await gone

    await kit.admin.create_topics([NewTopic(f"{name}-in", 1)])
    await words.send(value="x")
    with pytest.raises(fs.AgentFailed, match=r"failed at offset 0: .*awaited what was cancelled"):
        await asyncio.wait_for(fs.Worker(app, kit.address).run(), 30)


async def test_S9_an_agent_that_swallows_its_end_does_nothing_more(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)
    began = asyncio.Event()

    @app.agent(words, sink=[out])
    async def stubborn(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            began.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            yield word

    await kit.admin.create_topics([NewTopic(f"{name}-in", 1), NewTopic(f"{name}-out", 1)])
    for word in "abc":
        await words.send(value=word)
    async with kit.running(app):
        await asyncio.wait_for(began.wait(), 30)
    assert await kit.values(f"{name}-out") == []


async def test_S9_a_send_from_an_agent_without_an_open_event_is_refused(
    kit: Kit, name: str
) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)
    refused: list[str] = []
    next_event = asyncio.Event()

    async def send(when: str) -> None:
        try:
            await out.send(value=when)
        except fs.NotInAgent:
            refused.append(when)

    async def send_later() -> None:
        await next_event.wait()
        await send("from a task, after its event")

    tasks = []

    @app.agent(words)
    async def eager(stream: fs.Stream[str]) -> None:
        await send("before the first event")
        async for word in stream:
            try:
                if word == "first":
                    tasks.append(asyncio.create_task(send_later()))
                else:
                    await asyncio.Event().wait()
            finally:
                if word == "second":
                    await send("while its worker stops")

    await kit.admin.create_topics([NewTopic(words.name, 1), NewTopic(out.name, 1)])
    await words.send(value="first")
    async with kit.running(app) as worker:
        await kit.until(kit.committed(app, words.name, 1))
        next_event.set()
        await asyncio.gather(*tasks)
        await words.send(value="second")

        async def taken() -> bool:
            return worker.counts.events == 2

        await kit.until(taken)
    assert refused == [
        "before the first event",  # where it is only asked what it reads
        "before the first event",
        "from a task, after its event",
        "while its worker stops",
    ]
    assert await kit.values(out.name) == []
    assert await kit.committed(app, words.name, 1)()


async def test_at_least_once_a_rebalance_after_a_failed_commit_loses_nothing(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = kit.app(name, processing_guarantee="at_least_once", commit_interval=0.2)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)

    @app.agent(words, sink=[out])
    async def echo(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            yield word

    produce, failed = IdempotentProducer.produce, asyncio.Event()
    worker = fs.Worker(app, kit.address)

    async def fail_once(self: IdempotentProducer, batches: Any) -> Any:
        if failed.is_set():
            return await produce(self, batches)
        failed.set()
        # More completes, and a rebalance comes, before the failure is dealt with.
        raise SendFailed("lost")

    async def revoked_meanwhile(self: Memberships, error: BaseException) -> None:
        membership = worker._membership
        assert isinstance(membership, Membership)
        await words.send(value="second")
        while worker.counts.events < 2:
            found = await membership.consumer.getmany(10, 50)
            for tp, records in found.items():
                membership._deliver(tp, records)
            await asyncio.sleep(0)
        await membership.revoked(membership._partitions)
        await membership.assigned(frozenset(membership.consumer.assignment()))

    await kit.admin.create_topics([NewTopic(f"{name}-in", 1), NewTopic(f"{name}-out", 1)])
    monkeypatch.setattr(IdempotentProducer, "produce", fail_once)
    monkeypatch.setattr(Memberships, "_lost", revoked_meanwhile)
    await words.send(value="first")
    running = asyncio.create_task(worker.run())
    await kit.until(kit.committed(app, f"{name}-in", 2))
    worker.stop()
    await running
    assert {b"first", b"second"} <= set(await kit.values(f"{name}-out"))
