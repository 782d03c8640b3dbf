"""The count app of `peers/` on flowstream: `python -m benchmarks.count_app BOOTSTRAP RECORDS
[msgspec|pydantic] [scraped]`.

Reads `events`, keeps a durable count per key in a table with a changelog, sends key, count and
amount to `counts`; exactly once, a commit every 100 ms. Prints one line, `flowstream N rec/s`. The
collector is set as `flowstream worker` sets it. With `scraped` it serves its metrics, and another
process reads them each second.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import tempfile
import time

import msgspec

import flowstream as fs
from flowstream.cli.worker import GC_THRESHOLDS

bootstrap, total = sys.argv[1], int(sys.argv[2])
Model = fs.Record if "pydantic" in sys.argv[3:] else msgspec.Struct


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


def of_fields(key: str, count: int, amount: float) -> Result:
    """A pydantic model takes its fields by name alone."""
    return Result(key=key, count=count, amount=amount)


result = of_fields if Model is fs.Record else Result
app = fs.App(
    f"bench{os.getpid()}",
    broker=f"kafka://{bootstrap}",
    data_dir=tempfile.mkdtemp(prefix="bench-"),
    web_port=0,
)
events = app.topic("events", key_type=str, value_type=Event)
counts = app.topic("counts", key_type=str, value_type=Result)
count = app.Table("count", key_type=str, value_type=int, default=int, partitions=4)
progress = {"seen": 0, "started": 0.0, "cpu": 0.0}


@app.agent(events, sink=[counts])
async def tally(stream: fs.Stream[Event]):
    """Count per user."""
    async for user, event in stream.items():
        n = count[user] + 1
        count[user] = n
        step()
        yield result(user, n, event.amount)


def step() -> None:
    """Time from a tenth of the records on, so that start-up does not count."""
    progress["seen"] += 1
    if progress["seen"] == total // 10:
        progress["started"], progress["cpu"] = time.perf_counter(), time.process_time()
    if progress["seen"] == total:
        measured = total - total // 10
        rate = measured / (time.perf_counter() - progress["started"])
        cpu_us = 1e6 * (time.process_time() - progress["cpu"]) / measured
        os.write(1, f"flowstream {rate:.0f} rec/s, {cpu_us:.3f} us of CPU each\n".encode())
        os._exit(0)


SCRAPER = """
import sys, time, urllib.request
while True:
    urllib.request.urlopen(sys.argv[1]).read()
    time.sleep(1)
"""


async def scraped(worker: fs.Worker) -> None:
    """Run a worker that is watched; the one who watches ends with it."""
    from flowstream.web.serving import serving

    async with serving(worker) as address:
        command = [sys.executable, "-c", SCRAPER, f"http://{address}/metrics"]
        await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
        await worker.run(ready=ready)


def ready() -> None:
    """What `flowstream worker` does once everything is there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


if __name__ == "__main__":
    worker = fs.Worker(app, bootstrap)
    asyncio.run(scraped(worker) if "scraped" in sys.argv[3:] else worker.run(ready=ready))
