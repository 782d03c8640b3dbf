"""An app's own code that calls `sys.exit`: the worker commits what is complete, and says so."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import flowstream as fs
from tests.processing.conftest import Kit
from tests.web.conftest import visited


class Guests:
    """An app that does something to words, and a way to have one of its guests exit."""

    def __init__(self, kit: Kit, name: str, **how: Any) -> None:
        self.app = kit.app(name, commit_interval=60.0, web_port=0)
        self.words = self.app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
        self.counts = self.app.Table("counts", default=int)
        self.channel = self.app.channel()

        @self.app.agent(self.words, **how)
        async def count(stream: fs.Stream[str]) -> None:
            async for word in stream:
                self.counts[word] += 1
                if word == "end":
                    sys.exit(7)


@pytest.mark.parametrize("how", [{}, {"concurrency": 3, "order": "key"}, {"on_error": "skip"}])
async def test_S9_what_is_complete_commits_and_the_event_that_exits_does_not(
    kit: Kit, name: str, how: dict[str, Any]
) -> None:
    guests = Guests(kit, name, **how)
    await kit.create(guests.app)
    for word in ("a", "b", "end", "c"):
        await guests.words.send(key="k", value=word)
    with pytest.raises(fs.AppExited, match=r"offset 2 called sys\.exit\(7\)") as exited:
        await fs.Worker(guests.app, kit.address).run()
    assert exited.value.code == 7
    found = await kit.admin.group_offsets(guests.app.id)
    assert {tp.topic: at for tp, at in found.items()} == {guests.words.name: 2}
    rows = await kit.records(guests.app.changelog("counts"))
    assert {record.key: record.value for record in rows} == {b"a": b"1", b"b": b"1"}


def a_task(guests: Guests) -> None:
    @guests.app.task
    async def work() -> None:
        sys.exit(7)


def a_timer(guests: Guests) -> None:
    @guests.app.timer(0.01)
    async def work() -> None:
        sys.exit(7)


def a_channels_agent(guests: Guests) -> None:
    @guests.app.agent(guests.channel, on_error="skip")
    async def work(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            sys.exit(7)

    @guests.app.task
    async def put() -> None:
        await guests.channel.put("x")


def a_services_task(guests: Guests) -> None:
    @guests.app.service
    class Work(fs.Service):
        @fs.Service.task
        async def work(self) -> None:
            sys.exit(7)


def a_services_start(guests: Guests) -> None:
    @guests.app.service
    class Work(fs.Service):
        async def on_start(self) -> None:
            sys.exit(7)


def a_services_future(guests: Guests) -> None:
    @guests.app.service
    class Work(fs.Service):
        async def on_started(self) -> None:
            self.add_future(self.work())

        async def work(self) -> None:
            sys.exit(7)


@pytest.mark.parametrize(
    ("guest", "told"),
    [
        (a_task, "work of the app"),
        (a_timer, "work of the app"),
        (a_channels_agent, "agent 'work' on Channel"),
        (a_services_task, "service Work"),
        (a_services_start, "service Work"),
        (a_services_future, "service Work"),
    ],
)
async def test_whoever_exits_is_named(
    kit: Kit, name: str, guest: Callable[[Guests], None], told: str
) -> None:
    guests = Guests(kit, name)
    guest(guests)
    await kit.create(guests.app)
    with pytest.raises(fs.AppExited, match=rf"{told}.* called sys\.exit\(7\)"):
        await fs.Worker(guests.app, kit.address).run()


async def test_an_outbox_that_exits_leaves_nothing_in_the_database(
    kit: Kit, name: str, tmp_path: Path
) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    database = fs.SQLite(tmp_path / "words.db")

    @app.outbox(words, to=database)
    def store(db: Any, events: list[fs.Event[str]]) -> None:
        db.execute("CREATE TABLE words (word TEXT)")
        sys.exit(7)

    await kit.create(app)
    await words.send(key="k", value="a")
    with pytest.raises(fs.AppExited, match="'store'"):
        await fs.Worker(app, kit.address).run()
    session = database.connect()
    tables = session.connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert ("words",) not in tables
    session.close()


async def test_a_page_that_exits_is_answered(kit: Kit, name: str) -> None:
    guests = Guests(kit, name)

    @guests.app.page("/end")
    async def end(web: Any, request: Any) -> Any:
        sys.exit(7)

    await kit.create(guests.app)
    answers: list[int] = []

    async def visit() -> None:
        async with visited(kit, guests.app) as (worker, client):
            await kit.sees(lambda: len(worker.tasks) == 1)
            answers.append((await client.get("/end")).status_code)

    with pytest.raises(fs.AppExited, match="page /end called"):
        await visit()
    assert answers == [httpx.codes.SERVICE_UNAVAILABLE]
