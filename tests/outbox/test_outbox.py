"""Outboxes: each event has its effects in the database once, whatever fails and whoever comes."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.declarations.outboxes import Outbox
from flowstream.transport.types import TopicPartition
from tests.outbox.conftest import Database, Sqlite, prepare
from tests.processing.rig import Rig

EFFECTS = "SELECT who, what FROM effects"


class Stored:
    """An app whose outbox writes each event of `in` into the table of effects."""

    def __init__(
        self, database: Database, fails: Callable[[str], bool] = lambda _: False, **how: Any
    ) -> None:
        self.database = database
        self.topic_id = "11"
        self.app = fs.App("stored", retry_backoff=0.0001, **how.pop("settings", {}))
        self.topic = self.app.topic("in", key_type=str, value_type=str, partitions=1)
        insert = f"INSERT INTO effects VALUES ({database.mark}, {database.mark})"
        self.batches: list[int] = []

        @self.app.outbox(self.topic, to=database.target, **{"within": 0.0, **how})
        def store(db: Any, events: list[fs.Event[str]]) -> None:
            self.batches.append(len(events))
            for event in events:
                db.execute(insert, (event.key, event.value))
                if fails(event.value):
                    raise ValueError(f"bad {event.value}")

        async def identify(topic: str) -> str:
            return self.topic_id

        async def done(tp: TopicPartition) -> int | None:
            return self.rig.positions[tp] or None

        store._identify, store._done = identify, done  # type: ignore[method-assign]
        self.store: Outbox[str] = store
        self.rig = Rig(self.app)

    def put(self, *words: str) -> None:
        for word in words:
            self.rig.put("in", b"k", word.encode())

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not holds():
                await asyncio.sleep(0.001)
                self.rig.deliver()

    async def run(self) -> None:
        """Until everything is committed."""
        await self.rig.open()
        await self.until(self.done)
        await self.close()

    def done(self) -> bool:
        self.rig.commit()
        return self.rig.is_done

    async def close(self) -> None:
        await self.rig.crash()
        await self.app.close()

    def effects(self) -> list[str]:
        return [what for _, what in self.database.rows(EFFECTS)]

    def dead(self) -> list[bytes | None]:
        return [value for _, value in self.rig.told(self.app.dead_letters)]


async def test_S9_events_are_stored_in_order_and_in_batches(database: Database) -> None:
    stored = Stored(database, batch=4)
    stored.put(*"abcdefghij")
    await stored.run()
    assert stored.effects() == [*"abcdefghij"]
    assert max(stored.batches) > 1
    at = database.rows("SELECT app, outbox, topic, part, topic_id, next_offset"
                       " FROM flowstream_offsets")  # fmt: skip
    assert at == [("stored", "store", "in", 0, "11", stored.rig._inputs[("in", 0)][-1].offset + 1)]


async def test_S9_what_the_app_has_not_committed_is_not_stored_again(database: Database) -> None:
    stored = Stored(database)
    stored.put(*"abc")
    await stored.rig.open()
    await stored.until(lambda: len(stored.effects()) == 3)
    await stored.rig.crash()
    assert stored.rig.positions[("in", 0)] == 0
    stored.put(*"de")
    await stored.run()
    assert stored.effects() == [*"abcde"]


async def test_S9_events_come_and_go_at_random(database: Database) -> None:
    for seed in range(6):
        print(f"seed {seed}")  # shown when it fails
        chance = random.Random(seed)
        start = len(stored_before(database))
        fails = partial(unlucky, chance)
        stored = Stored(
            database, fails, on_error="retry", batch=chance.randrange(1, 6), name=f"store{seed}"
        )
        await stored.rig.open()
        for number in range(40):
            stored.put(f"{seed}-{number}")
            if chance.random() < 0.3:
                stored.rig.deliver()
                await asyncio.sleep(0.002 * chance.random())
            if chance.random() < 0.2:
                stored.rig.commit()
            if chance.random() < 0.1:
                await stored.rig.crash()
                await stored.rig.open()
        await stored.until(stored.done)
        await stored.close()
        assert stored.effects()[start:] == [f"{seed}-{n}" for n in range(40)]


def unlucky(chance: random.Random, word: str) -> bool:
    return chance.random() < 0.05


def stored_before(database: Database) -> list[Any]:
    return database.rows(EFFECTS)


async def test_S9_two_owners_at_a_time_store_each_event_once(database: Database) -> None:
    """A worker that was taken for dead goes on beside the new owner."""
    one, two = Stored(database, batch=2), Stored(database, batch=3)
    for stored in (one, two):
        stored.put(*(str(n) for n in range(60)))
        await stored.rig.open()
    await one.until(one.done)
    await two.until(two.done)
    for stored in (one, two):
        await stored.close()
    assert one.effects() == [str(n) for n in range(60)]


@pytest.mark.parametrize("on_error", ["dead_letter", fs.retry(2, then="dead_letter"), "skip"])
async def test_S11_a_bad_event_has_no_effect_and_the_others_have(
    database: Database, on_error: Any
) -> None:
    stored = Stored(database, lambda word: word == "x", on_error=on_error)
    stored.put(*"abxcd")
    await stored.run()
    assert stored.effects() == [*"abcd"]
    assert stored.dead() == ([] if on_error == "skip" else [b"x"])
    assert stored.rig.counts.skipped == (1 if on_error == "skip" else 0)


async def test_S11_a_dead_letter_that_was_not_committed_is_one_again(database: Database) -> None:
    stored = Stored(database, lambda word: word == "x", on_error="dead_letter")
    stored.put(*"axb")
    stored.rig.put("in", b"k", b"\xff")
    stored.put("c")
    await stored.rig.open()
    await stored.until(lambda: stored.effects() == [*"abc"])
    await stored.rig.crash()
    assert stored.dead() == []
    await stored.run()
    assert stored.effects() == [*"abc"]
    assert set(stored.dead()) == {b"x", b"\xff"}
    assert len(stored.dead()) == 2


async def test_a_bad_event_stops_the_worker_and_is_named(database: Database) -> None:
    stored = Stored(database, lambda word: word == "x")
    stored.put(*"abxc")
    await stored.rig.open()
    await stored.until(lambda: stored.rig.failure is not None)
    assert "failed at offset 3: ValueError: bad x" in str(stored.rig.failure)
    assert stored.effects() == [*"ab"]
    await stored.close()


async def test_an_illegible_record_stops_the_worker_after_those_before_it(
    database: Database,
) -> None:
    stored = Stored(database)
    stored.put("a")
    stored.rig.put("in", b"k", None)
    stored.put("b")
    await stored.rig.open()
    await stored.until(lambda: stored.rig.failure is not None)
    assert "failed at offset 1: ValueError: the record has no value" in str(stored.rig.failure)
    assert stored.effects() == ["a"]
    await stored.close()


async def test_so_many_failures_that_it_cannot_be_the_events(database: Database) -> None:
    is_down = [True]
    stored = Stored(
        database, lambda _: is_down[0], on_error="skip", settings={"circuit_breaker": 3}
    )
    stored.put(*"abcdefgh")
    await stored.rig.open()
    await stored.until(lambda: stored.rig.counts.retried > 3)
    assert stored.rig.counts.skipped == 3
    is_down[0] = False
    await stored.until(stored.done)
    await stored.close()
    assert stored.effects() == [*"defgh"]


async def test_G3_a_database_from_a_backup_is_refused(database: Database) -> None:
    stored = Stored(database)
    stored.put(*"abc")
    await stored.run()
    session = database.target.connect()
    with session.transaction():
        session.connection.execute("UPDATE flowstream_offsets SET next_offset = 1")
    session.close()
    stored.put("d")
    await stored.rig.open()
    await stored.until(lambda: stored.rig.failure is not None)
    assert "restored from a backup" in str(stored.rig.failure)
    await stored.close()
    assert stored.effects() == [*"abc"]


async def test_G3_a_topic_that_was_made_anew_is_refused(database: Database) -> None:
    stored = Stored(database)
    stored.put(*"abc")
    await stored.run()
    again = Stored(database)
    again.topic_id = "22"
    again.put(*"de")
    await again.rig.open()
    await again.until(lambda: again.rig.failure is not None)
    assert "deleted and made anew" in str(again.rig.failure)
    await again.close()
    assert again.effects() == [*"abc"]


@pytest.mark.parametrize("how", ["commit", "COMMIT"])
async def test_S9_a_function_that_commits_is_refused(database: Database, how: str) -> None:
    app = fs.App("committing")
    topic = app.topic("in", key_type=str, value_type=str, partitions=1)

    @app.outbox(topic, to=database.target, within=0.0)
    def store(db: Any, events: list[fs.Event[str]]) -> None:
        if how == "commit":
            db.commit()
        else:
            db.execute("COMMIT")

    async def identify(topic: str) -> str:
        return ""

    async def done(tp: TopicPartition) -> int | None:
        return None

    store._identify, store._done = identify, done  # type: ignore[method-assign]
    rig = Rig(app)
    await rig.open()
    rig.put("in", b"k", b"a")
    rig.deliver()
    async with asyncio.timeout(30):
        while rig.failure is None:  # noqa: ASYNC110 - a thread brings it about
            await asyncio.sleep(0.001)
    assert "must not begin or end a transaction" in str(rig.failure)
    await rig.crash()
    await app.close()


BEHIND = {
    "goes on": "INSERT INTO effects VALUES ('beside', ?)",
    "goes on by a cursor": "INSERT INTO effects VALUES ('beside', ?)",
    "goes on with": "WITH of(what) AS (SELECT ?) INSERT INTO effects SELECT 'beside', what FROM of",
    "in a script": "INSERT INTO effects VALUES ('beside', '{}')",
    "without a level": "INSERT INTO effects VALUES ('beside', ?)",
    "ends": "INSERT INTO effects VALUES ('beside', ?)",
}
"""Statements that come after an error has ended the transaction. Python has a transaction begin for
some of them, and for none without an isolation level.
"""


@pytest.mark.parametrize("then", BEHIND)
async def test_S9_nothing_is_written_behind_an_error_that_ended_the_transaction(
    tmp_path: Path, then: str
) -> None:
    """SQLite rolls back for some errors by itself: what comes after would stay, whatever fails."""
    database = Sqlite(tmp_path / "effects.db")
    prepare(database.target)
    with sqlite3.connect(database.path) as connection:
        connection.execute("CREATE UNIQUE INDEX once ON effects (what) WHERE what = 'x'")
    connection.close()
    stored = Stored(database, on_error="dead_letter")

    def store(db: sqlite3.Connection, events: list[fs.Event[str]]) -> None:
        for event in events:
            try:
                db.execute(
                    "INSERT OR ROLLBACK INTO effects VALUES (?, ?)", (event.key, event.value)
                )
            except sqlite3.IntegrityError:
                if then == "ends":
                    return
                if then == "in a script":
                    db.executescript(BEHIND[then].format(f"beside {event.value}"))
                if then == "without a level":
                    db.isolation_level = None
            at = db.cursor() if then == "goes on by a cursor" else db
            if then != "in a script":
                at.execute(BEHIND[then], (f"beside {event.value}",))

    stored.store.store = store
    stored.put(*"axbxc")
    await stored.run()
    told = [word for word in stored.effects() if not word.startswith("beside")]
    assert told == [*"axbc"]
    behind = [stored.effects().count(f"beside {word}") for word in "bx"]
    assert behind == ([0, 0] if then == "in a script" else [1, 1])
    assert stored.dead() == [b"x"]


async def test_a_database_that_is_away_is_waited_for(tmp_path: Any) -> None:
    database = Sqlite(tmp_path / "not yet" / "effects.db")
    stored = Stored(database, on_error="dead_letter")
    stored.put(*"ab")
    await stored.rig.open()
    await stored.until(lambda: stored.rig.counts.retried > 2)
    database.path.parent.mkdir()
    with sqlite3.connect(database.path) as connection:
        connection.execute("CREATE TABLE effects (who TEXT, what TEXT)")
    connection.close()
    await stored.until(stored.done)
    await stored.close()
    assert stored.effects() == [*"ab"]
    assert stored.dead() == []


async def test_a_sink_of_an_agent_gets_what_it_yields(database: Database) -> None:
    stored = Stored(database)
    words = stored.app.topic("words", key_type=str, value_type=str, partitions=1)

    @stored.app.agent(words, sink=[stored.store])
    async def shout(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            yield word.upper()

    await stored.rig.open()
    stored.rig.put("words", b"k", b"loud")
    stored.rig.deliver()
    await stored.rig.settle()
    stored.rig.commit()
    assert stored.rig.told("in") == [(b"k", b"LOUD")]
    await stored.close()
