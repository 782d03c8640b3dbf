"""Apps whose events do not simply follow each other: side by side, several at once, by the clock,
beside copies of their state, and joined through topics of their own; with their models.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any

import flowstream as fs
from flowstream.wire.hashing import partition_for_key
from tests.simulation.workers.plain import PARTITIONS, aggregate, numbered, place
from tests.simulation.workers.scenario import Feed, Scenario, Seen, differences, link
from tests.simulation.workers.timely import LOST_S

GROUPS = 2
CRON_S = 2
WATCHED_S = 10
"""How long a crontab is watched once all is well: so long no instant may be left out."""


def group_of(key: str, id: str) -> str:
    """A row that several keys of a partition share."""
    return f"p{place(key)}g{int(id) % GROUPS}"


def lanes(rng: random.Random) -> Scenario:
    """Several events of a partition at a time; rows of their own and rows that they share."""
    count, by_key = rng.randint(2, 6), rng.random() < 0.7
    slowest, bad = rng.choice([0.0, 0.05, 0.4]), rng.choice([1000, 9])

    def is_bad(id: str) -> bool:
        return int(id) % bad == bad - 1

    def declare(settings: dict[str, float]) -> fs.App:
        app = fs.App("sim", **settings)  # type: ignore[arg-type]
        inputs = app.topic("in", key_type=str, value_type=str, partitions=PARTITIONS)
        out = app.topic("out", key_type=str, value_type=str, partitions=PARTITIONS)
        chains, shared = (
            app.Table(name, value_type=str, default=str) for name in ("chains", "shared")
        )

        async def work(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for key, id in stream.items():
                group = group_of(key, id)
                before, in_group = chains[key], int(shared[group] or "0")
                await asyncio.sleep(int(id) * 7 % 5 * slowest)
                if is_bad(id):
                    raise ValueError(f"bad {id}")
                chains[key] = link(before, id)
                shared[group] = str(in_group + 1)
                yield f"{id} {chains[key]}"

        app.agent(
            inputs, sink=[out], concurrency=count, order="key" if by_key else None,
            on_error="dead_letter",
        )(work)  # fmt: skip
        return app

    def judge(seen: Seen) -> Iterator[str]:
        expected: dict[str, list[str]] = defaultdict(list)
        chains: dict[str, str] = {}
        shared: dict[str, int] = defaultdict(int)
        bad: dict[str, list[str]] = defaultdict(list)
        for record in seen.of("in"):
            id = record.value or ""
            if is_bad(id):
                bad[record.key].append(id)
                continue
            chains[record.key] = link(chains.get(record.key, ""), id)
            expected[record.key].append(f"{id} {chains[record.key]}")
            shared[group_of(record.key, id)] += 1
        counts = {group: str(number) for group, number in shared.items()}
        yield from differences("S8 shared row", counts, seen.table("shared"))
        letters = {key: sorted(map(str, ids)) for key, ids in seen.by_key(LETTERS).items()}
        yield from differences(
            "S11 dead letters of", {key: sorted(ids) for key, ids in bad.items()}, letters
        )
        if by_key:
            yield from differences("S7 outputs of", dict(expected), seen.by_key("out"))
            yield from differences("S8 table row", chains, seen.table("chains"))
        else:
            yield from in_some_order(expected, seen)

    feeds = numbered(rng, "in", rng.randint(20, 100))
    return Scenario("lanes", declare, feeds, judge, ("out", LETTERS))


LETTERS = "sim-dead-letters"


def in_some_order(expected: dict[str, list[str]], seen: Seen) -> Iterator[str]:
    """Each event once, and the chain of a key in the order in which its events were done."""
    rows = seen.table("chains")
    for key, told in seen.by_key("out").items():
        ids = [str(each).split()[0] for each in told]
        wanted = [each.split()[0] for each in expected[key]]
        yield from differences(f"S7 ids of {key}", sorted(wanted), sorted(ids))
        chain, done = "", []
        for id in ids:
            chain = link(chain, id)
            done.append(f"{id} {chain}")
        yield from differences(f"S7 chain of {key}", done, told)
        yield from differences(f"S8 row of {key}", chain, rows.get(key))


def takes(rng: random.Random) -> Scenario:
    """Several events per unit, as many as come within a while."""
    size, within = rng.randint(2, 9), rng.choice([0.05, 0.5, 2.0])

    def declare(settings: dict[str, float]) -> fs.App:
        app = fs.App("sim", **settings)  # type: ignore[arg-type]
        inputs = app.topic("in", key_type=str, value_type=str, partitions=PARTITIONS)
        out = app.topic("out", key_type=str, value_type=str, partitions=PARTITIONS)
        chains = app.Table("chains", value_type=str, default=str)

        @app.agent(inputs)
        async def gather(stream: fs.Stream[str]) -> None:
            async for events in stream.take_events(size, within):
                for event in events:
                    key = str(event.key)
                    chains[key] = link(chains[key], event.value)
                    await out.send(key=key, value=f"{event.value} {chains[key]}")

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

    return Scenario("takes", declare, numbered(rng, "in", rng.randint(20, 100)), judge, ("out",))


def standbys(rng: random.Random) -> Scenario:
    """The chains of `aggregate`, beside workers that keep copies of them and take over."""
    scenario = aggregate(rng)
    chosen: dict[str, Any] = {
        "standby_replicas": rng.choice([1, 1, 2]),
        "acceptable_recovery_lag": rng.choice([0, 10, 10_000]),
        "max_warmup_replicas": rng.choice([1, 2]),
        "probing_interval": rng.choice([1.0, 60.0]),
    }
    plain = scenario.declare

    def declare(settings: dict[str, float]) -> fs.App:
        app = plain(settings)
        app.settings = dataclasses.replace(app.settings, **chosen)
        return app

    scenario.kind, scenario.declare = "standbys", declare
    return scenario


def crontab(rng: random.Random) -> Scenario:
    """A function that runs every other second, wherever its row is."""
    feeds = numbered(rng, "in", 10)

    def declare(settings: dict[str, float]) -> fs.App:
        app = fs.App("sim", **settings)  # type: ignore[arg-type]
        inputs = app.topic("in", key_type=str, value_type=str, partitions=PARTITIONS)
        ticks = app.topic("ticks", key_type=str, value_type=str, partitions=1)

        @app.agent(inputs)
        async def read(stream: fs.Stream[str]) -> None:
            async for _ in stream:
                pass

        @app.crontab(f"* * * * * */{CRON_S}")
        async def tick() -> None:
            event = fs.current_event()
            assert event is not None
            await ticks.send(key="tick", value=str(round(event.timestamp)))

        return app

    def judge(seen: Seen) -> Iterator[str]:
        told = [int(record.value or 0) for record in seen.of("ticks")]
        if any(at % CRON_S for at in told):
            yield f"S12 a tick at no instant of the crontab: {told}"
        if any(later <= one for one, later in itertools.pairwise(told)):
            yield f"S12 ticks twice or out of order: {told}"
        last = told[-WATCHED_S // CRON_S :]
        if len(last) < WATCHED_S // CRON_S or any(
            later - one != CRON_S for one, later in itertools.pairwise(last)
        ):
            yield f"S12 ticks left out while all was well: {last}"

    return Scenario("crontab", declare, feeds, judge, ("ticks",), quiet_s=WATCHED_S + LOST_S)


def java_place(key: str) -> int:
    """The partition of a key as apps choose it, where another partition means another row."""
    return partition_for_key(key.encode(), PARTITIONS)


def foreign_join(rng: random.Random) -> Scenario:
    """Each order names a customer; both change and go: in the end each was told as both are."""
    how = rng.choice(["inner", "left"])
    feeds = []
    for number in range(rng.randint(20, 60)):
        if rng.random() < 0.6:
            key = f"o{rng.randrange(5)}"
            value = None if rng.random() < 0.2 else f"c{rng.randrange(3)} {number}"
            feeds.append(Feed("orders", java_place(key), key, value, number))
        else:
            key = f"c{rng.randrange(3)}"
            value = None if rng.random() < 0.25 else f"{key} {number}"
            feeds.append(Feed("customers", java_place(key), key, value, number))

    def declare(settings: dict[str, float]) -> fs.App:
        app = fs.App("sim", **settings)  # type: ignore[arg-type]
        orders, customers = (
            app.topic(name, key_type=str, value_type=str, partitions=PARTITIONS)
            for name in ("orders", "customers")
        )
        out = app.topic("out", key_type=str, value_type=str, partitions=PARTITIONS)
        left, right = app.table(orders, name="o"), app.table(customers, name="c")
        joined: Any = app.join(left, right, on=lambda order: order.split()[0], how=how)  # type: ignore[call-overload]

        @app.agent(joined, sink=[out])
        async def told(changes: fs.Stream[Any]) -> AsyncIterator[str]:
            async for pair in changes:
                yield "gone" if pair is None else f"{pair.left}/{pair.right or '-'}"

        return app

    def judge(seen: Seen) -> Iterator[str]:
        rows: dict[str, dict[str, str]] = {"orders": {}, "customers": {}}
        for topic, kept in rows.items():
            for record in seen.of(topic):
                kept.pop(record.key, None)
                if record.value is not None:
                    kept[record.key] = record.value
        expected = {}
        for key, order in rows["orders"].items():
            customer = rows["customers"].get(order.split()[0])
            if customer or how == "left":
                expected[key] = f"{order}/{customer or '-'}"
        told = {key: values[-1] for key, values in seen.by_key("out").items()}
        found = {key: value for key, value in told.items() if value != "gone"}
        yield from differences("S8 join of", expected, found)
        for key, values in seen.by_key("out").items():
            # A right row that came and went untold may leave its order to be told once more.
            pairs = [value for value in values if value != "gone" and not str(value).endswith("/-")]
            if len({*pairs}) != len(pairs):
                yield f"S12 join of {key!r}: told again: {values}"
            for left, right in (str(v).split("/") for v in values if v != "gone"):
                if right not in ("-", *_versions(seen, left.split()[0])):
                    yield f"S7 join of {key!r}: {left!r} was told with {right!r}"

    return Scenario("foreign_join", declare, feeds, judge, ("out",), quiet_s=LOST_S)


def _versions(seen: Seen, customer: str) -> list[str | None]:
    """All that a customer ever was."""
    return [record.value for record in seen.of("customers") if record.key == customer]
