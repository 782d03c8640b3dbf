"""Joins: streams with streams, streams with tables as they were and as they are.

Two topics of one app bring their events in no order between them, but none of them later than it
may: what meets is the same whoever is read first.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any, Literal

import flowstream as fs
from tests.checkers.history import Anomaly
from tests.crash.kinds.kind import (
    KEYS,
    Kind,
    Logs,
    Record,
    Sent,
    compare,
    compare_in_order,
    watermark,
)

BEFORE_MS, AFTER_MS, GRACE_MS = 1_500, 3_000, 1_000
CENTURY_S = 3_000_000_000


class TwoSides(Kind):
    """A kind that is fed on two sides."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Left and right."""
        return (f"{self.name}-left", f"{self.name}-right")

    def feed(self, rng: random.Random) -> list[Sent]:
        """An event on either side."""
        key, at_ms = f"k{rng.randrange(KEYS)}", self.instant(rng)
        return [Sent(self.inputs[rng.random() < 0.5], key, self.body(rng), at_ms)]


class StreamJoin(TwoSides):
    """Events of two streams that meet, and those that met nobody."""

    how: Literal["inner", "left", "outer"]

    def declare(self, app: fs.App) -> None:
        """One agent."""
        left, right = (self.source(app, name) for name in self.inputs)

        async def meet(stream: fs.Stream[Any]) -> AsyncIterator[Any]:
            pairs = stream.join(right, within=(1.5, 3), how=self.how, grace=1)
            async for pair in pairs:
                yield [side and side["id"] for side in pair]

        app.agent(left, name=self.name, sink=[self.sink(app)])(meet)

    def judge(self, logs: Logs) -> list[Anomaly]:
        """S7: everyone meets everyone, once; S12: who met nobody is told, once."""
        lefts, rights = (logs.partitions(topic) for topic in self.inputs)
        wanted: list[tuple[int, str | None, int, list[str | None]]] = []
        for number in {*lefts, *rights}:
            wanted += self._partition(number, lefts.get(number, []), rights.get(number, []))
        found = [(r.partition, r.key, r.at_ms, r.value) for r in logs.of(self.outputs[0])]
        return compare(f"{self.name}: pairs", wanted, found)

    def _partition(
        self, number: int, lefts: list[Record], rights: list[Record]
    ) -> list[tuple[int, str | None, int, list[str | None]]]:
        found: list[tuple[int, str | None, int, list[str | None]]] = []
        over, met = watermark(lefts, rights), set()
        by_key: dict[str | None, list[Record]] = defaultdict(list)
        for right in rights:
            by_key[right.key].append(right)
        for left in lefts:
            for right in by_key[left.key]:
                if left.at_ms - BEFORE_MS <= right.at_ms <= left.at_ms + AFTER_MS:
                    ids = [left.value["id"], right.value["id"]]
                    found.append((number, left.key, max(left.at_ms, right.at_ms), ids))
                    met |= {left[:3], right[:3]}
        lone_left = lefts if self.how != "inner" else []
        lone_right = rights if self.how == "outer" else []
        found += [
            (number, r.key, r.at_ms, [r.value["id"], None])
            for r in lone_left
            if r[:3] not in met and r.at_ms + AFTER_MS + GRACE_MS + 1 <= over
        ]
        found += [
            (number, r.key, r.at_ms, [None, r.value["id"]])
            for r in lone_right
            if r[:3] not in met and r.at_ms + BEFORE_MS + GRACE_MS + 1 <= over
        ]
        return found


class Inner(StreamJoin):
    """Pairs."""

    name = "join-inner"
    how = "inner"


class Left(StreamJoin):
    """Pairs, and who met nobody on the left."""

    name = "join-left"
    how = "left"


class Outer(StreamJoin):
    """Pairs, and who met nobody."""

    name = "join-outer"
    how = "outer"


class WithTable(TwoSides):
    """A stream on the left, the topic of a table on the right, where keys are deleted, too."""

    def feed(self, rng: random.Random) -> list[Sent]:
        """Fewer changes than events."""
        key, at_ms = f"k{rng.randrange(KEYS)}", self.instant(rng)
        if rng.random() < 0.6:
            return [Sent(self.inputs[0], key, self.body(rng), at_ms)]
        value = None if rng.random() < 0.15 else self.body(rng)
        return [Sent(self.inputs[1], key, value, at_ms)]


