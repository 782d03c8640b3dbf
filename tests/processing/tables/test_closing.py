"""Windows that close: the final value of each, exactly once."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

import flowstream as fs
from flowstream.processing.errors import AppError
from tests.processing.conftest import Kit


class Seen(msgspec.Struct):
    """What a test's agent makes of a closed window."""

    key: str
    start: float
    end: float
    value: int


async def fill(topic: Any, events: list[tuple[str, float]]) -> None:
    for key, at in events:
        await topic.send(key=key, value=1, timestamp=at)


def counting(kit: Kit, name: str, **windows: Any) -> tuple[fs.App, Any, Any]:
    """An app that counts per key and window, and sends what closes to a topic."""
    app = kit.app(name)
    clicks = app.topic(f"{name}-clicks", key_type=str, value_type=int, partitions=1)
    results = app.topic(f"{name}-results", key_type=str, value_type=Seen, partitions=1)
    size = windows.pop("size", 10)
    counts = app.Table("counts", default=int).tumbling(size, **windows)

    @app.agent(clicks)
    async def count(stream: fs.Stream[int]) -> None:
        async for key, number in stream.items():
            counts[key] += number

    @app.agent(counts.closed, sink=[results])
    async def report(windows: fs.Stream[Any]) -> Any:
        async for window in windows:
            yield Seen(window.key, window.start, window.end, window.value)

    return app, clicks, results


async def seen(kit: Kit, topic: str) -> list[tuple[str, float, int]]:
    found = [msgspec.json.decode(v or b"", type=Seen) for v in await kit.values(topic)]
    return [(each.key, each.start, each.value) for each in found]


async def test_S12_each_window_is_told_once_when_it_is_over(kit: Kit, name: str) -> None:
    app, clicks, results = counting(kit, name, grace=5)
    events = [("a", 1.0), ("b", 2.0), ("a", 9.0), ("a", 12.0), ("a", 8.0), ("b", 14.9), ("a", 15.0)]
    await kit.create(app)
    async with kit.running(app):
        await fill(clicks, events)
        await kit.until(kit.count(results.name, 2))
        assert await seen(kit, results.name) == [("a", 0.0, 3), ("b", 0.0, 1)]
        await fill(clicks, [("a", 3.0), ("a", 40.0)])
        await kit.until(kit.count(results.name, 4))
    assert (await seen(kit, results.name))[2:] == [("a", 10.0, 2), ("b", 10.0, 1)]
    times = [record.timestamp for record in await kit.records(results.name)]
    assert times == [9_999, 9_999, 19_999, 19_999]


async def test_S12_what_was_told_is_not_told_again_by_the_next_worker(kit: Kit, name: str) -> None:
    app, clicks, results = counting(kit, name, grace=0)
    await kit.create(app)
    async with kit.running(app):
        await fill(clicks, [("a", 1.0), ("a", 11.0)])
        await kit.until(kit.count(results.name, 1))
    app, clicks, results = counting(kit, name, grace=0)
    await kit.create(app)
    async with kit.running(app) as worker:
        await fill(clicks, [("a", 2.0), ("a", 12.0), ("a", 25.0)])
        await kit.until(kit.count(results.name, 2))
        assert worker.counts.late == 1
    assert await seen(kit, results.name) == [("a", 0.0, 1), ("a", 10.0, 2)]


async def test_S12_a_window_that_ended_while_nobody_ran_is_told(kit: Kit, name: str) -> None:
    app, clicks, results = counting(kit, name, grace=0)
    await kit.create(app)
    await fill(clicks, [("a", 1.0)])
    async with kit.running(app):
        await kit.until(kit.committed(app, clicks.name, 1))
    await fill(clicks, [("b", 11.0)])
    app, clicks, results = counting(kit, name, grace=0)
    await kit.run_until(app, kit.count(results.name, 1))
    assert await seen(kit, results.name) == [("a", 0.0, 1)]


async def test_S11_late_events_become_dead_letters_when_asked_for(kit: Kit, name: str) -> None:
    app, clicks, results = counting(kit, name, grace=0, late="dead_letter")
    await kit.create(app)
    async with kit.running(app):
        await fill(clicks, [("a", 1.0), ("a", 11.0), ("b", 5.0)])
        await kit.until(kit.count(app.dead_letters, 1))
        await kit.until(kit.count(results.name, 1))
    (record,) = await kit.records(app.dead_letters)
    headers = dict(record.headers)
    assert record.key == b"b"
    assert headers["flowstream.error"] == b"LateEvent"
    assert await seen(kit, results.name) == [("a", 0.0, 1)]


