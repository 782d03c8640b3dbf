"""More units wait for a slow agent than may: nobody is left behind when they are through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

import flowstream as fs
from flowstream.processing.units import task
from tests.processing.rig import Rig

FEW = 3


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound that is soon reached."""
    monkeypatch.setattr(task, "MOST_PENDING", FEW)


async def through(rig: Rig, count: int) -> list[bytes | None]:
    """What has come out once there is so much."""
    async with asyncio.timeout(20):
        while len(rig.told("out")) < count:
            await asyncio.sleep(0.001)
            rig.task.tick()
            rig.commit()
    return [value for _, value in rig.told("out")]


async def test_V2_what_waits_for_its_key_is_done_however_much_is_behind() -> None:
    app = fs.App("clogged")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    out = app.topic("out", key_type=str, value_type=str, partitions=1)
    go = asyncio.Event()

    @app.agent(words, sink=[out], concurrency=3, order="key")
    async def slow(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            if word == "slow":
                await go.wait()
            yield word

    rig = Rig(app)
    await rig.open()
    rig.put("words", b"a", b"slow")
    rig.put("words", b"a", b"behind")
    for number in range(3 * FEW):
        rig.put("words", b"k%d" % number, b"quick")
    rig.deliver()
    await rig.settle()
    go.set()
    told = await through(rig, 3 * FEW + 2)
    assert told.index(b"slow") < told.index(b"behind")
    await rig.crash()


async def test_V2_a_side_of_a_join_on_a_shared_topic_goes_on_in_the_midst_of_a_step() -> None:
    app = fs.App("clogged")
    left, right, other, out = (
        app.topic(name, key_type=str, value_type=str, partitions=1)
        for name in ("left", "right", "other", "out")
    )
    go = asyncio.Event()

    @app.agent(left, sink=[out])
    async def join(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for pair in stream.join(right, within=10):
            await go.wait()
            yield f"{pair.left}{pair.right}"

    @app.agent(left)
    async def beside(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    @app.agent(other)
    async def elsewhere(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    rig = Rig(app)
    await rig.open()
    rig.put("right", b"k", b"r")
    rig.deliver()
    await rig.settle()
    for number in range(4):
        rig.put("left", b"k", b"%d" % number)
    rig.deliver()
    await rig.settle()
    for _ in range(3 * FEW):
        rig.put("other", b"k", b"x")
    rig.deliver()
    await rig.settle()
    go.set()
    assert await through(rig, 4) == [b"0r", b"1r", b"2r", b"3r"]
    await rig.crash()


async def test_S7_an_id_on_two_topics_passes_once_while_its_agent_awaits() -> None:
    app = fs.App("clogged")
    one, two, out = (
        app.topic(name, key_type=str, value_type=str, partitions=1) for name in ("a", "b", "out")
    )
    go = asyncio.Event()

    @app.agent(one, two, sink=[out])
    async def once(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for value in stream.dedupe(60):
            await go.wait()
            yield value

    rig = Rig(app)
    await rig.open()
    rig.put("a", b"k", b"from a")
    rig.put("b", b"k", b"from b")
    rig.deliver()
    await rig.settle()
    go.set()
    assert len(await through(rig, 1)) == 1
    await rig.settle()
    rig.commit()
    assert len(rig.told("out")) == 1
    await rig.crash()
