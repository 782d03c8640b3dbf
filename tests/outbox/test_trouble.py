"""Outboxes whose database fails in ways of its own: what the worker makes of it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

import flowstream as fs
from tests.outbox.conftest import Database
from tests.outbox.test_outbox import Stored


async def test_S11_a_function_that_goes_on_behind_a_failed_statement_fails_as_any(
    database: Database,
) -> None:
    """PostgreSQL ends the transaction with it. The worker stopped, whatever on_error said, and
    told that the function had committed something.
    """
    if database.mark == "?":
        pytest.skip("a statement that fails leaves the transaction of SQLite as it was")
    stored = Stored(database, on_error="dead_letter")

    def store(db: Any, events: list[fs.Event[str]]) -> None:
        for event in events:
            db.execute("INSERT INTO effects VALUES (%s, %s)", (event.key, event.value))
            if event.value == "x":
                with suppress(psycopg.Error):
                    db.execute("SELECT 1 / 0")
            if event.value == "y":
                with suppress(psycopg.Error), db.transaction():
                    db.execute("SELECT 1 / 0")

    stored.store.store = store
    stored.put(*"axbyc")
    await stored.run()
    assert stored.effects() == [*"abyc"]
    assert stored.dead() == [b"x"]
    ((reason,),) = database.rows("SELECT reason FROM flowstream_aside")
    assert "the function went on" in reason


async def test_S11_a_reason_that_is_no_text_is_kept_all_the_same(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JSON has halves of characters: an error that names one stopped its partition for ever."""
    # What a test logs is sent to another process, which takes no such text.
    monkeypatch.setattr(logging.getLogger("flowstream.agent"), "disabled", True)
    stored = Stored(database, on_error="dead_letter")

    def store(db: Any, events: list[fs.Event[str]]) -> None:
        for event in events:
            if event.value == "x":
                raise ValueError("no such name: \ud800\0")
            db.execute(
                f"INSERT INTO effects VALUES ({database.mark}, {database.mark})",
                (event.key, event.value),
            )

    stored.store.store = store
    stored.put(*"axb")
    await stored.run()
    assert stored.effects() == [*"ab"]
    assert stored.dead() == [b"x"]


def test_V4_a_database_that_is_silent_keeps_no_process_from_ending(tmp_path: Path) -> None:
    """A worker that had stopped stayed until the lock was given up that its outbox waited for."""
    program = """
import asyncio, threading
import flowstream as fs
from flowstream.processing.declarations import outboxes
outboxes.CLOSE_TIMEOUT_S = 0.1
app = fs.App("silent", broker="kafka://127.0.0.1:1")
@app.outbox(app.topic("in", value_type=str), to=fs.SQLite("db"))
def store(db, events): pass
async def main():
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    def wait(session):
        loop.call_soon_threadsafe(begun.set)
        threading.Event().wait()
    waiting = asyncio.create_task(store._in_session(wait))
    await begun.wait()
    waiting.cancel()
    await store.close()
asyncio.run(main())
print("ended")
"""
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, timeout=60, capture_output=True, text=True,
        check=True, env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert found.stdout == "ended\n"
