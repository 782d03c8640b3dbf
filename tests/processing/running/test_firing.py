"""V1: what is due does not wait for records that nobody sends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.running import firing
from flowstream.transport.consumer import GroupConsumer
from tests.processing.conftest import Kit

FEW, WINDOWS = 5, 50


async def test_V1_windows_that_close_at_once_do_not_wait_for_polls(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = kit.app(name, commit_interval=60.0)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    fired, waits, done = list[Any](), list[int](), asyncio.Event()

    @app.agent(words)
    async def count(stream: fs.Stream[str]) -> None:
        async for window in stream.tumbling(10).count():
            fired.append(window.key)
            if len(fired) == WINDOWS:
                done.set()

    getmany = GroupConsumer.getmany

    async def noted(self: GroupConsumer, most: int, timeout_ms: int) -> Any:
        if FEW < len(fired) < WINDOWS:
            waits.append(timeout_ms)
        return await getmany(self, most, timeout_ms)

    monkeypatch.setattr(firing, "MOST_AT_ONCE", FEW)
    monkeypatch.setattr(GroupConsumer, "getmany", noted)
    await kit.create(app)
    for number in range(WINDOWS):
        await words.send(key=f"k{number}", value="a", timestamp=1.0)
    await words.send(key="last", value="a", timestamp=100.0)
    async with kit.running(app):
        await asyncio.wait_for(done.wait(), 30)
    assert len(fired) == WINDOWS
    assert len(waits) >= WINDOWS // FEW - 2, "not more in a turn than may be"
    assert set(waits) == {0}
