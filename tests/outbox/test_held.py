"""A place that somebody else has locked, as a worker that was stopped (SIGSTOP): it is waited for,
with a line that says for whom, and holds up nothing else.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

import flowstream as fs
from flowstream.processing.declarations import outboxes
from tests.outbox.conftest import Postgres
from tests.outbox.test_outbox import Stored

LOCK = "SELECT 1 FROM flowstream_offsets WHERE part = 0 FOR UPDATE"
MAKE = "INSERT INTO flowstream_offsets VALUES ('stored', 'store', 'in', 0, '11', 0)"


@contextmanager
def zombie(database: Postgres, statement: str) -> Iterator[int]:
    """Somebody who is in the middle of a transaction; gives PostgreSQL's process."""
    with psycopg.connect(f"{database.conninfo} application_name=zombie") as connection:
        connection.execute(statement.encode())
        yield connection.info.backend_pid
        connection.rollback()


pytestmark = pytest.mark.parametrize("database", ["postgres"], indirect=True)
"""SQLite waits by its own time limit."""


@pytest.mark.parametrize("on_error", ["stop", "dead_letter"])
async def test_V2_a_row_that_a_stopped_worker_has_locked_is_waited_for_and_told(
    database: Postgres, on_error: fs.OnError, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """It was waited for in the server: in silence, and for as long as the other was stopped."""
    monkeypatch.setattr(outboxes, "PATIENCE_MS", 0)
    before = Stored(database)
    before.put("a")
    await before.run()
    stored = Stored(database, on_error=on_error)
    stored.put(*"abc")
    with zombie(database, LOCK) as pid:
        await stored.rig.open()
        await stored.until(lambda: "waiting for its end" in caplog.text)
        told = (
            rf"outbox 'store' of app 'stored', in-0: its row is locked by the transaction of"
            rf" PostgreSQL's process {pid} \(application zombie, .* idle in transaction, begun \d+"
            rf" s ago; `SELECT pg_terminate_backend\({pid}\)` ends it\)"
        )
        assert re.search(told, caplog.text)
        # The connection is free for other partitions, and a worker that stops need not wait.
        async with asyncio.timeout(10):
            assert await stored.store._in_session(lambda session: session.is_broken) is False
    await stored.until(stored.done)
    await stored.close()
    assert stored.effects() == [*"abc"]
    assert (stored.dead(), stored.rig.failure) == ([], None)
    assert "in-0: its row is free, after" in caplog.text


async def test_V2_a_place_that_a_stopped_worker_is_making_known_is_waited_for_and_told(
    database: Postgres, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outboxes, "PATIENCE_MS", 0)
    monkeypatch.setattr("flowstream.outbox.postgres.PATIENCE", "SET LOCAL lock_timeout = '20ms'")
    stored = Stored(database)
    stored.put(*"abc")
    with zombie(database, MAKE):
        await stored.rig.open()
        await stored.until(lambda: "its row is locked by a transaction," in caplog.text)
    await stored.until(stored.done)
    await stored.close()
    assert stored.effects() == [*"abc"]


async def test_what_the_function_of_an_outbox_waits_for_is_its_own_affair(
    database: Postgres,
) -> None:
    stored = Stored(database)
    limits: list[str] = []

    def store(db: psycopg.Connection[tuple[str]], events: list[fs.Event[str]]) -> None:
        row = db.execute("SHOW lock_timeout").fetchone()
        assert row is not None
        limits.append(row[0])

    stored.store.store = store
    stored.put(*"abc")
    await stored.run()
    assert set(limits) == {"0"}
