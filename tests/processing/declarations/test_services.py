"""Services: objects that start and stop with a worker; and tasks of the leader."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.errors import AppError
from tests.processing.conftest import Kit


def idle(app: fs.App, name: str) -> None:
    """An agent, without which a worker has nothing to run."""

    @app.agent(app.topic(f"{name}-words", value_type=str, partitions=2))
    async def see(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass


async def test_a_service_lives_as_long_as_its_worker(kit: Kit, name: str) -> None:
    app = kit.app(name)
    idle(app, name)
    told: list[str] = []

    @app.service
    class Beat(fs.Service):
        """Says what happens to it."""

        async def on_first_start(self) -> None:
            told.append("first")

        async def on_start(self) -> None:
            assert self.app is app
            told.append("start")

        async def on_started(self) -> None:
            told.append("started")

        async def on_stop(self) -> None:
            assert self.should_stop
            told.append("stop")

        async def on_shutdown(self) -> None:
            told.append("shutdown")

        @fs.Service.task
        async def wait(self) -> None:
            told.append("task")
            self.add_future(self.beside())
            await self.wait_until_stopped()
            told.append("task ends")

        async def beside(self) -> None:
            told.append("beside")
            await self.sleep(3600)
            told.append("beside ends")

        @fs.Service.timer(0.01)
        async def beat(self) -> None:
            told.append("beat")

    await kit.create(app)
    for _ in range(2):
        async with kit.running(app):
            await kit.sees(lambda: told.count("beat") >= 3 and "beside" in told)
            await kit.until(lambda: told_is(told, "beat", 3))
        assert not app.services[0].started
        beats = [each for each in told if each not in ("beat", "task ends", "beside ends")]
        told.clear()
        assert beats in (
            ["first", "start", "started", "task", "beside", "stop", "shutdown"],
            ["start", "started", "task", "beside", "stop", "shutdown"],
        )
    assert isinstance(app.services[0], Beat)


async def told_is(told: list[str], what: str, least: int) -> bool:
    """Whether something was told that often."""
    return told.count(what) >= least


async def test_what_a_services_task_raises_ends_the_worker(kit: Kit, name: str) -> None:
    app = kit.app(name)
    idle(app, name)
    stopped: list[str] = []

    class Broken(fs.Service):
        """Fails at once."""

        @fs.Service.task
        async def fail(self) -> None:
            raise ZeroDivisionError("in a service")

        async def on_stop(self) -> None:
            stopped.append("stopped")

    app.service(Broken)
    await kit.create(app)
    with pytest.raises(ZeroDivisionError, match="in a service"):
        await fs.Worker(app, kit.address).run()
    assert stopped == ["stopped"]


async def test_a_service_restarts_and_is_used_by_hand() -> None:
    told: list[str] = []

    class Base(fs.Service):
        """Has a task."""

        @fs.Service.task
        async def base(self) -> None:
            told.append("base")

    class Derived(Base):
        """Has one more."""

        @fs.Service.task
        async def own(self) -> None:
            told.append("own")
            await self.sleep(0.001)
            told.append("awake")
            await self.sleep(3600)

        async def on_restart(self) -> None:
            told.append("restart")

    service = Derived()
    assert service.should_stop
    with pytest.raises(AppError, match="does not run"):
        service.add_future(asyncio.sleep(0))
    await service.start()
    await service.start()
    assert repr(service) == "Derived(started)"
    while "awake" not in told:  # noqa: ASYNC110 - it takes some turns of the loop
        await asyncio.sleep(0)
    await service.restart()
    assert service.started
    while told.count("own") < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await service.stop()
    await service.stop()
    assert told[:5] == ["base", "own", "awake", "restart", "base"]


def test_what_is_no_service_is_refused() -> None:
    app = fs.App("served")
    with pytest.raises(AppError, match=r"subclass of fs\.Service"):
        app.service(dict)  # type: ignore[type-var]
    with pytest.raises(AppError, match="above 0"):
        fs.Service.timer(0)
    with pytest.raises(AppError, match="async def"):
        fs.Service.task(lambda self: None)  # type: ignore[arg-type, return-value]


async def test_a_task_of_the_leader_runs_where_the_first_partition_is(kit: Kit, name: str) -> None:
    apps = [kit.app(name, data_dir=kit.directory / each) for each in ("a", "b")]
    ran: list[Any] = []
    for app in apps:
        idle(app, name)

        @app.task(on_leader=True)
        async def lead(app: fs.App) -> None:
            ran.append(app)

    await kit.create(apps[0])
    async with kit.running(apps[0]) as first, kit.running(apps[1]) as second:
        await kit.sees(lambda: len(first.tasks) == len(second.tasks) == 1)
        await kit.sees(lambda: len(ran) >= 1)
        leaders = [worker.app for worker in (first, second) if worker.is_leader]
        await kit.sees(lambda: ran[-1:] == leaders)


def test_the_log_of_a_service_names_it(caplog: pytest.LogCaptureFixture) -> None:
    class Beat(fs.Service):
        """A service with a name of its own below."""

    class Named(Beat):
        """Has another label."""

        @property
        def label(self) -> str:
            return "beat-2"

    with caplog.at_level("INFO", logger=Beat.__module__):
        Beat().log.info("began at %s", 3)
        Beat().log.warn("100% is said as it is")
        Named().log.crit("over: %s", "x")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "[Beat] began at 3"),
        ("WARNING", "[Beat] 100% is said as it is"),
        ("CRITICAL", "[beat-2] over: x"),
    ]
    assert {record.name for record in caplog.records} == {__name__}


async def test_a_service_that_cannot_start_ends_what_it_had_begun() -> None:
    """It ran on beside a worker that had failed, and for as long as the loop."""

    class Broken(fs.Service):
        """Begins, and fails."""

        async def on_start(self) -> None:
            self.begun = self.add_future(asyncio.Event().wait())
            await asyncio.sleep(0)
            raise RuntimeError("no start")

    service = Broken()
    with pytest.raises(RuntimeError, match="no start"):
        await service.live()
    assert service.begun.cancelled()


@pytest.mark.parametrize("kind", ["task", "timer"])
async def test_V2_a_service_that_restarts_itself_runs_again(kind: str) -> None:
    """Its own task was cancelled on the way: the service was over, and nobody heard of it."""
    told: list[str] = []

    async def run(self: fs.Service) -> None:
        told.append("run")
        if told.count("start") < 3:
            await self.restart()
            told.append("goes on")
        elif told.count("run") > 3:
            over.set()

    class Again(fs.Service):
        """Restarts itself twice."""

        once = fs.Service.task(run) if kind == "task" else fs.Service.timer(0.001)(run)

        async def on_start(self) -> None:
            told.append("start")

        async def on_shutdown(self) -> None:
            told.append("shutdown")

    over, service = asyncio.Event(), Again()
    living = asyncio.create_task(service.live())
    if kind == "timer":
        await over.wait()
    else:
        while told.count("run") < 3 or service._running:  # noqa: ASYNC110
            await asyncio.sleep(0)
    left = set(service._running or ())
    assert len(left) == (kind == "timer"), "one timer, whoever restarted"
    assert told[:7] == ["start", "run", "shutdown", "start", "goes on", "run", "shutdown"]
    living.cancel()
    await asyncio.wait((living,))
    assert told.count("shutdown") == told.count("start") == 3
    assert all(task.done() for task in left)


async def test_a_task_of_a_service_that_stops_it_ends_with_it() -> None:
    told: list[str] = []

    class Ends(fs.Service):
        """Stops itself."""

        async def on_shutdown(self) -> None:
            told.append("shutdown")

        @fs.Service.task
        async def once(self) -> None:
            self.mine = asyncio.current_task()
            await self.stop()
            await asyncio.sleep(0)
            told.append("goes on")

    service = Ends()
    await service.start()
    while not told:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert service.mine is not None
    await asyncio.wait((service.mine,))
    assert told == ["shutdown"]
    assert not service.started