class AsOf(WithTable):
    """Each event with the row of its key as it was at the event's time."""

    name = "as-of"

    def declare(self, app: fs.App) -> None:
        """One agent, and the table's own."""
        left, right = (self.source(app, name) for name in self.inputs)
        rows = app.table(right, name=f"{self.name}-rows", history=CENTURY_S)

        async def look(stream: fs.Stream[Any]) -> AsyncIterator[Any]:
            async for pair in stream.join(rows, as_of=True, how="left", grace=1):
                yield [side and side["id"] for side in pair]

        app.agent(left, name=self.name, sink=[self.sink(app)])(look)

    def judge(self, logs: Logs) -> list[Anomaly]:
        """S7: the newest version that is not after the event; of equal ones the one read last."""
        lefts, rights = (logs.partitions(topic) for topic in self.inputs)
        wanted, found = [], []
        for number, events in lefts.items():
            changes = rights.get(number, [])
            over = watermark(events, changes)
            versions: dict[str | None, list[Record]] = defaultdict(list)
            for change in changes:
                versions[change.key].append(change)
            for event in events:
                if event.at_ms + GRACE_MS + 1 > over:
                    continue
                before = [v for v in versions[event.key] if v.at_ms <= event.at_ms]
                best = max(before, key=lambda v: (v.at_ms, v.offset), default=None)
                row = None if best is None or best.value is None else best.value["id"]
                wanted.append((number, event.key, event.at_ms, [event.value["id"], row]))
        for record in logs.of(self.outputs[0]):
            found.append((record.partition, record.key, record.at_ms, record.value))
        return compare(f"{self.name}: looked up", wanted, found)


class Lookup(WithTable):
    """Each event with the row of its key as it is."""

    name = "lookup"

    def declare(self, app: fs.App) -> None:
        """One agent, and the table's own."""
        left, right = (self.source(app, name) for name in self.inputs)
        rows = app.table(right, name=f"{self.name}-rows")

        async def look(stream: fs.Stream[Any]) -> AsyncIterator[Any]:
            async for pair in stream.join(rows, how="left"):
                yield [side and side["id"] for side in pair]

        app.agent(left, name=self.name, sink=[self.sink(app)])(look)

    @property
    def tables(self) -> tuple[str, ...]:
        """The table."""
        return (f"{self.name}-rows",)

    def judge(self, logs: Logs) -> list[Anomaly]:
        """S7: every event once, in order; a row is never older than one that was seen before."""
        wanted: dict[Any, list[str]] = defaultdict(list)
        told: dict[Any, list[str]] = defaultdict(list)
        seen: dict[Any, list[str | None]] = defaultdict(list)
        for record in logs.of(self.inputs[0]):
            wanted[record.partition, record.key].append(record.value["id"])
        for record in logs.of(self.outputs[0]):
            told[record.partition, record.key].append(record.value[0])
            seen[record.partition, record.key].append(record.value[1])
        versions: dict[Any, list[str | None]] = defaultdict(lambda: [None])
        for record in logs.of(self.inputs[1]):
            id = None if record.value is None else record.value["id"]
            versions[record.partition, record.key].append(id)
        anomalies = compare_in_order(f"{self.name}: events", wanted, told)
        for key, rows in seen.items():
            if not follows(rows, versions[key]):
                evidence = f"{self.name} {key}: saw {rows} of {versions[key]}"
                anomalies.append(Anomaly("went back", "S8", evidence))
        last = {key: ids[-1] for key, ids in versions.items() if ids[-1] is not None}
        table = {key: row["id"] for key, row in logs.table(self.tables[0]).items()}
        return anomalies + compare(f"{self.name}: rows", last.items(), table.items(), "S8")


def follows(seen: list[Any], versions: list[Any]) -> bool:
    """Whether what was seen only ever went forward in the versions, some perhaps several times."""
    at = 0
    for each in seen:
        while at < len(versions) and versions[at] != each:
            at += 1
        if at == len(versions):
            return False
    return True
