"""Windows, a join and re-keying on flowstream: `python -m benchmarks.kinds_app BOOTSTRAP RECORDS
hopping|join|group_by`; what `peers/StreamsKinds.java` does on Kafka Streams.

Exactly once, a commit every 100 ms, msgspec models. Prints one line, `flowstream N rec/s`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time

import msgspec

import flowstream as fs

SIZE_S, HOP_S = 100_000, 50_000
"""Windows of ten events of each user."""


class Event(msgspec.Struct):
    """One input record; `ts` is seconds."""

    id: int
    user: str
    amount: float
    merchant: str
    ts: int


class User(msgspec.Struct, frozen=True):
    """A row of the table that is joined."""

    country: str


class Sum(msgspec.Struct, frozen=True):
    """A window's final value."""

    key: str
    start: float
    amount: float


class Sale(msgspec.Struct, frozen=True):
    """An event with its user."""

    country: str
    amount: float


class Count(msgspec.Struct, frozen=True):
    """Events of a merchant so far."""

    key: str
    count: int


bootstrap, total, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
app = fs.App(
    f"bench{os.getpid()}", broker=f"kafka://{bootstrap}", data_dir=tempfile.mkdtemp(prefix="bench-")
)
progress = {"seen": 0, "started": 0.0}


def step() -> None:
    """Time from a tenth of the records on, so that start-up does not count."""
    progress["seen"] += 1
    if progress["seen"] == total // 10:
        progress["started"] = time.perf_counter()
    if progress["seen"] == total:
        rate = (total - total // 10) / (time.perf_counter() - progress["started"])
        os.write(1, f"flowstream {rate:.0f} rec/s\n".encode())
        os._exit(0)


def is_seen(event: Event) -> bool:
    """For a `filter` that only counts, as `peek` does for the peer."""
    step()
    return True


def hopping() -> None:
    """The sum per user over hopping windows of event time, each told once, when it closes."""
    events = app.topic("events", key_type=str, value_type=Event, timestamp="ts")
    sums = app.topic("counts", key_type=str, value_type=Sum)

    @app.agent(events, sink=[sums])
    async def windows(stream: fs.Stream[Event]):
        async for window in stream.filter(is_seen).hopping(SIZE_S, HOP_S).sum("amount"):
            yield Sum(window.key, window.start, window.value)


def join() -> None:
    """Each event with the profile of its user."""
    events = app.topic("events", key_type=str, value_type=Event)
    sales = app.topic("counts", key_type=str, value_type=Sale)
    users = app.table(app.topic("users", key_type=str, value_type=User))

    @app.agent(events, sink=[sales])
    async def enrich(stream: fs.Stream[Event]):
        async for pair in stream.filter(is_seen).join(users):
            yield Sale(pair.right.country, pair.left.amount)


def group_by() -> None:
    """Events by merchant, through a topic of its own, and a count of each."""
    events = app.topic("events", key_type=str, value_type=Event)
    counts = app.topic("counts", key_type=str, value_type=Count)
    table = app.Table("merchants", key_type=str, value_type=int, default=int, partitions=4)

    @app.agent(events, sink=[counts])
    async def tally(stream: fs.Stream[Event]):
        async for event in stream.group_by(lambda event: event.merchant, key_type=str):
            n = table[event.merchant] + 1
            table[event.merchant] = n
            step()
            yield Count(event.merchant, n)


if __name__ == "__main__":
    {"hopping": hopping, "join": join, "group_by": group_by}[kind]()
    asyncio.run(fs.Worker(app, bootstrap).run())
