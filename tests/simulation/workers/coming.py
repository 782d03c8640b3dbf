"""Apps that read topics by a pattern, of which some come while they are at work; and apps whose
events are done at least once.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import flowstream as fs
from tests.simulation.workers.plain import PARTITIONS, numbered
from tests.simulation.workers.scenario import Scenario, Seen, differences, link

MOST = 4


def pattern(rng: random.Random) -> Scenario:
    """The chains of `plain.aggregate` over every topic that matches; each is made as its first
    record comes, the first one, too.
    """
    count = rng.randint(20, 120)
    comes_at = sorted({0, *(rng.randrange(count) for _ in range(rng.randint(1, MOST - 1)))})
    feeds = []
    for number, feed in enumerate(numbered(rng, "in", count)):
        there = sum(at <= number for at in comes_at)
        # The newest is there because something came for it.
        which = there - 1 if number in comes_at else rng.randrange(there)
        feeds.append(feed._replace(topic=f"in-{which}"))

    def declare(settings: dict[str, float]) -> fs.App:
        app = fs.App("sim", **settings)  # type: ignore[arg-type]
        inputs: fs.Topic[str, str] = app.topic(pattern=r"in-\d", key_type=str, value_type=str)
        out = app.topic("out", key_type=str, value_type=str, partitions=PARTITIONS)
        chains = app.Table("chains", value_type=str, default=str, partitions=PARTITIONS)

        @app.agent(inputs, sink=[out])
        async def extend(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for event in stream.events():
                chains[event.key] = link(chains[event.key], event.value)
                yield f"{event.topic} {event.value} {chains[event.key]}"

        return app

    def judge(seen: Seen) -> Iterator[str]:
        wanted: dict[str, list[str]] = defaultdict(list)
        for topic in sorted({feed.topic for feed in feeds}):
            for record in seen.of(topic):
                wanted[f"{topic} {record.key}"].append(record.value or "")
        found: dict[str, list[str]] = defaultdict(list)
        ends: dict[str, str] = {}
        for key, told in seen.by_key("out").items():
            for topic, id, chain in (str(each).split() for each in told):
                found[f"{topic} {key}"].append(id)
                yield from differences(f"S9 {id} of {key}", link(ends.get(key, ""), id), chain)
                ends[key] = chain
        yield from differences("S7 ids of", dict(wanted), dict(found))
        yield from differences("S8 table row", ends, seen.table("chains"))

    return Scenario("pattern", declare, feeds, judge, ("out",), looks_around=True)


def at_least_once(rng: random.Random) -> Scenario:
    """The ids of each key so far, told with every event; sometimes behind a topic of its own."""
    regrouped, fan = rng.random() < 0.4, rng.randint(1, 5)

    def group_of(id: str) -> str:
        return f"g{int(id) % fan}"

    def declare(settings: dict[str, float]) -> fs.App:
        app = fs.App("sim", processing_guarantee="at_least_once", **settings)  # type: ignore[arg-type]
        inputs = app.topic("in", key_type=str, value_type=str, partitions=PARTITIONS)
        out = app.topic("out", key_type=str, value_type=str, partitions=PARTITIONS)
        rows = app.Table("rows", value_type=str, default=str, partitions=PARTITIONS)

        @app.agent(inputs, sink=[out])
        async def add(stream: fs.Stream[str]) -> AsyncIterator[str]:
            events: Any = stream
            if regrouped:
                events = stream.group_by(group_of, key_type=str, name="regroup")
            async for key, id in events.items():
                rows[key] = f"{rows[key]} {id}".strip()
                yield id

        return app

    def judge(seen: Seen) -> Iterator[str]:
        wanted: dict[str, list[str]] = defaultdict(list)
        at_ms: dict[str, int] = {}
        origin: dict[str, int] = {}
        for number, part in enumerate(seen.logs["in"]):
            for record in part:
                id = record.value or ""
                wanted[f"{number} {group_of(id) if regrouped else record.key}"].append(id)
                at_ms[id], origin[id] = record.at_ms, number
        told: dict[str, list[str]] = defaultdict(list)
        for record in seen.of("out"):
            id = record.value or ""
            told[f"{origin.get(id)} {record.key}"].append(id)
            yield from differences(f"S7 time of {id}", at_ms.get(id), record.at_ms)
        firsts = {key: first(ids) for key, ids in told.items()}
        yield from differences("S7 first outputs of", dict(wanted), firsts)
        for key, row in seen.table("rows").items():
            kept: dict[str, list[str]] = defaultdict(list)
            for id in first(row.split()):
                kept[f"{origin.get(id)} {key}"].append(id)
            for place, ids in kept.items():
                yield from differences(
                    f"S8 row of {place}", [id for id in wanted[place] if id in ids], ids
                )

    feeds = numbered(rng, "in", rng.randint(20, 120))
    return Scenario("at_least_once", declare, feeds, judge, ("out",), is_fenced=False)


def first(ids: Iterable[str]) -> list[str]:
    """Each where it came first."""
    return list(dict.fromkeys(ids))
