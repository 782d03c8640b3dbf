"""The count app of `peers/` on flowstream: `python -m benchmarks.count_app BOOTSTRAP RECORDS
[msgspec|pydantic]`.

Reads `events`, keeps a durable count per key in a table with a changelog, sends key, count and
amount to `counts`; exactly once, a commit every 100 ms. Prints one line, `flowstream N rec/s`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time

import msgspec

import flowstream as fs

bootstrap, total = sys.argv[1], int(sys.argv[2])
Model = fs.Record if sys.argv[3:] == ["pydantic"] else msgspec.Struct


class Event(Model):
    """One input record."""

    id: int
    user: str
    amount: float
    merchant: str
    ts: int


class Result(Model, frozen=True):
    """One output record."""

    key: str
    count: int
    amount: float


app = fs.App(
    f"bench{os.getpid()}", broker=f"kafka://{bootstrap}", data_dir=tempfile.mkdtemp(prefix="bench-")
)
events = app.topic("events", key_type=str, value_type=Event)
counts = app.topic("counts", key_type=str, value_type=Result)
count = app.Table("count", key_type=str, value_type=int, default=int, partitions=4)
progress = {"seen": 0, "started": 0.0}


@app.agent(events, sink=[counts])
async def tally(stream: fs.Stream[Event]):
    """Count per user."""
    async for user, event in stream.items():
        n = count[user] + 1
        count[user] = n
        step()
        yield Result(key=user, count=n, amount=event.amount)


def step() -> None:
    """Time from a tenth of the records on, so that start-up does not count."""
    progress["seen"] += 1
    if progress["seen"] == total // 10:
        progress["started"] = time.perf_counter()
    if progress["seen"] == total:
        rate = (total - total // 10) / (time.perf_counter() - progress["started"])
        os.write(1, f"flowstream {rate:.0f} rec/s\n".encode())
        os._exit(0)


if __name__ == "__main__":
    asyncio.run(fs.Worker(app, bootstrap).run())
