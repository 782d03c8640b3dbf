"""Where windows, joins, replies and policies meet: each case once broke a promise."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

import flowstream as fs
from flowstream.processing.duties.planning import make_plan
from flowstream.processing.errors import AppError
from tests.processing.conftest import Kit


class Line(msgspec.Struct, frozen=True):
    """The start of a window and what it counted."""

    start: float
    count: int


async def told(kit: Kit, topic: str) -> list[tuple[float, int]]:
    """What closed windows said, in order."""
    lines = [msgspec.json.decode(value or b"", type=Line) for value in await kit.values(topic)]
    return [(line.start, line.count) for line in lines]


def closing(kit: Kit, name: str, **windows: Any) -> tuple[fs.App, Any, Any]:
    """An app that counts in windows of ten seconds and tells each that closes."""
    disorder = windows.pop("disorder", 0)
    app = kit.app(name)
    clicks = app.topic(
        f"{name}-c", key_type=str, value_type=int, partitions=1, out_of_orderness=disorder
    )
    out = app.topic(f"{name}-o", key_type=str, value_type=Line, partitions=1)
    counts = app.Table("counts", default=int).tumbling(10, **windows)

    @app.agent(clicks)
    async def count(stream: fs.Stream[int]) -> None:
        async for key, number in stream.items():
            counts[key] += number

    @app.agent(counts.closed, sink=[out])
    async def report(windows: fs.Stream[Any]) -> Any:
        async for window in windows:
            yield Line(window.start, window.value)

    return app, clicks, out


async def test_S12_a_window_closes_before_it_expires(kit: Kit, name: str) -> None:
    app, clicks, out = closing(kit, name, disorder=3600, grace=5, expires=600)
    await kit.create(app)
    async with kit.running(app) as worker:
        for at in range(0, 5_000, 50):
            await clicks.send(key="a", value=1, timestamp=float(at))
        due = len([at for at in range(0, 5_000, 50) if at + 10 + 5 <= 4_950 - 3_600])
        await kit.until(kit.count(out.name, due))
        assert worker.counts.late == 0
    assert await told(kit, out.name) == [(float(50 * n), 1) for n in range(due)]


async def test_S12_a_late_event_does_not_tell_a_window_again(kit: Kit, name: str) -> None:
    app, clicks, out = closing(kit, name, grace=0, expires=1000)
    await kit.create(app)
    async with kit.running(app):
        for at in (1.0, 11.0):
            await clicks.send(key="a", value=1, timestamp=at)
        await kit.until(kit.count(out.name, 1))
    app, clicks, out = closing(kit, name, grace=0, expires=1000)
    async with kit.running(app) as worker:
        await clicks.send(key="a", value=1, timestamp=3.0)
        await clicks.send(key="a", value=1, timestamp=25.0)
        await kit.until(kit.count(out.name, 2))
        assert worker.counts.late == 1
    assert await told(kit, out.name) == [(0.0, 1), (10.0, 1)]


async def test_S12_a_closed_window_feeds_a_longer_one(kit: Kit, name: str) -> None:
    app = kit.app(name)
    clicks = app.topic(f"{name}-c", key_type=str, value_type=int, partitions=1)
    out = app.topic(f"{name}-o", key_type=str, value_type=Line, partitions=1)
    small = app.Table("small", default=int).tumbling(10, grace=0)
    big = app.Table("big", default=int).tumbling(60, grace=0)

    @app.agent(clicks)
    async def count(stream: fs.Stream[int]) -> None:
        async for key, number in stream.items():
            small[key] += number

    @app.agent(big.closed, sink=[out])
    async def report(windows: fs.Stream[Any]) -> Any:
        async for window in windows:
            yield Line(window.start, window.value)

    @app.agent(small.closed)
    async def roll(windows: fs.Stream[Any]) -> None:
        async for window in windows:
            big[window.key] += window.value

    await kit.create(app)
    async with kit.running(app):
        for at in range(0, 80, 5):
            await clicks.send(key="a", value=1, timestamp=float(at))
        await kit.until(kit.count(out.name, 1))
    assert await told(kit, out.name) == [(0.0, 12)]


async def test_S12_an_update_is_told_although_the_first_telling_is_under_way(
    kit: Kit, name: str
) -> None:
    app = kit.app(name)
    clicks = app.topic(f"{name}-c", key_type=str, value_type=int, partitions=1)
    counts = app.Table("counts", default=int).tumbling(10, grace=0, expires=1000, late="update")
    seen: list[tuple[float, int]] = []
    under_way, go_on = asyncio.Event(), asyncio.Event()

    @app.agent(clicks)
    async def count(stream: fs.Stream[int]) -> None:
        async for key, number in stream.items():
            counts[key] += number

    @app.agent(counts.closed)
    async def report(windows: fs.Stream[Any]) -> None:
        async for window in windows:
            under_way.set()
            await go_on.wait()
            seen.append((window.start, window.value))

    await kit.create(app)
    async with kit.running(app):
        for at in (1.0, 11.0):
            await clicks.send(key="a", value=1, timestamp=at)
        await asyncio.wait_for(under_way.wait(), 30)
        await clicks.send(key="a", value=1, timestamp=2.0)
        go_on.set()
        await kit.sees(lambda: seen[-1:] == [(0.0, 2)])


async def test_S9_a_join_pairs_the_same_after_a_retry(kit: Kit, name: str) -> None:
    app = kit.app(name, retry_backoff=0.01)
    left = app.topic(f"{name}-l", key_type=str, value_type=str, partitions=1)
    right = app.topic(f"{name}-r", key_type=str, value_type=str, partitions=1)
    seen: list[tuple[str, str | None]] = []
    failures = [1]

    @app.agent(left, on_error="retry")
    async def pair(stream: fs.Stream[str]) -> None:
        async for both in stream.join(right, within=10, grace=1000):
            if failures:
                failures.pop()
                raise ValueError("once")
            seen.append((both.left, both.right))

    await kit.create(app)
    async with kit.running(app):
        await right.send(key="k", value="near", timestamp=109.0)
        await right.send(key="k", value="far", timestamp=118.0)
        await kit.until(kit.committed(app, right.name, 2))
        await left.send(key="k", value="x", timestamp=100.0)
        await kit.until(kit.committed(app, left.name, 1))
    assert failures == []
    assert seen == [("x", "near")]


async def test_S9_an_event_that_finds_no_key_is_a_dead_letter_and_is_parked_for_nobody(
    kit: Kit, name: str
) -> None:
    app = kit.app(name)
    topic = app.topic(f"{name}-c", key_type=str, value_type=str, partitions=1)
    seen: list[tuple[str, str]] = []

    def key_of(value: str) -> str:
        if value == "x":
            raise ValueError("no key in it")
        return f"grouped-{value}"

    @app.agent(topic, on_error=fs.park(5, backoff=0.05))
    async def collect(stream: fs.Stream[str]) -> None:
        async for pair in stream.group_by(key_of, key_type=str).items():
            seen.append(pair)

    await kit.create(app)
    async with kit.running(app) as worker:
        for value in ("x", "y"):
            await topic.send(key="raw", value=value)
        await kit.sees(lambda: len(seen) == 1)
        await kit.until(kit.count(app.dead_letters, 1))
        assert worker.counts.parked == 0
    assert seen == [("grouped-y", "y")]
    assert await kit.values(app.dead_letters) == [b"x"]


async def test_S12_two_dedupes_of_one_agent_are_refused(kit: Kit, name: str) -> None:
    app = kit.app(name)
    topic = app.topic(f"{name}-c", key_type=str, value_type=str, partitions=1)

    @app.agent(topic)
    async def collect(stream: fs.Stream[str]) -> None:
        async for _ in stream.dedupe(60).dedupe(60, by=lambda value: value[0]):
            pass

    with pytest.raises(AppError, match="dedupe stands once"):
        await collect.probe()


async def test_S9_a_reduce_that_changes_its_argument_is_right_after_a_retry(
    kit: Kit, name: str
) -> None:
    app = kit.app(name, retry_backoff=0.01)
    topic = app.topic(f"{name}-c", key_type=str, value_type=dict[str, int], partitions=1)
    seen: list[int] = []
    failures = [1]

    def add(total: dict[str, int], value: dict[str, int]) -> dict[str, int]:
        total["n"] += value["n"]
        return total

    @app.agent(topic, on_error="retry")
    async def collect(stream: fs.Stream[dict[str, int]]) -> None:
        windows = stream.tumbling(10, emit="on_change").reduce(add, type=dict[str, int])
        async for window in windows:
            if window.value["n"] == 2 and failures:
                failures.pop()
                raise ValueError("once")
            seen.append(window.value["n"])

    await kit.create(app)
    async with kit.running(app):
        for _ in range(3):
            await topic.send(key="k", value={"n": 1}, timestamp=1.0)
        await kit.sees(lambda: len(seen) == 3)
    assert (seen, failures) == ([1, 2, 3], [])


async def test_S11_an_event_that_only_moves_to_a_new_key_is_answered_later(
    kit: Kit, name: str
) -> None:
    app = kit.app(name)
    topic = app.topic(f"{name}-c", key_type=str, value_type=str, partitions=1)

    @app.agent(topic, reply_type=str)
    async def shout(stream: fs.Stream[str]) -> Any:
        async for value in stream.group_by(str, key_type=str):
            yield value.upper()

    await kit.create(app)
    async with kit.running(app):
        assert await shout.ask("x", key="k", timeout=20) == "X"
        assert await shout.ask("y", key="k", timeout=20) == "Y"


async def test_S11_each_request_of_a_batch_is_answered(kit: Kit, name: str) -> None:
    app = kit.app(name)
    topic = app.topic(f"{name}-c", key_type=str, value_type=str, partitions=1)

    @app.agent(topic, reply_type=int)
    async def size(stream: fs.Stream[str]) -> Any:
        async for values in stream.take(3, within=0.2):
            yield len(values)

    await kit.create(app)
    async with kit.running(app):
        await size.ask("warm", key="k", timeout=20)
        async with asyncio.timeout(20):
            asked = [size.ask(str(n), key="k", timeout=20) for n in range(3)]
            answers = await asyncio.gather(*asked)
    assert len(answers) == 3


async def test_S9_two_agents_cannot_share_the_name_of_a_group_by(kit: Kit, name: str) -> None:
    app = kit.app(name)
    topic = app.topic(f"{name}-c", key_type=str, value_type=str, partitions=1)

    @app.agent(topic)
    async def one(stream: fs.Stream[str]) -> None:
        async for _ in stream.group_by(str, key_type=str, name="by"):
            pass

    @app.agent(topic)
    async def two(stream: fs.Stream[str]) -> None:
        async for _ in stream.group_by(str, key_type=str, name="by"):
            pass

    for agent in app.agents.values():
        await agent.probe()
    with pytest.raises(AppError, match="by"):
        make_plan(app, {})


async def test_S9_the_circuit_breaker_counts_what_became_a_dead_letter(kit: Kit, name: str) -> None:
    app = kit.app(name, circuit_breaker=3)
    topic = app.topic(f"{name}-c", key_type=str, value_type=str, partitions=1)

    @app.agent(topic, on_error=fs.retry(1, backoff=0.001, then="dead_letter"))
    async def fail(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            raise ValueError("always")

    await kit.create(app)
    async with kit.running(app) as worker:
        for _ in range(20):
            await topic.send(key="k", value="v")
        await kit.sees(lambda: worker.counts.dead_letters >= 2)
        retried = worker.counts.retried
        await kit.sees(lambda: worker.counts.retried > retried + 3)
        assert worker.counts.dead_letters <= 3


async def test_S7_S12_a_watermark_that_filtered_events_moved_holds_for_the_next_worker(
    kit: Kit, name: str
) -> None:
    def declare() -> tuple[fs.App, Any, Any]:
        app = kit.app(name)
        clicks = app.topic(f"{name}-c", key_type=str, value_type=int, partitions=1)
        out = app.topic(f"{name}-o", key_type=str, value_type=Line, partitions=1)

        @app.agent(clicks, sink=[out])
        async def count(stream: fs.Stream[int]) -> Any:
            async for window in stream.filter(bool).tumbling(10).count():
                yield Line(window.start, window.value)

        return app, clicks, out

    app, clicks, out = declare()
    await kit.create(app)
    await clicks.send(key="a", value=0, timestamp=100.0)
    await kit.run_until(app, kit.committed(app, clicks.name, 1))
    app, clicks, out = declare()
    async with kit.running(app) as worker:
        await clicks.send(key="a", value=1, timestamp=12.0)
        await clicks.send(key="a", value=1, timestamp=105.0)
        await clicks.send(key="a", value=1, timestamp=200.0)
        await kit.until(kit.count(out.name, 1))
        await kit.until(kit.committed(app, clicks.name, 4))
        assert worker.counts.late == 1
    assert await told(kit, out.name) == [(100.0, 1)]


async def test_S12_V1_what_was_due_when_a_worker_stopped_waits_for_no_other_event(
    kit: Kit, name: str
) -> None:
    def declare(*, sleepy: bool) -> tuple[fs.App, Any, Any]:
        app = kit.app(name)
        clicks = app.topic(f"{name}-c", key_type=str, value_type=int, partitions=1)
        out = app.topic(f"{name}-o", key_type=str, value_type=str, partitions=1)
        alarms = app.Timers("alarms", value_type=str)

        @app.agent(clicks)
        async def wind(stream: fs.Stream[int]) -> None:
            async for key, number in stream.items():
                if number:
                    alarms.set(key, "wake up", at=90)

        @app.agent(alarms, sink=[out])
        async def ring(stream: fs.Stream[str]) -> Any:
            async for text in stream:
                if sleepy:
                    await asyncio.Event().wait()
                yield text

        return app, clicks, out

    app, clicks, out = declare(sleepy=True)
    await kit.create(app)
    async with kit.running(app):
        await clicks.send(key="a", value=1, timestamp=10.0)
        await kit.until(kit.committed(app, clicks.name, 1))
        await clicks.send(key="b", value=0, timestamp=100.0)
        await kit.until(kit.committed(app, clicks.name, 2))
    app, clicks, out = declare(sleepy=False)
    await kit.run_until(app, kit.count(out.name, 1))
    assert await kit.values(out.name) == [b"wake up"]
