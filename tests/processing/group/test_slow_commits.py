"""V1: a commit that takes long costs no processor, and what has come meanwhile is not held up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.group.committer import Committer
from flowstream.processing.group.committing import OVERDUE_LOOK_S
from flowstream.processing.units import epoch
from flowstream.transport.consumer import GroupConsumer
from tests.processing.conftest import Kit


async def test_V1_nobody_polls_without_a_pause_while_a_commit_is_overdue(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = kit.app(name, commit_interval=0.01)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    seen = asyncio.Event()

    @app.agent(words)
    async def read(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            seen.set()

    began, go, waits = asyncio.Event(), asyncio.Event(), list[int]()
    commit, getmany = Committer.commit, GroupConsumer.getmany

    async def slow(self: Committer, close: Any) -> Any:
        began.set()
        await go.wait()
        return await commit(self, close)

    async def noted(self: GroupConsumer, most: int, timeout_ms: int) -> Any:
        if began.is_set() and not go.is_set():
            waits.append(timeout_ms)
            if len(waits) == 50:
                go.set()
        return await getmany(self, most, timeout_ms)

    monkeypatch.setattr(GroupConsumer, "getmany", noted)
    monkeypatch.setattr(Committer, "commit", slow)
    await kit.create(app)
    await words.send(value="a")
    async with kit.running(app):
        await asyncio.wait_for(seen.wait(), 30)
        await asyncio.wait_for(go.wait(), 30)
        await kit.until(kit.committed(app, words.name, 1))
    assert min(waits) >= OVERDUE_LOOK_S * 1000 - 1


async def test_X3_what_is_put_into_channels_waits_for_a_commit_within_a_bound(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = kit.app(name, max_poll_records=10)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    channel = app.channel(value_type=str)
    go, seen = asyncio.Event(), list[str]()
    commit = Committer.commit

    @app.agent(words)
    async def put(stream: fs.Stream[str]) -> None:
        async for word in stream:
            seen.append(word)
            await channel.put(word)

    async def slow(self: Committer, close: Any) -> Any:
        if seen:
            await go.wait()
        return await commit(self, close)

    monkeypatch.setattr(epoch, "DIRTY_KEYS", 5)
    monkeypatch.setattr(Committer, "commit", slow)
    listener = channel.listen()
    await kit.create(app)
    for _ in range(100):
        await words.send(value="a")
    async with kit.running(app) as worker:

        def is_held_up() -> bool:
            return worker.membership is not None and worker.membership._commits.is_held_up

        await kit.sees(is_held_up)
        assert len(seen) < 100
        go.set()
        await kit.until(kit.committed(app, words.name, 100))
        await kit.sees(lambda: len(listener) == 100)
