"""Durable timers per key: set by one agent, fired as events of another."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.errors import AppError
from tests.processing.conftest import Kit


def reminding(kit: Kit, name: str, **options: Any) -> tuple[fs.App, Any, Any]:
    """`+seconds` sets a timer, `-` cancels it; what fires goes to a topic."""
    app = kit.app(name)
    orders = app.topic(f"{name}-orders", key_type=str, value_type=str, partitions=1)
    fired = app.topic(f"{name}-fired", key_type=str, value_type=str, partitions=1)
    timers = app.Timers("reminders", value_type=str, **options)

    @app.agent(orders)
    async def watch(stream: fs.Stream[str]) -> None:
        async for key, order in stream.items():
            if order.startswith("+"):
                seconds, _, text = order[1:].partition(" ")
                timers.set(key, text, after=float(seconds))
            elif order == "-":
                timers.cancel(key)

    @app.agent(timers, sink=[fired])
    async def remind(stream: fs.Stream[str]) -> Any:
        async for key, text in stream.items():
            assert key not in timers or timers.get(key) is not None
            if text.startswith("again"):
                timers.set(key, "last", after=10)
            yield f"{key}:{text}"

    return app, orders, fired


async def test_S12_timers_fire_in_order_once_event_time_has_come(kit: Kit, name: str) -> None:
    app, orders, fired = reminding(kit, name)
    await kit.create(app)
    async with kit.running(app):
        for key, order, at in [
            ("a", "+30 late", 0.0), ("b", "+10 early", 1.0), ("c", "+10 never", 2.0),
            ("c", "-", 3.0), ("a", "+20 sooner", 4.0), ("d", "", 25.0),
        ]:  # fmt: skip
            await orders.send(key=key, value=order, timestamp=at)
        await kit.until(kit.count(fired.name, 2))
        await orders.send(key="d", value="", timestamp=1_000.0)
        await kit.until(kit.committed(app, orders.name, 7))
    assert await kit.values(fired.name) == [b"b:early", b"a:sooner"]
    assert [r.timestamp for r in await kit.records(fired.name)] == [11_000, 24_000]


async def test_a_timer_may_set_itself_anew_while_it_fires(kit: Kit, name: str) -> None:
    app, orders, fired = reminding(kit, name)
    await kit.create(app)
    async with kit.running(app):
        await orders.send(key="a", value="+5 again", timestamp=0.0)
        await orders.send(key="b", value="", timestamp=100.0)
        await kit.until(kit.count(fired.name, 2))
    assert await kit.values(fired.name) == [b"a:again", b"a:last"]


async def test_S12_a_timer_of_the_clock_fires_after_downtime_and_once(kit: Kit, name: str) -> None:
    clock = [1_000_000]
    app, orders, fired = reminding(kit, name, time="processing")
    await kit.create(app)
    await orders.send(key="a", value="+30 x", timestamp=0.0)
    async with kit.running(app, clock=lambda: clock[0]):
        await kit.until(kit.committed(app, orders.name, 1))
        assert await kit.values(fired.name) == []
    clock[0] += 3_600_000
    for _ in range(2):
        app, orders, fired = reminding(kit, name, time="processing")
        async with kit.running(app, clock=lambda: clock[0]):
            await kit.until(kit.count(fired.name, 1))
    assert await kit.values(fired.name) == [b"a:x"]


def test_timers_are_declared_and_set_right_or_refused() -> None:
    app = fs.App("x")
    with pytest.raises(AppError, match="'event' or 'processing'"):
        app.Timers("t", value_type=str, time="wall")  # type: ignore[call-overload]
    app.Table("u", default=int)
    with pytest.raises(AppError, match="declared twice"):
        app.Timers("u", value_type=str)
    timers = app.Timers("t", value_type=str)
    with pytest.raises(fs.NotInAgent):
        timers.set("a", "x", after=1)


def test_S12_a_timer_that_is_cancelled_while_it_is_tried_again_does_not_fire() -> None:
    app = fs.App("timers")
    events = app.topic("events", key_type=str, value_type=str, partitions=1)
    due = app.Timers("due", key_type=str, value_type=str, time="processing")
    tries: list[str] = []

    @app.agent(events)
    async def arm(stream: fs.Stream[str]) -> None:
        async for key, value in stream.items():
            if value == "cancel":
                assert due.cancel(key)
            else:
                due.set(key, value, after=1)

    @app.agent(due, on_error=fs.retry(5, backoff=5, then="stop"))
    async def fire(stream: fs.Stream[str]) -> None:
        async for value in stream:
            tries.append(value)
            raise RuntimeError("on purpose")

    with app.test_context() as context:
        context.topic(events).send("set", key="k", settle=False)
        context.advance(2)
        context.topic(events).send("cancel", key="k", settle=False)
        context.advance(60)
    assert tries == ["set"]


@pytest.mark.parametrize("after", [1e13, -1e13, datetime.timedelta.max])
def test_S12_a_timer_beyond_all_instants_is_refused(after: Any) -> None:
    """Its row has so many digits and no more: the last would be taken for the value's first."""
    app = fs.App("far")
    events = app.topic("events", key_type=str, value_type=str, partitions=1)
    timers = app.Timers("t", value_type=str)
    refused: list[str] = []

    @app.agent(events)
    async def setting(stream: fs.Stream[str]) -> None:
        async for key, value in stream.items():
            with pytest.raises(ValueError, match="too far away") as error:
                timers.set(key, value, after=after)
            refused.append(str(error.value))
            assert timers.get(key) is None
            timers.set(key, value, after=90 * 365 * 86_400)
            assert timers.get(key) == (90 * 365 * 86_400 + 1.0, value)

    @app.agent(timers)
    async def fire(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            raise AssertionError("not yet")

    with app.test_context() as context:
        context.topic(events).send("x", key="a", timestamp=1.0)
    assert len(refused) == 1
