"""When a source is idle, and the event time goes on without it."""

from __future__ import annotations

import asyncio

import pytest

import flowstream as fs
from flowstream.processing.running import runtime
from tests.processing.rig import Rig


async def test_V1_events_of_other_topics_that_may_not_commit_keep_no_source_from_being_idle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Windows did not close while an agent worked on several events of another topic at a time, as
    of these one is nearly always done before an earlier one.
    """
    app = fs.App("shop", source_idle=1)
    hits, clicks, slow = (
        app.topic(name, key_type=str, value_type=int, partitions=1)
        for name in ("hits", "clicks", "slow")
    )
    counts = app.Table("counts", default=int).tumbling(60, grace=0, expires=600)
    told: list[int] = []
    may_end = asyncio.Event()

    @app.agent(hits, clicks)
    async def count(stream: fs.Stream[int]) -> None:
        async for key, value in stream.items():
            counts[key] += value

    @app.agent(counts.closed)
    async def tell(stream: fs.Stream[fs.WindowResult[str, int]]) -> None:
        async for result in stream:
            told.append(result.value)

    @app.agent(slow, concurrency=2)
    async def wait(stream: fs.Stream[int]) -> None:
        async for value in stream:
            if value == 0:
                await may_end.wait()

    rig = Rig(app)
    task = await rig.open()
    rig.put("clicks", b"ann", b"1", at_ms=1_000)
    rig.put("hits", b"ann", b"2", at_ms=100_000)
    rig.put("slow", b"ann", b"2", at_ms=200_000)
    rig.deliver()
    await rig.settle()
    rig.commit()
    for key, value in ((b"ann", b"0"), (b"bob", b"1")):
        rig.put("slow", key, value, at_ms=200_000)
    rig.deliver()
    await rig.settle()
    assert task.task.pending
    now_ms = runtime.loop_ms()
    for passed_ms in (0, 60_000):
        monkeypatch.setattr(runtime, "loop_ms", lambda now_ms=now_ms + passed_ms: now_ms)
        rig.deliver()
        await rig.settle()
    assert told == [1, 2]
    may_end.set()
    await rig.settle()
    await rig.crash()