async def test_late_events_update_a_window_that_is_kept_when_asked_for(kit: Kit, name: str) -> None:
    app, clicks, results = counting(kit, name, grace=0, expires=100, late="update")
    await kit.create(app)
    async with kit.running(app):
        await fill(clicks, [("a", 1.0), ("a", 11.0)])
        await kit.until(kit.count(results.name, 1))
        await fill(clicks, [("a", 5.0)])
        await kit.until(kit.count(results.name, 2))
    assert await seen(kit, results.name) == [("a", 0.0, 1), ("a", 0.0, 2)]


async def test_S12_an_agent_that_fails_on_a_result_is_told_it_again(kit: Kit, name: str) -> None:
    app = kit.app(name, retry_backoff=0.001)
    clicks = app.topic(f"{name}-clicks", key_type=str, value_type=int, partitions=1)
    results = app.topic(f"{name}-results", key_type=str, value_type=int, partitions=1)
    counts = app.Table("counts", default=int).tumbling(10, grace=0)
    failures = [RuntimeError("first"), RuntimeError("second")]

    @app.agent(clicks)
    async def count(stream: fs.Stream[int]) -> None:
        async for key, number in stream.items():
            counts[key] += number

    @app.agent(counts.closed, sink=[results], on_error="retry")
    async def report(windows: fs.Stream[Any]) -> Any:
        async for window in windows:
            if failures:
                raise failures.pop()
            yield window.value

    await kit.create(app)
    async with kit.running(app):
        await fill(clicks, [("a", 1.0), ("b", 2.0), ("a", 11.0), ("a", 21.0)])
        await kit.until(kit.count(results.name, 3))
    assert await kit.values(results.name) == [b"1", b"1", b"1"]


async def test_a_result_that_an_agent_skips_stays_closed(kit: Kit, name: str) -> None:
    app = kit.app(name)
    clicks = app.topic(f"{name}-clicks", key_type=str, value_type=int, partitions=1)
    results = app.topic(f"{name}-results", key_type=str, value_type=int, partitions=1)
    counts = app.Table("counts", default=int).tumbling(10, grace=0)

    @app.agent(clicks)
    async def count(stream: fs.Stream[int]) -> None:
        async for key, number in stream.items():
            counts[key] += number

    @app.agent(counts.closed, sink=[results], on_error="dead_letter")
    async def report(windows: fs.Stream[Any]) -> Any:
        async for window in windows:
            if window.key == "bad":
                raise ValueError("no")
            yield window.value

    await kit.create(app)
    async with kit.running(app):
        await fill(clicks, [("bad", 1.0), ("a", 2.0), ("a", 11.0)])
        await kit.until(kit.count(results.name, 1))
        await kit.until(kit.count(app.dead_letters, 1))
    (dead,) = await kit.records(app.dead_letters)
    assert (dead.key, dead.value) == (b"bad", b"1")
    assert dict(dead.headers)["window-end"] == b"10000"


async def test_results_of_one_window_are_events_of_a_longer_one(kit: Kit, name: str) -> None:
    """The last short window of a long one ends with it, and is in it all the same."""
    app = kit.app(name)
    clicks = app.topic(f"{name}-clicks", key_type=str, value_type=int, partitions=1)
    results = app.topic(f"{name}-results", key_type=str, value_type=Seen, partitions=1)
    short = app.Table("short", default=int).tumbling(10, grace=0)
    long = app.Table("long", default=int).tumbling(60, grace=0)

    @app.agent(clicks)
    async def count(stream: fs.Stream[int]) -> None:
        async for key, number in stream.items():
            short[key] += number

    @app.agent(short.closed)
    async def roll_up(windows: fs.Stream[Any]) -> None:
        async for window in windows:
            await asyncio.sleep(0)
            long[window.key] += window.value

    @app.agent(long.closed, sink=[results])
    async def report(windows: fs.Stream[Any]) -> Any:
        async for window in windows:
            yield Seen(window.key, window.start, window.end, window.value)

    await kit.create(app)
    async with kit.running(app) as worker:
        await fill(clicks, [("a", float(second)) for second in range(130)])
        await kit.until(kit.count(results.name, 2))
        assert worker.counts.late == 0
    assert await seen(kit, results.name) == [("a", 0.0, 60), ("a", 60.0, 60)]


