"""Outboxes in an app in memory: each test has a database of its own."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import pytest

import flowstream as fs
from flowstream.testing import AppContext, Input, assert_exactly_once
from flowstream.testing import context as context_module


class Boxed:
    """Words in a database, and in a second one of the same file their lengths."""

    def __init__(self, path: Path) -> None:
        self.app = fs.App("boxed")
        self.words = self.app.topic("words", key_type=str, value_type=str, partitions=1)

        @self.app.outbox(self.words, to=fs.SQLite(path))
        def store(db: Any, events: list[fs.Event[str]]) -> None:
            db.execute("CREATE TABLE IF NOT EXISTS words (word TEXT PRIMARY KEY)")
            db.executemany("INSERT INTO words VALUES (?)", [(event.value,) for event in events])

        @self.app.outbox(self.words, to=fs.SQLite(str(path)))
        def measure(db: Any, events: list[fs.Event[str]]) -> None:
            db.execute("CREATE TABLE IF NOT EXISTS lengths (length INTEGER)")
            db.executemany("INSERT INTO lengths VALUES (?)", [(len(e.value),) for e in events])

        self.store, self.measure = store, measure

    def kept(self, context: AppContext) -> list[tuple[str]]:
        """The words that are there."""
        found: list[tuple[str]] = (
            context.database(self.store).execute("SELECT word FROM words ORDER BY word").fetchall()
        )
        return found


def test_every_context_begins_with_an_empty_database_and_the_named_one_is_left_alone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "words.db"
    boxed = Boxed(path)
    for first in ("a", "b", "a"):
        with boxed.app.test_context() as context:
            context.topic(boxed.words).send(first, key="k")
            context.crash()
            context.topic(boxed.words).send("z", key="k")
            assert boxed.kept(context) == [(first,), ("z",)]
            lengths = context.database(boxed.measure).execute("SELECT sum(length) FROM lengths")
            assert lengths.fetchall() == [(2,)]
            place = Path(
                context.database(boxed.store).execute("PRAGMA database_list").fetchone()[2]
            )
            assert place.exists()
        assert not place.parent.exists()
    assert not path.exists()
    assert boxed.store.target == fs.SQLite(path)


def test_a_context_that_cannot_be_entered_leaves_the_app_its_databases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no crew")

    boxed = Boxed(tmp_path / "words.db")
    monkeypatch.setattr(context_module, "Crew", refuse)
    with pytest.raises(OSError, match="no crew"):
        boxed.app.test_context().__enter__()
    assert boxed.store.target == fs.SQLite(tmp_path / "words.db")


def test_S9_a_query_that_leaves_out_another_outbox_of_the_database_is_refused(
    tmp_path: Path,
) -> None:
    boxed, inputs = Boxed(tmp_path / "words.db"), [Input("words", "a", key="k")]
    words = {boxed.store: "SELECT word FROM words"}
    with pytest.raises(ValueError, match="nobody knows: give queries= one for 'measure', too"):
        assert_exactly_once(boxed.app, inputs, queries=words)
    both = {**words, "measure": "SELECT length FROM lengths"}
    assert_exactly_once(boxed.app, inputs, queries=both)


def test_an_outbox_that_is_killed_everywhere_meets_nothing_of_other_runs(tmp_path: Path) -> None:
    boxed = Boxed(tmp_path / "words.db")
    assert_exactly_once(boxed.app, [Input(boxed.words, word, key="k") for word in ("a", "b")])


def counted(to: Any, *, leaky: bool = False) -> fs.App:
    """Words, each with how many came before it: as the database counts, or an agent's variable."""
    app = fs.App("counted")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    seen = [0]

    @app.agent(words)
    async def count(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            seen[0] += 1

    @app.outbox(words, to=to, batch=1)
    def store(db: Any, events: list[fs.Event[str]]) -> None:
        (event,) = events
        db.execute('CREATE TABLE IF NOT EXISTS "a ""word""" (word TEXT, place INTEGER)')
        (count,) = db.execute('SELECT count(*) FROM "a ""word"""').fetchone()
        place = seen[0] if leaky else count
        insert = 'INSERT INTO "a ""word""" VALUES '
        db.execute(f"{insert} ('{event.value}', {place})")

    return app


INPUTS = [Input("words", word, key="k") for word in ("a", "b", "a")]


def test_S9_what_outboxes_write_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "words.db"
    assert_exactly_once(counted(fs.SQLite(path)), INPUTS)
    with pytest.raises(AssertionError, match='"a ""word""" of outbox store, key'):
        assert_exactly_once(lambda: counted(fs.SQLite(path), leaky=True), INPUTS)
    of_words = {"store": 'SELECT word FROM "a ""word"""'}
    assert_exactly_once(lambda: counted(fs.SQLite(path), leaky=True), INPUTS, queries=of_words)
    with pytest.raises(ValueError, match="queries= names 'stores', which is no outbox of this app"):
        assert_exactly_once(counted(fs.SQLite(path)), INPUTS, queries={"stores": "SELECT 1"})


def test_what_is_no_database_of_a_test_has_to_be_named(tmp_path: Path) -> None:
    server = fs.PostgreSQL("host=/nowhere password=secret")
    app = counted(server)
    with pytest.raises(ValueError, match="outbox 'store' writes into PostgreSQL") as refused:
        app.test_context().__enter__()
    assert "secret" not in str(refused.value)
    with pytest.raises(ValueError, match="'words', which is no outbox of this app"):
        app.test_context(databases={"words": server}).__enter__()
    with pytest.raises(ValueError, match="'a path', which is no database"):
        app.test_context(databases={"store": "a path"}).__enter__()
    file = fs.SQLite(tmp_path / "mine.db")
    outbox = app.agents["store"]
    with app.test_context(databases={outbox: file}) as context:
        context.topic("words").send("a", key="k")
        assert context.database(outbox).execute('SELECT * FROM "a ""word"""').fetchall() == [
            ("a", 0)
        ]
    assert outbox.target is server
    with pytest.raises(ValueError, match="has events of it already"):
        app.test_context(databases={"store": file}).__enter__()
    with pytest.raises(ValueError, match="has events of it already"):
        assert_exactly_once(app, INPUTS, databases={"store": lambda: file})
    made = iter(range(1_000))
    fresh = {"store": lambda: fs.SQLite(tmp_path / f"{next(made)}.db")}
    assert_exactly_once(app, INPUTS, databases=fresh)


def test_nothing_stays_of_a_context_that_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Boxed(tmp_path / "words.db").app

    @app.outbox(app.topics["words"], to=fs.PostgreSQL("host=/nowhere"))
    def third(db: Any, events: list[fs.Event[str]]) -> None:
        raise AssertionError("it has no database")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ValueError, match="outbox 'third' writes into PostgreSQL"):
        app.test_context().__enter__()
    assert list(tmp_path.iterdir()) == []


def test_only_the_databases_of_outboxes_are_there(tmp_path: Path) -> None:
    boxed, other = Boxed(tmp_path / "words.db"), Boxed(tmp_path / "other.db")
    with boxed.app.test_context() as context:
        for wrong in (boxed.words, other.store):
            with pytest.raises(ValueError, match="no outbox of this app"):
                context.database(wrong)
        assert isinstance(context.database(boxed.store), sqlite3.Connection)
