"""Reshaping: values under another key, by way of a topic, and values that were seen before."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import flowstream as fs
from tests.checkers.history import Anomaly
from tests.checkers.stream import chain
from tests.crash.kinds.kind import (
    KEYS,
    Kind,
    Logs,
    Sent,
    compare,
    compare_in_order,
    grouped,
    watermark,
)
from tests.crash.kinds.windows import GRACE_MS

GROUPS = 7
HORIZON_MS = 20_000
SIZE_MS = 10_000


def group_of(event: Any) -> str:
    """The new key of an event."""
    return f"g{event['n'] % GROUPS}"


class Regrouped(Kind):
    """Several values in a unit, under another key: a chain of ids."""

    name = "regrouped"
    late = 0.06

    @property
    def tables(self) -> tuple[str, ...]:
        """The chains."""
        return (f"{self.name}-rows",)

    def declare(self, app: fs.App) -> None:
        """One agent."""
        rows = app.Table(self.tables[0], value_type=str, default=str, partitions=self.partitions)
        out = self.sink(app)

        async def link(stream: fs.Stream[Any]) -> None:
            values = stream.group_by(group_of, key_type=str)
            async for events in values.items().take(4, within=0.03):
                for key, event in events:
                    rows[key] = chain(rows[key], event["id"])
                    await out.send(key=key, value=[event["id"], rows[key]])

        app.agent(self.source(app), name=self.name)(link)

    def judge(self, logs: Logs) -> list[Anomaly]:
        """S7: each once, in the order of its partition; S9: the chain is that of the outputs."""
        wanted, found = defaultdict(list), defaultdict(list)
        origin: dict[str, int] = {}
        for record in logs.of(self.inputs[0]):
            id = record.value["id"]
            origin[id] = record.partition
            wanted[record.partition, group_of(record.value)].append(id)
        ends: dict[Any, str] = {}
        anomalies = []
        for record in logs.of(self.outputs[0]):
            id, link = record.value
            place = (record.partition, record.key)
            found[origin.get(id), record.key].append(id)
            if chain(ends.get(place, ""), id) != link:
                evidence = f"{self.name} {place}: {id} does not follow"
                anomalies.append(Anomaly("torn unit", "S9", evidence))
            ends[place] = link
        table = logs.table(self.tables[0], is_text=True)
        return [
            *anomalies,
            *compare_in_order(f"{self.name}: outputs", wanted, found),
            *compare(f"{self.name}: rows", ends.items(), table.items(), "S8"),
        ]


class Through(Kind):
    """A topic of the app's own between two halves of an agent, under the same keys."""

    name = "through"
    late = 0.06

    def declare(self, app: fs.App) -> None:
        """One agent."""
        rows = app.Table(
            f"{self.name}-rows", value_type=str, default=str, partitions=self.partitions
        )
        between = self.source(app, f"{self.name}-between")

        async def link(stream: fs.Stream[Any]) -> AsyncIterator[Any]:
            async for key, event in stream.filter(lambda e: e["n"] % 5).through(between).items():
                rows[key] = chain(rows[key], event["id"])
                yield [event["id"], rows[key]]

        app.agent(self.source(app), name=self.name, sink=[self.sink(app)])(link)

    def judge(self, logs: Logs) -> list[Anomaly]:
        """S7: the outputs of each key are the fold of its inputs."""
        wanted: dict[Any, list[Any]] = defaultdict(list)
        links: dict[Any, str] = defaultdict(str)
        for record in logs.of(self.inputs[0]):
            if record.value["n"] % 5:
                place, id = (record.partition, record.key), record.value["id"]
                links[place] = chain(links[place], id)
                wanted[place].append([id, links[place]])
        return compare_in_order(self.name, wanted, grouped(logs.of(self.outputs[0])))


class RegroupedWindows(Kind):
    """Windows behind a repartition topic: the watermark crosses it, and nothing is late."""

    name = "regrouped-windows"

    def declare(self, app: fs.App) -> None:
        """One agent."""

        async def told(stream: fs.Stream[Any]) -> AsyncIterator[Any]:
            values = stream.group_by(group_of, key_type=str)
            async for window in values.tumbling(10, grace=2, late="dead_letter").collect("id"):
                yield [round(window.start * 1000), sorted(window.value)]

        app.agent(self.source(app), name=self.name, sink=[self.sink(app)])(told)

    def judge(self, logs: Logs) -> list[Anomaly]:
        """S12: each window once, with all that belongs in it."""
        sources = logs.partitions(self.inputs[0])
        over = watermark(*sources.values()) if sources else 0
        rows: dict[tuple[str, int], list[str]] = defaultdict(list)
        for records in sources.values():
            for record in records:
                start = record.at_ms - record.at_ms % SIZE_MS
                rows[group_of(record.value), start].append(record.value["id"])
        wanted = [
            (key, start, sorted(ids))
            for (key, start), ids in rows.items()
            if start + SIZE_MS + GRACE_MS <= over
        ]
        found = [(record.key, *record.value) for record in logs.of(self.outputs[0])]
        return compare(f"{self.name}: windows", wanted, found, "S12") + compare(
            f"{self.name}: late events", [], logs.dead_letters(self.name), "S11"
        )


class Dedupe(Kind):
    """Ids that come again within a horizon, and after it."""

    name = "dedupe"

    def __init__(self) -> None:
        super().__init__()
        self._recent: list[Sent] = []

    def feed(self, rng: random.Random) -> list[Sent]:
        """A new event, or a former one at another time."""
        key, at_ms = f"k{rng.randrange(KEYS)}", self.instant(rng)
        if self._recent and rng.random() < 0.4:
            sent = rng.choice(self._recent)._replace(at_ms=at_ms)
        else:
            sent = Sent(self.inputs[0], key, self.body(rng), at_ms)
        self._recent = [*self._recent[-60:], sent]
        return [sent]

    def declare(self, app: fs.App) -> None:
        """One agent."""

        async def once(stream: fs.Stream[Any]) -> AsyncIterator[Any]:
            async for event in stream.dedupe(HORIZON_MS / 1000, by=lambda event: event["id"]):
                yield event["id"]

        app.agent(self.source(app), name=self.name, sink=[self.sink(app)])(once)

    def judge(self, logs: Logs) -> list[Anomaly]:
        """S7: an id comes again only when it is a horizon away."""
        wanted: dict[Any, list[Any]] = defaultdict(list)
        seen: dict[tuple[int, str], int] = {}
        for record in logs.of(self.inputs[0]):
            place, id = (record.partition, record.key), record.value["id"]
            first = seen.get((record.partition, id))
            if first is not None and abs(record.at_ms - first) < HORIZON_MS:
                continue
            seen[record.partition, id] = max(record.at_ms, first or 0)
            wanted[place].append(id)
        return compare_in_order(self.name, wanted, grouped(logs.of(self.outputs[0])))
