"""A worker that ends itself with kill -9 at one step, of the outbox's transaction or of Kafka's.

Run as a process: numbers the events of each key, and gives what came of it to a database.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import flowstream as fs
from flowstream.outbox.target import Target
from flowstream.processing.declarations.outboxes import Outbox


def build(
    name: str, address: str, directory: str, database: str
) -> tuple[fs.App, fs.Topic[str, str], Outbox[str]]:
    """The app, its input and its outbox."""
    kind, _, where = database.partition(":")
    target: Target = fs.SQLite(where) if kind == "sqlite" else fs.PostgreSQL(where)
    mark = "?" if kind == "sqlite" else "%s"
    app = fs.App(
        name, broker=f"kafka://{address}", data_dir=directory, commit_interval=0.05,
        session_timeout=0.5, transaction_timeout=2.0,
    )  # fmt: skip
    inputs = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=2)
    numbered = app.topic(f"{name}-numbered", key_type=str, value_type=str, partitions=2)
    counts = app.Table("counts", key_type=str, value_type=int, default=int)

    @app.outbox(numbered, to=target, batch=5, within=0.01)
    def store(db: Any, events: list[fs.Event[str]]) -> None:
        for event in events:
            db.execute(f"INSERT INTO effects VALUES ({mark}, {mark})", (event.key, event.value))

    @app.agent(inputs, sink=[store])
    async def number(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for key, id in stream.items():
            counts[key] += 1
            yield f"{id} {counts[key]}"

    return app, inputs, store


def ends_at(wanted: str, prefix: str, times: int) -> Callable[[str], None]:
    """A checkpoint that kills this process when a step comes up for the n-th time."""
    seen = 0

    def checkpoint(step: str) -> None:
        nonlocal seen
        if f"{prefix}{step}" == wanted:
            seen += 1
            if seen > times:
                os.kill(os.getpid(), signal.SIGKILL)

    return checkpoint


def main() -> None:
    """Arguments: name, address, directory, database, and the step to end at."""
    *where, step = sys.argv[1:]
    app, _, store = build(*where)
    store.checkpoint = ends_at(step, "database ", 1)
    worker = fs.Worker(app, where[1], checkpoint=ends_at(step, "kafka ", 1))
    asyncio.run(worker.run())


if __name__ == "__main__":
    main()
