"""Crontabs, timers and tasks of an app."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.environment.stopping import Stopping
from flowstream.processing.errors import AppError
from flowstream.processing.tables.crontabs import Schedule
from tests.processing.conftest import Kit

MINUTE = 60_000
START = 1_750_000_000_000 - 1_750_000_000_000 % MINUTE + 5_000


def ticking(kit: Kit, name: str, **options: Any) -> tuple[fs.App, Any, Any]:
    """An app with a crontab of every minute, and an agent, without which there are no tasks."""
    app = kit.app(name)
    words = app.topic(f"{name}-words", key_type=str, value_type=str, partitions=2)
    ticks = app.topic(f"{name}-ticks", key_type=str, value_type=str, partitions=1)

    @app.agent(words)
    async def read(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    @app.crontab("* * * * *", **options)
    async def tick() -> None:
        await ticks.send(value="tick")

    return app, words, ticks


async def run_at(kit: Kit, name: str, clock: list[int], least: int, workers: int = 1) -> list[Any]:
    """The times of the ticks, once there are so many."""
    made = [ticking(kit, name) for _ in range(workers)]
    await kit.create(made[0][0])
    running = [kit.running(app, clock=lambda: clock[0]) for app, _, _ in made]
    for each in running:
        await each.__aenter__()
    ticks = made[0][2].name
    await kit.until(kit.count(ticks, least))
    await kit.until(kit.count(made[0][0].changelog("crontab"), least + 1))
    for each in running:
        await each.__aexit__(None, None, None)
    return [(record.timestamp - START) // 1000 for record in await kit.records(ticks)]


async def test_S12_a_crontab_runs_once_per_app_and_makes_up_for_downtime_once(
    kit: Kit, name: str
) -> None:
    clock = [START]
    assert await run_at(kit, name, clock, 0, workers=2) == []
    clock[0] = START + MINUTE
    assert await run_at(kit, name, clock, 1, workers=2) == [55]
    clock[0] = START + 10 * MINUTE
    assert await run_at(kit, name, clock, 2, workers=2) == [55, 115]
    assert await run_at(kit, name, clock, 2) == [55, 115]
    clock[0] = START + 11 * MINUTE
    assert await run_at(kit, name, clock, 3) == [55, 115, 655]


async def test_a_crontab_that_fails_follows_its_policy(kit: Kit, name: str) -> None:
    clock = [START]
    app, _, ticks = ticking(kit, name)
    runs: list[int] = []

    @app.crontab("* * * * *", on_error="skip")
    async def fail(app: fs.App) -> None:
        runs.append(1)
        await ticks.send(value="never")
        raise RuntimeError("no")

    await kit.create(app)
    async with kit.running(app, clock=lambda: clock[0]) as worker:
        await kit.until(kit.count(app.changelog("crontab"), 2))
        for _ in range(2):
            clock[0] += MINUTE
            await kit.until(kit.count(ticks.name, (clock[0] - START) // MINUTE))
        assert worker.counts.skipped >= 1
    assert await kit.values(ticks.name) == [b"tick", b"tick"]


async def test_timers_and_tasks_run_beside_the_agents(kit: Kit, name: str) -> None:
    app, _, ticks = ticking(kit, name)
    seen: list[str] = []

    @app.task
    async def once() -> None:
        seen.append("task")
        await ticks.send(value="sent at once")

    @app.timer(0.01)
    async def often(given: fs.App) -> None:
        assert given is app
        seen.append("timer")

    @app.timer(0.01, on_leader=True)
    async def leader() -> None:
        seen.append("leader")

    await kit.create(app)
    async with kit.running(app):
        await kit.until(kit.count(ticks.name, 1))
        await kit.sees(lambda: seen.count("timer") >= 3 and "leader" in seen)
    assert seen.count("task") == 1


async def test_S12_an_app_of_crontabs_alone_runs_them_once(kit: Kit, name: str) -> None:
    clock = [START]
    ran: list[int] = []

    def ticking_alone() -> fs.App:
        app = kit.app(name)

        @app.crontab("* * * * *", on_leader=True)
        async def tick() -> None:
            ran.append(clock[0])

        return app

    first, second = ticking_alone(), ticking_alone()
    async with (
        kit.running(first, clock=lambda: clock[0]),
        kit.running(second, clock=lambda: clock[0]),
    ):
        await kit.until(kit.count(first.changelog("crontab"), 1))
        clock[0] = START + MINUTE
        await kit.until(kit.count(first.changelog("crontab"), 2))
        clock[0] = START + 2 * MINUTE
        await kit.until(kit.count(first.changelog("crontab"), 3))
    assert ran == [START + MINUTE, START + 2 * MINUTE]


@pytest.mark.parametrize("partitions", [1, 3])
async def test_S12_an_app_of_crontabs_alone_may_come_to_read_a_topic(
    kit: Kit, name: str, partitions: int
) -> None:
    clock = [START]
    ran: list[int] = []
    seen: list[str] = []

    def app_of(*, reads: bool) -> tuple[fs.App, fs.Topic[str, str]]:
        app = kit.app(name)
        words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=partitions)

        @app.crontab("* * * * *")
        async def tick() -> None:
            ran.append(clock[0])

        async def read(stream: fs.Stream[str]) -> None:
            async for word in stream:
                seen.append(word)

        if reads:
            app.agent(words)(read)
        return app, words

    for number, reads in enumerate([False, True, True, False]):
        app, words = app_of(reads=reads)
        async with kit.running(app, clock=lambda: clock[0]):
            if number == 0:
                await kit.until(kit.count(app.changelog("crontab"), 1))
            if reads:
                await words.send(key="k", value=f"{number}")
                await kit.sees(lambda number=number: f"{number}" in seen)
            clock[0] += MINUTE
            await kit.sees(lambda number=number: len(ran) > number)
    assert ran == [START + MINUTE * number for number in range(1, 5)]
    assert seen == ["1", "2"]


async def test_an_app_without_topics_has_its_channels_timers_and_one_leader(
    kit: Kit, name: str
) -> None:
    seen: list[object] = []

    def app_of(worker: str) -> fs.App:
        app = kit.app(name)
        channel = app.channel(value_type=str)

        @app.agent(channel)
        async def read(stream: fs.Stream[str]) -> None:
            async for text in stream:
                seen.append(text)

        @app.timer(0.01)
        async def put() -> None:
            await channel.put(worker)

        @app.timer(0.01, on_leader=True)
        async def lead() -> None:
            seen.append(("leader", worker))

        @app.task
        async def end() -> None:
            assert not app.should_stop
            while not app.should_stop:
                await app.sleep(60)
            seen.append(("stops", worker))

        return app

    first, second = app_of("first"), app_of("second")
    assert not first.rebalancing
    async with kit.running(first), kit.running(second):
        await kit.sees(lambda: {"first", "second"} <= set(seen) and not first.rebalancing)
        await kit.sees(lambda: any(each[0] == "leader" for each in seen))
    assert len({each for each in seen if each[0] == "leader"}) == 1
    assert {each for each in seen if each[0] == "stops"} == {
        ("stops", "first"),
        ("stops", "second"),
    }


async def test_V4_a_task_that_sleeps_on_does_not_hold_the_stop_up() -> None:
    """Nobody else would have a turn: the worker could not even cancel it."""
    stopping, turns = Stopping(), []
    stopping.set()
    asyncio.get_running_loop().call_soon(turns.append, 1)
    await stopping.pause(60)
    assert turns == [1]


async def test_an_app_of_nothing_is_refused(kit: Kit, name: str) -> None:
    with pytest.raises(AppError, match="nothing to run"):
        await fs.Worker(kit.app(name), kit.address).run()


async def test_a_timer_that_fails_stops_the_worker(kit: Kit, name: str) -> None:
    app, _, _ = ticking(kit, name)

    @app.timer(0.01)
    async def fail() -> None:
        raise RuntimeError("the timer's own")

    await kit.create(app)
    with pytest.raises(RuntimeError, match="the timer's own"):
        await fs.Worker(app, kit.address).run()


def test_schedules_know_time_zones_and_summer_time() -> None:
    daily = Schedule("30 2 * * *", "Europe/Berlin")
    at = round(datetime.datetime(2026, 3, 28, 12, tzinfo=datetime.UTC).timestamp() * 1000)
    found = []
    for _ in range(3):
        at = daily.next_ms(at)
        found.append(datetime.datetime.fromtimestamp(at / 1000, datetime.UTC).isoformat()[:16])
    assert found == ["2026-03-29T01:00", "2026-03-30T00:30", "2026-03-31T00:30"]


@pytest.mark.parametrize(
    ("expression", "times"),
    [
        ("30 2 * * *", ["2026-10-25T00:30", "2026-10-26T01:30"]),
        ("30 1-3 * * *", ["2026-10-24T23:30", "2026-10-25T00:30", "2026-10-25T02:30"]),
        ("30 * * * *", [f"2026-10-2{at}:30" for at in ("4T22", "4T23", "5T00", "5T01", "5T02")]),
        ("@hourly", [f"2026-10-2{at}:00" for at in ("4T23", "5T00", "5T01", "5T02")]),
        ("30 */2 * * *", ["2026-10-24T22:30", "2026-10-25T00:30", "2026-10-25T01:30"]),
    ],
)
def test_S12_what_comes_at_an_hour_of_the_day_comes_once_where_that_hour_is_there_twice(
    expression: str, times: list[str]
) -> None:
    schedule = Schedule(expression, "Europe/Berlin")
    at = round(datetime.datetime(2026, 10, 24, 22, tzinfo=datetime.UTC).timestamp() * 1000)
    found = []
    for _ in times:
        at = schedule.next_ms(at)
        found.append(datetime.datetime.fromtimestamp(at / 1000, datetime.UTC).isoformat()[:16])
    assert found == times


async def run() -> None:
    """A crontab's function."""


async def read(stream: fs.Stream[bytes]) -> None:
    async for _ in stream:
        pass


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda app: app.crontab("often"), "no cron expression"),
        (lambda app: app.crontab("0 0 30 2 *"), "never comes"),
        (lambda app: app.crontab("0 0 1 1 * 0 1999"), "no cron expression"),
        (lambda app: app.crontab("* * * * *", timezone="Mars"), "no time zone"),
        (lambda app: app.crontab("* * * * *")(lambda: None), "async def"),
        (lambda app: app.crontab("* * * * *", name="@watermark")(run), "begins with '@'"),
        (lambda app: app.agent(app.topic("t"), name="@marks t")(read), "begins with '@'"),
        (lambda app: app.crontab("* * * * *", on_leader=False), "runs once per app"),
        (lambda app: app.timer(0), "at least a millisecond"),
        (lambda app: app.task(lambda: None), "async def"),
    ],
)
def test_what_cannot_run_is_refused(declare: Any, message: str) -> None:
    with pytest.raises(AppError, match=message):
        declare(fs.App("x"))