async def test_event_time_comes_from_a_field_with_a_bound_of_disorder(kit: Kit, name: str) -> None:
    app = kit.app(name)
    clicks = app.topic(
        f"{name}-clicks", key_type=str, value_type=dict[str, float], partitions=1,
        timestamp="at", out_of_orderness=5,
    )  # fmt: skip
    results = app.topic(f"{name}-results", key_type=str, value_type=int, partitions=1)
    counts = app.Table("counts", default=int).tumbling(10, grace=0)

    @app.agent(clicks, on_error="dead_letter")
    async def count(stream: fs.Stream[dict[str, float]]) -> None:
        async for key, _ in stream.items():
            counts[key] += 1

    @app.agent(counts.closed, sink=[results])
    async def report(windows: fs.Stream[Any]) -> Any:
        async for window in windows:
            yield window.value

    await kit.create(app)
    async with kit.running(app):
        for at in (1.0, 14.0, 9.0, 15.0):
            await clicks.send(key="a", value={"at": at})
        await clicks.send(key="a", value={"no": 1.0})
        await kit.until(kit.count(results.name, 1))
        await kit.until(kit.count(app.dead_letters, 1))
    assert await kit.values(results.name) == [b"2"]
    (dead,) = await kit.records(app.dead_letters)
    assert b"field 'at' gives no event time" in (dict(dead.headers)["flowstream.cause"] or b"")


def test_windows_that_cannot_close_are_refused() -> None:
    app = fs.App("x")
    with pytest.raises(AppError, match="say grace="):
        _ = app.Table("a", default=int).tumbling(10).closed
    with pytest.raises(AppError, match="needs grace="):
        app.Table("b", default=int).tumbling(10, late="dead_letter")
    with pytest.raises(AppError, match="needs expires="):
        app.Table("c", default=int).tumbling(10, grace=1, late="update")
    with pytest.raises(AppError, match="before they close"):
        app.Table("d", default=int).tumbling(10, grace=5, expires=1)


def test_S8_S12_keys_that_look_like_our_own_rows_are_keys() -> None:
    app = fs.App("own")
    visits = app.topic("visits", key_type=str, value_type=int, partitions=1)
    told = app.topic("told", key_type=str, value_type=int, partitions=1)
    totals = app.Table("totals", default=int)
    windows = app.Table("windows", default=int).tumbling(10, grace=0)
    timers = app.Timers("timers", key_type=str, value_type=int)

    @app.agent(visits)
    async def count(stream: fs.Stream[int]) -> None:
        async for key, number in stream.items():
            totals[key] += number
            windows[key] += number
            timers.set(key, number, after=1_000)

    @app.agent(windows.closed, sink=[told])
    async def tell(stream: fs.Stream[Any]) -> Any:
        async for window in stream:
            yield window.value

    @app.agent(timers)
    async def remind(stream: fs.Stream[int]) -> None:
        async for _ in stream:
            pass

    keys = ["@marks spencer", "@stream-time", "@watermark", "ada"]
    with app.test_context() as context:
        for key in keys:
            context.topic(visits).send(1, key=key, timestamp=1_000)
        assert context.table(totals) == dict.fromkeys(keys, 1)
        assert context.table(windows) == dict.fromkeys([(key, 1_000.0) for key in keys], 1)
        context.crash()
        context.topic(visits).send(1, key="later", timestamp=1_100)
        context.advance(30)
        assert sorted(record.key for record in context.topic(told)) == keys
        # Its timers' table has rows of our own, and they are no keys.
        assert sorted(context.table(timers._rows)) == sorted([*keys, "later"])


@pytest.mark.parametrize("expires", [None, 3000])
def test_windows_whose_closing_nobody_reads_are_kept_as_without_it(expires: int | None) -> None:
    app = fs.App("unread")
    events = app.topic("events", key_type=str, value_type=int, partitions=1)
    totals = app.Table("totals", value_type=int, default=int).tumbling(10, grace=0, expires=expires)
    assert totals.closed.partitions is None  # looked at, for no agent

    @app.agent(events)
    async def add(stream: fs.Stream[int]) -> None:
        async for key, value in stream.items():
            totals[key] += value

    with app.test_context() as context:
        context.topic(events).send(1, key="a", timestamp=100.0)
        context.topic(events).send(2, key="a", timestamp=1000.0)
        assert dict(context.table(totals)) == {("a", 100.0): 1, ("a", 1000.0): 2}
