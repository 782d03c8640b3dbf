"""Outboxes in an app in memory: each test has a database of its own."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

import flowstream as fs
from flowstream.testing import AppContext, Input, assert_exactly_once


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


def test_an_outbox_that_is_killed_everywhere_meets_nothing_of_other_runs(tmp_path: Path) -> None:
    boxed = Boxed(tmp_path / "words.db")
    assert_exactly_once(boxed.app, [Input(boxed.words, word, key="k") for word in ("a", "b")])


def test_only_the_databases_of_outboxes_are_there(tmp_path: Path) -> None:
    boxed, other = Boxed(tmp_path / "words.db"), Boxed(tmp_path / "other.db")
    with boxed.app.test_context() as context:
        for wrong in (boxed.words, other.store):
            with pytest.raises(ValueError, match="no outbox of this app"):
                context.database(wrong)
        assert isinstance(context.database(boxed.store), sqlite3.Connection)
