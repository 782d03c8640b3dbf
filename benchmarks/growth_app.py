"""One worker of an app that keeps a count and the last text of each key:
`python -m benchmarks.growth_app BOOTSTRAP APP PARTITIONS`. It runs until it is told to stop.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile

import msgspec

import flowstream as fs


class Event(msgspec.Struct):
    """One input record."""

    user: str
    text: str


class Kept(msgspec.Struct, frozen=True):
    """One row."""

    count: int
    text: str


bootstrap, name, partitions = sys.argv[1], sys.argv[2], int(sys.argv[3])
app = fs.App(
    name, broker=f"kafka://{bootstrap}", data_dir=tempfile.mkdtemp(prefix="bench-"),
)  # fmt: skip
events = app.topic(f"{name}-events", key_type=str, value_type=Event)
counts = app.topic(f"{name}-counts", key_type=str, value_type=int, partitions=partitions)
kept = app.Table(
    "kept", key_type=str, value_type=Kept, default=lambda: Kept(0, ""), partitions=partitions
)


@app.agent(events, sink=[counts])
async def tally(stream: fs.Stream[Event]):
    """Count per user."""
    async for user, event in stream.items():
        n = kept[user].count + 1
        kept[user] = Kept(n, event.text)
        yield n


if __name__ == "__main__":
    asyncio.run(fs.Worker(app, bootstrap).run())
