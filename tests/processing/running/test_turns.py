"""Instances that work on the same rows take turns: nothing is lost where an agent awaits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest

import flowstream as fs
from flowstream.processing.running.turns import LONGEST_S, MOST_IN_A_ROW
from tests.processing.rig import Rig


class Joined:
    """An app that joins two streams, and an agent that waits when it is told to."""

    def __init__(self, shape: Callable[[Any], Any] = lambda stream: stream, **how: Any) -> None:
        app = fs.App("turns", retry_backoff=0.001)
        self.left, self.right, out = (
            app.topic(name, key_type=str, value_type=str, partitions=1)
            for name in ("left", "right", "out")
        )
        self.go = asyncio.Event()
        self.waits = asyncio.Event()
        self.pause: Callable[[], Awaitable[object]] = self.go.wait
        self.fails = 0

        @app.agent(self.left, sink=[out], on_error="retry")
        async def pair(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for each in shape(stream.join(self.right, within=10, **how)):
                self.waits.set()
                await self.pause()
                if self.fails:
                    self.fails -= 1
                    raise RuntimeError("once")
                for one in each if isinstance(each, list) else [each]:
                    yield f"{one.left} {one.right}"

        self.rig = Rig(app)

    def put(self, *records: tuple[str, str]) -> None:
        for topic, value in records:
            self.rig.put(topic, b"k", value.encode())
        self.rig.deliver()

    async def told(self, count: int) -> list[str]:
        """What has come out, once there is so much."""
        self.go.set()
        async with asyncio.timeout(20):
            while len(self.rig.told("out")) < count:
                await asyncio.sleep(0.001)
                self.rig.commit()
        await self.rig.settle()
        self.rig.commit()
        return [(value or b"").decode() for _, value in self.rig.told("out")]


@pytest.mark.parametrize("fails", [0, 2])
async def test_S7_events_that_come_while_the_agent_awaits_meet(fails: int) -> None:
    joined = Joined()
    joined.fails = fails
    await joined.rig.open()
    joined.put(("right", "R1"), ("left", "L1"))
    await joined.waits.wait()
    joined.put(("right", "R2"), ("left", "L2"))
    told = await joined.told(4)
    assert sorted(told) == ["L1 R1", "L1 R2", "L2 R1", "L2 R2"]
    await joined.rig.crash()


async def test_S7_events_that_come_while_a_list_is_open_meet() -> None:
    joined = Joined(lambda stream: stream.take(3, within=0.05))
    await joined.rig.open()
    joined.put(("right", "R1"), ("left", "L1"))
    joined.put(("right", "R2"), ("left", "L2"), ("right", "R3"))
    told = await joined.told(6)
    assert sorted(told) == [f"L{left} R{right}" for left in (1, 2) for right in (1, 2, 3)]
    await joined.rig.crash()


async def test_V1_both_sides_have_their_turn_while_one_has_more_to_do() -> None:
    joined = Joined()
    await joined.rig.open()
    joined.put(("right", "R0"), ("left", "L0"))
    await joined.waits.wait()
    many = [("left", f"L{n}") for n in range(1, 3 * MOST_IN_A_ROW)]
    joined.put(("right", "R1"), *many)
    told = await joined.told(2 * (len(many) + 1))
    first = next(n for n, each in enumerate(told) if each.endswith("R1"))
    assert first <= MOST_IN_A_ROW + 1
    assert len({*told}) == len(told) == 2 * (len(many) + 1)
    await joined.rig.crash()


async def test_V1_a_slow_agent_lets_the_other_side_have_its_turn_before_long() -> None:
    now = [0.0]
    joined = Joined()
    await joined.rig.open()
    for instance in joined.rig.task.all_instances:
        cast("Any", instance).turns.clock = lambda: now[0]
    units = 0

    async def slow() -> None:
        nonlocal units
        units, now[0] = units + 1, now[0] + LONGEST_S / 2
        if units == 10:
            joined.put(("right", "R1"))

    joined.pause = slow
    many = [("left", f"L{n}") for n in range(MOST_IN_A_ROW)]
    joined.put(("right", "R0"))
    await joined.rig.settle()
    joined.put(*many)
    told = await joined.told(2 * len(many))
    assert 10 <= next(n for n, each in enumerate(told) if each.endswith("R1")) <= 15
    await joined.rig.crash()


def test_S12_a_session_that_closes_while_another_event_of_its_key_is_worked_on() -> None:
    app = fs.App("turns")
    events, out = (
        app.topic(name, key_type=str, value_type=int, partitions=1) for name in ("in", "out")
    )

    @app.agent(events, sink=[out])
    async def tell(stream: fs.Stream[int]) -> AsyncIterator[int]:
        async for change in stream.session(5, emit="on_change").sum():
            await asyncio.sleep(1)
            yield change.value

    with app.test_context() as context:
        for number, at in enumerate((0.0, 100.0, 101.0, 200.0, 201.0, 300.0)):
            context.topic(events).send(number, key="a", timestamp=at, settle=False)
            context.advance(0.3)
        context.advance(60)
        assert [record.value for record in context.topic(out)] == [0, 1, 3, 3, 7, 5]
