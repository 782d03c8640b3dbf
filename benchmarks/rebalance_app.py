"""An app whose outputs say by whom and when each event was met: `PID MONOTONIC_NS`. Processes of
one machine share the clock. Its name is in the environment: `flowstream worker -A
benchmarks.rebalance_app`.
"""

from __future__ import annotations

import os
import time

import flowstream as fs

PARTITIONS = 8
NAME = os.environ["REBALANCE_APP"]

app = fs.App(NAME)
events = app.topic(f"{NAME}-events", key_type=str, value_type=int, partitions=PARTITIONS)
outputs = app.topic(f"{NAME}-outputs", key_type=str, value_type=str, partitions=PARTITIONS)
counts = app.Table("counts", key_type=str, value_type=int, default=int, partitions=PARTITIONS)


@app.agent(events, sink=[outputs])
async def tally(stream: fs.Stream[int]):
    """Count per key, so that a partition moves with a store."""
    async for key, _ in stream.items():
        counts[key] += 1
        yield f"{os.getpid()} {time.monotonic_ns()}"
