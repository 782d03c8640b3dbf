"""What waits for a slow agent is bounded by its bytes, and nobody is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

import flowstream as fs
from flowstream.processing.units import task as task_module
from tests.processing.rig import Rig

BOUND = 100_000
SIZE = 10_000
MANY = 100


@pytest.fixture(autouse=True)
def bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """So much that a few outputs fill it."""
    monkeypatch.setattr(task_module, "MOST_PENDING_BYTES", BOUND)


async def most_that_waits(rig: Rig) -> int:
    """Once nothing moves any more, though the worker looks again and again."""
    most = 0
    for _ in range(20):
        await rig.settle()
        rig.task.tick()
        most = max(most, rig.task.task.pending_bytes)
    return most


async def through(rig: Rig) -> list[bytes | None]:
    """What has come out when every event is committed."""
    async with asyncio.timeout(20):
        while not rig.is_done:
            await asyncio.sleep(0)
            rig.commit()
    assert rig.task.task.pending_bytes == 0
    return [value for _, value in rig.told("out")]


async def test_X3_what_waits_behind_a_stuck_lane_is_bounded_by_its_bytes() -> None:
    app = fs.App("clogged")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    out = app.topic("out", key_type=str, value_type=str, partitions=1)
    go = asyncio.Event()

    @app.agent(words, sink=[out], concurrency=3)
    async def spread(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            if word == "slow":
                await go.wait()
            yield "x" * SIZE

    rig = Rig(app)
    await rig.open()
    rig.put("words", None, b"slow")
    for _ in range(MANY):
        rig.put("words", None, b"quick")
    rig.deliver()
    assert BOUND < await most_that_waits(rig) <= BOUND + 3 * SIZE
    go.set()
    assert len(await through(rig)) == MANY + 1
    await rig.crash()


async def test_X3_rows_behind_a_stuck_lane_count_as_well() -> None:
    app = fs.App("clogged")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    kept = app.Table("kept", key_type=str, value_type=str, partitions=1)
    go = asyncio.Event()

    @app.agent(words, concurrency=3)
    async def spread(stream: fs.Stream[str]) -> None:
        async for key, word in stream.items():
            if word == "slow":
                await go.wait()
            kept[key] = "x" * SIZE

    rig = Rig(app)
    await rig.open()
    rig.put("words", b"slow", b"slow")
    for number in range(MANY):
        rig.put("words", b"%d" % number, b"quick")
    rig.deliver()
    assert BOUND < await most_that_waits(rig) <= BOUND + 3 * (SIZE + 10)
    go.set()
    await through(rig)
    assert len(rig.rows("kept")) == MANY + 1
    await rig.crash()


async def test_X3_lanes_of_which_none_is_slow_are_held_up_by_no_bytes() -> None:
    """There is no commit in sight: what is complete leaves room at the next look."""
    app = fs.App("clogged")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    out = app.topic("out", key_type=str, value_type=str, partitions=1)

    @app.agent(words, sink=[out], concurrency=3)
    async def spread(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for _ in stream:
            yield "x" * SIZE

    rig = Rig(app)
    await rig.open()
    for _ in range(MANY):
        rig.put("words", None, b"quick")
    rig.deliver()
    assert await most_that_waits(rig) <= BOUND + 3 * SIZE
    assert rig.task.queued("words") == 0
    assert len(await through(rig)) == MANY
    await rig.crash()


def with_a_slow_agent(app: fs.App, go: asyncio.Event) -> None:
    """Two agents on one topic, and one on another."""
    words, other, out = (
        app.topic(name, key_type=str, value_type=str, partitions=1)
        for name in ("words", "other", "out")
    )

    @app.agent(words)
    async def slow(stream: fs.Stream[str]) -> None:
        async for word in stream:
            if word == "slow":
                await go.wait()

    @app.agent(words, sink=[out])
    async def beside(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for _ in stream:
            yield "x" * SIZE

    @app.agent(other, sink=[out])
    async def elsewhere(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for _ in stream:
            yield "x" * SIZE


@pytest.mark.parametrize("at_once", [1, MANY])
async def test_X3_what_another_topic_gives_beside_a_slow_agent_is_bounded_by_its_bytes(
    at_once: int,
) -> None:
    app, go = fs.App("clogged"), asyncio.Event()
    with_a_slow_agent(app, go)
    rig = Rig(app)
    await rig.open()
    rig.put("words", b"k", b"slow")
    rig.deliver()
    await rig.settle()
    for _ in range(MANY):
        rig.put("other", b"k", b"quick")
    for _ in range(0, MANY, at_once):
        rig.deliver(at_once)
        await rig.settle()
    assert BOUND < await most_that_waits(rig) <= BOUND + 2 * SIZE
    go.set()
    assert len(await through(rig)) == MANY + 1
    await rig.crash()


async def test_X3_a_long_step_of_a_shared_topic_ends_where_there_is_no_more_room() -> None:
    app, go = fs.App("clogged"), asyncio.Event()
    with_a_slow_agent(app, go)
    rig = Rig(app)
    await rig.open()
    source = next(each for each in rig.task.task.sources if each.topic == "words")
    source._next_size = MANY  # as if many quick ones had been before
    for number in range(2 * MANY):
        rig.put("words", b"k", b"quick" if number else b"slow")
    rig.deliver()
    assert BOUND < await most_that_waits(rig) <= BOUND + 2 * SIZE
    go.set()
    assert len(await through(rig)) == 2 * MANY
    await rig.crash()


async def test_X3_rows_that_come_due_beside_a_slow_agent_wait_for_room() -> None:
    app, go = fs.App("clogged"), asyncio.Event()
    with_a_slow_agent(app, go)
    orders = app.topic("orders", key_type=str, value_type=str, partitions=1)
    due = app.Timers("due", key_type=str, value_type=str, time="processing")

    @app.agent(orders)
    async def watch(stream: fs.Stream[str]) -> None:
        async for key, _ in stream.items():
            due.set(key, "due", after=10)

    @app.agent(due, sink=[app.topics["out"]])
    async def remind(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for _ in stream:
            yield "x" * SIZE

    rig = Rig(app)
    await rig.open()
    for number in range(MANY):
        rig.put("orders", b"%d" % number, b"")
    rig.deliver()
    await rig.settle()
    rig.commit()
    rig.put("words", b"k", b"slow")
    rig.deliver()
    await rig.settle()
    rig.clock_ms = 60_000
    assert BOUND < await most_that_waits(rig) <= BOUND + 2 * (SIZE + 100)
    go.set()
    async with asyncio.timeout(20):
        while len(rig.told("out")) <= MANY:
            await asyncio.sleep(0)
            rig.commit()
    assert len(rig.told("out")) == MANY + 1
    assert not rig.rows("due")
    await rig.crash()
