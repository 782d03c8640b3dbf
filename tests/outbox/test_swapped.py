"""A database that does not know what the app is done with: refused, until it is let go on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import flowstream as fs
from flowstream.cli.app import build
from flowstream.outbox.applying import Standing, begin
from flowstream.outbox.target import Known, Place
from flowstream.transport.types import TopicPartition
from tests.outbox.conftest import Database
from tests.outbox.test_outbox import Stored
from tests.processing.conftest import Kit, address, kit, name

__all__ = ["address", "kit", "name"]

OFFSETS = "SELECT topic, part, next_offset FROM flowstream_offsets"


async def refused(stored: Stored) -> str:
    """Why the worker stops."""
    await stored.until(lambda: stored.rig.failure is not None)
    await stored.close()
    return str(stored.rig.failure)


@pytest.mark.parametrize("on_error", ["stop", "retry", "skip", "dead_letter"])
async def test_G3_an_empty_database_in_place_of_the_old_one_is_refused(
    database: Database, on_error: Any
) -> None:
    stored = Stored(database, on_error=on_error)
    stored.put(*"abc")
    await stored.run()
    database.empty()
    stored.put("d")
    await stored.rig.open()
    told = await refused(stored)
    assert "the database knows of nothing: is it another one" in told
    assert "flowstream reset" in told
    assert "flowstream outbox begin store" in told
    assert (stored.effects(), database.rows(OFFSETS)) == ([], [])


async def test_G3_a_database_that_is_emptied_while_the_worker_runs_is_refused(
    database: Database,
) -> None:
    stored = Stored(database)
    stored.put(*"abc")
    await stored.rig.open()
    await stored.until(stored.done)
    session = database.target.connect()
    with session.transaction():
        session.connection.execute("DELETE FROM flowstream_offsets")
    session.close()
    stored.put("d")
    assert "knows of nothing" in await refused(stored)
    assert stored.effects() == [*"abc"]


async def test_an_empty_database_before_the_first_commit_gets_every_event(
    database: Database,
) -> None:
    stored = Stored(database)
    stored.put(*"abc")
    await stored.rig.open()
    await stored.until(lambda: len(stored.effects()) == 3)
    await stored.rig.crash()
    await stored.app.close()
    database.empty()
    stored.put("d")
    await stored.run()
    assert stored.effects() == [*"abcd"]


@pytest.mark.parametrize(
    ("known", "is_new", "told"),
    [
        (None, False, "knows of nothing"),
        (None, True, None),
        (Known("11", 3), False, "from a backup"),
        (Known("22", 9), False, "made anew"),
        (Known("22", 9), True, "made anew"),
        (Known("11", 7), False, None),
        (Known("11", 9), False, None),
    ],
)
def test_only_a_database_that_is_refused_begins_anew(
    database: Database, known: Known | None, is_new: bool, told: str | None
) -> None:
    place = Place("app", "outbox", "in", 0)
    standing = Standing(place, "11", 7, is_new)
    session = database.target.connect()
    if known is not None:
        with session.transaction():
            session.begin(place, known)
    for execute in (False, True):
        why = begin(session, standing, execute=execute)
        assert (why is None) == (told is None)
        assert told is None or told in str(why)
        with session.transaction():
            found = session.enter(place)
        assert found == (Known("11", 7) if told and execute else known)
    assert begin(session, standing, execute=True) is None
    session.close()


MODULE = """
import flowstream as fs

app = fs.App({name!r}, broker="kafka://{address}", data_dir={data!r})
events = app.topic({name!r} + "-in", key_type=str, value_type=str, partitions=2)


@app.outbox(events, to={target})
def store(db, events):
    for event in events:
        db.execute({insert!r}, (event.key, event.value))
"""


async def test_G3_a_new_database_begins_where_the_app_is_when_it_is_told_to(
    database: Database, kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, events = storing(kit, name, database)
    await kit.create(app)
    async with kit.running(app):
        for word in "abcdef":
            await events.send(key=word, value=word)
        await kit.until(kit.committed(app, events.name, 6))
    database.empty()
    await events.send(key="a", value="g")
    with pytest.raises(fs.AgentFailed, match="knows of nothing"):
        await until_refused(kit, name, database)
    write_module(kit.directory, kit.address, name, database)
    monkeypatch.chdir(kit.directory)
    told = await verb("begin", "store", "-A", f"{name}_module")
    assert told.count("knows of nothing") == 2
    assert "nothing was changed" in told
    assert database.rows(OFFSETS) == []
    assert "goes on from where the app is" in await verb(
        "begin", "store", "-A", f"{name}_module", "--execute"
    )
    assert "nothing to do" in await verb("begin", "store", "-A", f"{name}_module", "--execute")
    assert "has no outbox 'stored', only: store" in await verb(
        "begin", "stored", "-A", f"{name}_module"
    )
    again, events = storing(kit, name, database)
    async with kit.running(again):
        await events.send(key="b", value="h")

        async def stored() -> bool:
            return sorted(database.rows("SELECT what FROM effects")) == [("g",), ("h",)]

        await kit.until(stored)


async def test_V1_beginnings_that_are_committed_beside_rows_are_no_other_database(
    database: Database, kit: Kit, name: str
) -> None:
    """A task whose rows change before its sources move commits where these begin."""

    def ticking() -> tuple[fs.App, fs.Topic[str, str]]:
        app, events = storing(kit, name, database, partitions=1)

        @app.crontab("* * * * * *")
        async def tick() -> None:
            pass

        return app, events

    app, events = ticking()
    await kit.create(app)
    async with kit.running(app):
        await kit.until(kit.count(app.changelog("crontab"), 1))
    place = TopicPartition(events.name, 0)
    assert await kit.admin.committed(app.id, [place]) == {place: 0}
    again, events = ticking()
    async with kit.running(again):
        await events.send(key="a", value="a")
        await kit.until(kit.committed(again, events.name, 1))
    assert database.rows("SELECT what FROM effects") == [("a",)]


def storing(
    kit: Kit, name: str, database: Database, partitions: int = 2
) -> tuple[fs.App, fs.Topic[str, str]]:
    app = kit.app(name)
    events = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=partitions)

    @app.outbox(events, to=database.target)
    def store(db: Any, events: list[fs.Event[str]]) -> None:
        for event in events:
            db.execute(insert(database), (event.key, event.value))

    return app, events


def insert(database: Database) -> str:
    return f"INSERT INTO effects VALUES ({database.mark}, {database.mark})"


async def until_refused(kit: Kit, name: str, database: Database) -> None:
    app, _ = storing(kit, name, database)
    async with asyncio.timeout(30):
        await fs.Worker(app, kit.address).run()


def write_module(where: Path, address: str, name: str, database: Database) -> None:
    """The app for the command line."""
    text = MODULE.format(
        name=name,
        address=address,
        data=str(where / name),
        insert=insert(database),
        target=database.declared,
    )
    (where / f"{name}_module.py").write_text(text, encoding="utf-8")


async def verb(*arguments: str) -> str:
    """What `flowstream outbox` says."""
    result = await asyncio.to_thread(
        CliRunner().invoke, build(("outbox", "lag")), ["outbox", *arguments]
    )
    return result.output
