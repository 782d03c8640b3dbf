"""The feed of an instance alone, without a cluster."""

from __future__ import annotations

import asyncio
from typing import Any

import flowstream as fs
from flowstream.processing.running.instance import Instance
from flowstream.processing.time.marks import Mark, mark_headers
from tests.processing.rig import Rig


async def test_S7_a_key_that_is_parked_waits_behind_a_watermark_too() -> None:
    app = fs.App("feed")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    seen: list[str] = []

    @app.agent(words, on_error=fs.park(backoff=60))
    async def work(stream: fs.Stream[str]) -> None:
        async for _, word in stream.group_by(lambda word: word[0], key_type=str).items():
            seen.append(word)
            if word == "a1":
                raise ValueError(word)

    @app.agent(app.topic("pages", key_type=str, value_type=str, partitions=1))
    async def count(stream: fs.Stream[str]) -> Any:
        async for _ in stream.tumbling(10).count():
            pass

    rig = Rig(app)
    await rig.open()
    between = app.repartition("work")
    mark = mark_headers("words/0", Mark(5_000, idle=False))
    rig.put(between, b"a", b"a1")
    rig.put(between, None, None, mark)
    rig.put(between, b"a", b"a2")
    rig.put(between, b"b", b"b1")
    rig.deliver()
    await rig.settle()
    assert seen == ["a1", "b1"]
    await rig.crash()


class Behind:
    """A loop whose clock has not come to where a timer fires."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def time(self) -> float:
        return self._loop.time() - 100

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


async def test_V1_a_take_ends_with_its_timer_whatever_the_clock_says() -> None:
    app = fs.App("feed")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    taken: list[list[str]] = []
    is_over = asyncio.Event()

    @app.agent(words)
    async def work(stream: fs.Stream[str]) -> None:
        async for some in stream.take(2, within=50):
            taken.append(some)
            is_over.set()

    rig = Rig(app)
    await rig.open()
    (instance,) = rig.task.all_instances
    assert isinstance(instance, Instance)
    instance._loop = Behind(instance._loop)  # type: ignore[assignment]
    rig.put("words", b"a", b"a1")
    rig.deliver()
    async with asyncio.timeout(20):
        await is_over.wait()
    assert taken == [["a1"]]
    await rig.crash()
