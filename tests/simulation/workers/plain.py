"""Apps without time: chains in tables, re-keying, failing agents; and their single-pass models."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator

import flowstream as fs
from tests.simulation.workers.scenario import Feed, Scenario, Seen, differences, link

PARTITIONS = 2


def place(key: str) -> int:
    """The partition of a key that was sent by hand; apps place theirs by murmur2."""
    return sum(key.encode()) % PARTITIONS


def numbered(rng: random.Random, topic: str, count: int) -> list[Feed]:
    """Events with ids, of few keys."""
    keys = [f"k{number}" for number in range(rng.randint(1, 6))]
    found = []
    for number in range(count):
        key = rng.choice(keys)
        found.append(Feed(topic, place(key), key, str(number), number))
    return found


def aggregate(rng: random.Random) -> Scenario:
    """A hash chain per key; sometimes slow, sometimes two agents on the topic."""
    slow, two = rng.random() < 0.5, rng.random() < 0.3

    def declare(settings: dict[str, float]) -> fs.App:
        app = fs.App("sim", **settings)  # type: ignore[arg-type]
        inputs = app.topic("in", key_type=str, value_type=str, partitions=PARTITIONS)
        out = app.topic("out", key_type=str, value_type=str, partitions=PARTITIONS)
        chains = app.Table("chains", value_type=str, default=str)

        @app.agent(inputs, sink=[out])
        async def extend(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for key, id in stream.items():
                if slow and int(id) % 7 == 0:
                    await asyncio.sleep(0.2)
                chains[key] = link(chains[key], id)
                yield f"{id} {chains[key]}"

        if two:
            other = app.topic("other", key_type=str, value_type=str, partitions=PARTITIONS)

            @app.agent(inputs, sink=[other])
            async def copy(stream: fs.Stream[str]) -> AsyncIterator[str]:
                async for id in stream:
                    if int(id) % 5 == 0:
                        await asyncio.sleep(0.05)
                    yield id

        return app

    def judge(seen: Seen) -> Iterator[str]:
        expected: dict[str, list[str | None]] = defaultdict(list)
        chains: dict[str, str] = {}
        for record in seen.of("in"):
            id = record.value or ""
            chains[record.key] = link(chains.get(record.key, ""), id)
            expected[record.key].append(f"{id} {chains[record.key]}")
        yield from differences("S7 outputs of", dict(expected), seen.by_key("out"))
        yield from differences("S8 table row", chains, seen.table("chains"))
        if two:
            yield from differences("S7 copies of", seen.by_key("in"), seen.by_key("other"))

    outputs = ("out", "other") if two else ("out",)
    return Scenario("aggregate", declare, numbered(rng, "in", rng.randint(20, 120)), judge, outputs)


def group_by(rng: random.Random) -> Scenario:
    """Counts by another key, through a repartition topic."""
    fan = rng.randint(1, 5)

    def declare(settings: dict[str, float]) -> fs.App:
        app = fs.App("sim", **settings)  # type: ignore[arg-type]
        inputs = app.topic("in", key_type=str, value_type=str, partitions=PARTITIONS)
        out = app.topic("out", key_type=str, value_type=str, partitions=PARTITIONS)
        counts = app.Table("counts", value_type=str, default=lambda: "0", partitions=3)

        @app.agent(inputs, sink=[out])
        async def count(stream: fs.Stream[str]) -> AsyncIterator[str]:
            regrouped = stream.group_by(
                lambda id: f"g{int(id) % fan}", key_type=str, name="regroup", partitions=3
            )
            async for key, id in regrouped.items():
                counts[key] = str(int(counts[key]) + 1)
                yield f"{counts[key]} {id}"

        return app

    def judge(seen: Seen) -> Iterator[str]:
        ids: dict[str, list[str]] = defaultdict(list)
        for record in seen.of("in"):
            ids[f"g{int(record.value or 0) % fan}"].append(record.value or "")
        found = {
            key: [str(v).split() for v in values] for key, values in seen.by_key("out").items()
        }
        for key, wanted in ids.items():
            told = found.get(key, [])
            numbers = [str(n) for n in range(1, len(wanted) + 1)]
            yield from differences(f"S7 counts of {key}", numbers, [n for n, _ in told])
            yield from differences(f"S7 ids of {key}", sorted(wanted), sorted(i for _, i in told))
        totals = {key: str(len(wanted)) for key, wanted in ids.items()}
        yield from differences("S8 table row", totals, seen.table("counts"))

    return Scenario("group_by", declare, numbered(rng, "in", rng.randint(20, 100)), judge, ("out",))


def failing(rng: random.Random) -> Scenario:
    """Some events fail always, some once per process; retried, dead letters, or parked by key."""
    policy = rng.choice(["retry", "dead_letter", "park"])

    def is_bad(id: str) -> bool:
        return int(id) % 11 == 3

    def declare(settings: dict[str, float]) -> fs.App:
        app = fs.App("sim", **settings)  # type: ignore[arg-type]
        inputs = app.topic("in", key_type=str, value_type=str, partitions=PARTITIONS)
        out = app.topic("out", key_type=str, value_type=str, partitions=PARTITIONS)
        last = app.Table("last", value_type=str, default=str)
        tried: set[str] = set()
        on_error: fs.Policy | str = "dead_letter"
        if policy == "retry":
            on_error = fs.retry(2, backoff=0.05, then="dead_letter")
        elif policy == "park":
            on_error = fs.park(8, backoff=0.1, longest=0.5, then="dead_letter")

        @app.agent(inputs, sink=[out], on_error=on_error)  # type: ignore[arg-type]
        async def work(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for key, id in stream.items():
                last[key] = id
                if is_bad(id):
                    raise ValueError(f"bad {id}")
                if policy != "dead_letter" and int(id) % 5 == 0 and id not in tried:
                    tried.add(id)
                    raise ValueError(f"flaky {id}")
                yield id

        return app

    def judge(seen: Seen) -> Iterator[str]:
        good: dict[str, list[str | None]] = defaultdict(list)
        bad: dict[str, list[str | None]] = defaultdict(list)
        for record in seen.of("in"):
            (bad if is_bad(record.value or "0") else good)[record.key].append(record.value)
        yield from differences("S11 outputs of", dict(good), seen.by_key("out"))
        yield from differences("S11 dead letters of", dict(bad), seen.by_key("sim-dead-letters"))
        newest = {key: ids[-1] for key, ids in good.items()}
        yield from differences("S9 row", newest, seen.table("last"))

    feeds = numbered(rng, "in", rng.randint(20, 80))
    return Scenario("failing", declare, feeds, judge, ("out", "sim-dead-letters"), quiet_s=40.0)


def dedupe(rng: random.Random) -> Scenario:
    """Equal ids within a horizon pass once."""
    feeds = []
    clock = [0, 0]
    for _ in range(rng.randint(20, 100)):
        key = f"k{rng.randrange(4)}"
        part = place(key)
        clock[part] += rng.choice([0, 500, 3_000])
        feeds.append(Feed("in", part, key, f"id{rng.randrange(4)}", clock[part]))

    def declare(settings: dict[str, float]) -> fs.App:
        app = fs.App("sim", **settings)  # type: ignore[arg-type]
        inputs = app.topic("in", key_type=str, value_type=str, partitions=PARTITIONS)
        out = app.topic("out", key_type=str, value_type=str, partitions=PARTITIONS)

        @app.agent(inputs, sink=[out])
        async def once(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for id in stream.dedupe(10, by=lambda id: id):
                yield id

        return app

    def judge(seen: Seen) -> Iterator[str]:
        for number, part in enumerate(seen.logs["in"]):
            passed: dict[str | None, int] = {}
            expected: dict[str, list[tuple[str | None, int]]] = defaultdict(list)
            for record in part:
                before = passed.get(record.value)
                if before is None or record.at_ms - before >= 10_000:
                    passed[record.value] = record.at_ms
                    expected[record.key].append((record.value, record.at_ms))
            keys = {record.key for record in part}
            found: dict[str, list[tuple[str | None, int]]] = defaultdict(list)
            for record in seen.of("out"):
                if record.key in keys:
                    found[record.key].append((record.value, record.at_ms))
            yield from differences(f"S7 partition {number}, key", dict(expected), dict(found))

    return Scenario("dedupe", declare, feeds, judge, ("out",))
