"""A worker in a process of its own: joins the group of an app, and leaves when its input ends.

Run as `python -m tests.processing.neighbour ADDRESS NAME DIRECTORY [SETTING=VALUE ...]`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import flowstream as fs

PARTITIONS = 4


def summing_app(
    address: str, name: str, saw: Callable[[int], None] = lambda partition: None, **settings: Any
) -> fs.App:
    """Counts the events of each key, and writes down each count."""
    app = fs.App(name, broker=f"kafka://{address}", **settings)
    numbers = app.topic(f"{name}-in", key_type=str, value_type=int, partitions=PARTITIONS)
    out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=1)
    total = app.Table("total", default=int)

    @app.agent(numbers, sink=[out])
    async def add(stream: fs.Stream[int]) -> AsyncIterator[str]:
        async for event in stream.events():
            saw(event.partition)
            total[str(event.key)] += 1
            yield f"{event.key}:{event.value}:{total[str(event.key)]}"

    return app


async def main(address: str, name: str, directory: str, *settings: str) -> None:
    """Work until the input ends; tell which tasks run here whenever that changes."""
    given = dict(each.split("=", 1) for each in settings)
    given.setdefault("commit_interval", "0.02")
    worker = fs.Worker(summing_app(address, name, data_dir=directory, **given), address)
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, lambda: os.read(0, 1 << 16) or worker.stop())
    running = asyncio.create_task(worker.run())
    told: list[str] | None = None
    while not running.done():
        if sorted(worker.tasks) != told:
            told = sorted(worker.tasks)
            print("tasks", *told, flush=True)
        await asyncio.wait((running,), timeout=0.02)
    running.result()
    print("done", worker.counts.aborts, worker.meters.restored_rows, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
