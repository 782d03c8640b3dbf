"""Outboxes to databases that a test in memory names: PostgreSQL as well as SQLite."""

from __future__ import annotations

import itertools
import os
from typing import Any

import psycopg
import pytest

import flowstream as fs
from flowstream.outbox.target import Target
from flowstream.testing import Input, assert_exactly_once
from tests.outbox.conftest import Database


def storing(to: Target, mark: str) -> fs.App:
    """An app that writes words into a table of effects."""
    app = fs.App("storing")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)

    @app.outbox(words, to=to)
    def store(db: Any, events: list[fs.Event[str]]) -> None:
        db.execute("CREATE TABLE IF NOT EXISTS effects (who TEXT, what TEXT)")
        for event in events:
            db.execute(f"INSERT INTO effects VALUES ({mark}, {mark})", ("k", event.value))

    return app


def test_a_test_writes_the_database_that_it_names_and_no_other(database: Database) -> None:
    app = storing(fs.PostgreSQL("host=/nowhere"), database.mark)
    with app.test_context(databases={"store": database.target}) as context:
        for word in ("a", "b"):
            context.topic("words").send(word, key="k")
            context.crash()
        connection = context.database(app.agents["store"])
        rows = connection.execute("SELECT what FROM effects ORDER BY what").fetchall()
        assert rows == database.rows("SELECT what FROM effects ORDER BY what") == [("a",), ("b",)]
    with pytest.raises(ValueError, match="has events of it already"):
        app.test_context(databases={"store": database.target}).__enter__()


def test_S9_a_database_that_is_made_for_each_run_is_compared(server: str) -> None:
    numbers = itertools.count()

    def empty() -> Target:
        with psycopg.connect(server, autocommit=True) as connection:
            name = f"run_{os.getpid()}_{next(numbers)}"
            connection.execute(f"CREATE DATABASE {name}".encode())
        return fs.PostgreSQL(server.replace("dbname=postgres", f"dbname={name}"))

    app = storing(fs.PostgreSQL(server), "%s")
    inputs = [Input("words", word, key="k") for word in ("a", "b")]
    assert_exactly_once(app, inputs, databases={"store": empty}, most_runs=5)
    runs = {"store": "SELECT who, what, current_database() FROM effects"}
    with pytest.raises(AssertionError, match="what outbox store wrote, key"):
        assert_exactly_once(app, inputs, databases={"store": empty}, most_runs=2, queries=runs)
