"""Tables: state per key with deletes, sets, rows that expire, changes, two tables side by side."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Literal

import flowstream as fs
from tests.checkers.history import Anomaly
from tests.checkers.stream import chain
from tests.crash.kinds.kind import (
    KEYS,
    Kind,
    Logs,
    Record,
    Sent,
    compare,
    compare_in_order,
    grouped,
)

TTL_MS = 8_000


class Aggregate(Kind):
    """A chain of ids per key, and beside it, on the same topic, a set per key. Both are deleted."""

    name = "aggregate"
    late = 0.06

    @property
    def outputs(self) -> tuple[str, ...]:
        """One topic per agent."""
        return (f"{self.name}-out", f"{self.name}-sets")

    @property
    def tables(self) -> tuple[str, ...]:
        """The chains."""
        return (f"{self.name}-rows",)

    def declare(self, app: fs.App) -> None:
        """Two agents on one topic, in lockstep."""
        source = self.source(app)
        rows = app.Table(self.tables[0], value_type=dict[str, Any], partitions=self.partitions)
        sets = app.SetTable(f"{self.name}-members", value_type=int, partitions=self.partitions)

        async def link(stream: fs.Stream[Any]) -> AsyncIterator[Any]:
            async for key, event in stream.items():
                if event["n"] % 11 == 0:
                    rows.pop(key, None)
                    yield [event["id"], None, ""]
                    continue
                before = rows.get(key) or {"chain": ""}
                nonce = os.urandom(6).hex()
                after = {"chain": chain(before["chain"], event["id"]), "nonce": nonce}
                rows[key] = after
                yield [event["id"], after["chain"], nonce]

        async def gather(stream: fs.Stream[Any]) -> AsyncIterator[Any]:
            async for key, event in stream.items():
                member = event["n"] % 9
                if event["n"] % 11 == 0:
                    sets[key].clear()
                elif event["n"] % 3:
                    sets[key].add(member)
                else:
                    sets[key].discard(member)
                yield [event["id"], sorted(sets[key])]

        app.agent(source, name=self.name, sink=[self.sink(app)])(link)
        app.agent(source, name=f"{self.name}-sets", sink=[self.sink(app, self.outputs[1])])(gather)

    def judge(self, logs: Logs) -> list[Anomaly]:
        """S7: outputs are the fold of the inputs; S8: so is the table; S9: they agree."""
        wanted: dict[Any, list[Any]] = defaultdict(list)
        sets: dict[Any, list[Any]] = defaultdict(list)
        links: dict[Any, str] = {}
        members: dict[Any, set[int]] = defaultdict(set)
        for record in logs.of(self.inputs[0]):
            place, event = (record.partition, record.key), record.value
            if event["n"] % 11 == 0:
                links.pop(place, None)
                members[place].clear()
            else:
                links[place] = chain(links.get(place, ""), event["id"])
                change = members[place].add if event["n"] % 3 else members[place].discard
                change(event["n"] % 9)
            wanted[place].append([event["id"], links.get(place)])
            sets[place].append([event["id"], sorted(members[place])])
        told = grouped(logs.of(self.outputs[0]))
        found = {place: [each[:2] for each in values] for place, values in told.items()}
        nonces = {place: values[-1][2] for place, values in told.items() if values[-1][2]}
        table = logs.table(self.tables[0])
        rows = {place: row["chain"] for place, row in table.items()}
        kept = {place: row["nonce"] for place, row in table.items()}
        return [
            *compare_in_order(f"{self.name}: outputs", wanted, found),
            *compare_in_order(f"{self.name}: sets", sets, grouped(logs.of(self.outputs[1]))),
            *compare(f"{self.name}: rows", links.items(), rows.items(), "S8"),
            *compare(f"{self.name}: nonces", nonces.items(), kept.items(), "S9"),
        ]


class Expiring(Kind):
    """Rows that end some time after their last write."""

    name = "expiring"
    late = 0.06

    def declare(self, app: fs.App) -> None:
        """One agent."""
        rows = app.Table(
            f"{self.name}-rows", value_type=list[str], ttl=TTL_MS / 1000, partitions=self.partitions
        )

        async def extend(stream: fs.Stream[Any]) -> AsyncIterator[Any]:
            async for key, event in stream.items():
                rows[key] = [*(rows.get(key) or []), event["id"]][-5:]
                yield rows.get(key)

        app.agent(self.source(app), name=self.name, sink=[self.sink(app)])(extend)

    def judge(self, logs: Logs) -> list[Anomaly]:
        """S7: a row that is over is not seen, by the event time of its partition."""
        wanted: dict[Any, list[Any]] = defaultdict(list)
        for number, records in logs.partitions(self.inputs[0]).items():
            rows: dict[Any, tuple[int, list[str]]] = {}
            now_ms = 0
            for record in records:
                now_ms = max(now_ms, record.at_ms)
                at_ms, ids = rows.get(record.key, (0, []))
                ids = ids if at_ms + TTL_MS > now_ms else []
                if record.at_ms + TTL_MS > now_ms:  # else it is too late to be written
                    ids = [*ids, record.value["id"]][-5:]
                    rows[record.key] = (record.at_ms, ids)
                wanted[number, record.key].append(ids or None)
        return compare_in_order(self.name, wanted, grouped(logs.of(self.outputs[0])))


class TwoTables(Kind):
    """Two tables of topics: what changes in one, and both side by side."""

    name = "two-tables"
    how: Literal["inner", "outer"] = "inner"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Left and right."""
        return (f"{self.name}-left", f"{self.name}-right")

    @property
    def outputs(self) -> tuple[str, ...]:
        """Changes, and both sides."""
        return (f"{self.name}-changed", f"{self.name}-joined")

    def feed(self, rng: random.Random) -> list[Sent]:
        """A row, or that there is none."""
        key, at_ms = f"k{rng.randrange(KEYS)}", self.instant(rng)
        value = None if rng.random() < 0.3 else self.body(rng)
        return [Sent(self.inputs[rng.random() < 0.5], key, value, at_ms)]

    def declare(self, app: fs.App) -> None:
        """One agent on the changes of the left table, one on both."""
        left, right = (
            app.table(self.source(app, topic), name=topic.removesuffix("-in"))
            for topic in self.inputs
        )

        async def changed(stream: fs.Stream[Any]) -> AsyncIterator[Any]:
            async for row in stream:
                yield [row and row["id"]]

        async def joined(stream: fs.Stream[Any]) -> AsyncIterator[Any]:
            async for pair in stream:
                yield [None if pair is None else [side and side["id"] for side in pair]]

        app.agent(left.changes, name=f"{self.name}-c", sink=[self.sink(app, self.outputs[0])])(
            changed
        )
        both = app.join(left, right, how=self.how, name=f"{self.name}-both")
        app.agent(both, name=f"{self.name}-j", sink=[self.sink(app, self.outputs[1])])(joined)

    def judge(self, logs: Logs) -> list[Anomaly]:
        """S12: each change is told once, perhaps with a later one of its key; the last is."""
        lefts, rights = (versions(logs.of(topic)) for topic in self.inputs)
        anomalies: list[Anomaly] = []
        told = {k: [v[0] for v in vs] for k, vs in grouped(logs.of(self.outputs[0])).items()}
        for key in sorted({*lefts, *told}):
            rows, seen = lefts.get(key, [None])[1:], told.get(key, [])
            if rows and seen[-1:] != rows[-1:]:
                anomalies.append(Anomaly("loss", "S12", f"{self.name} {key}: change {rows[-1]}"))
            if not follows_strictly(seen, rows):
                evidence = f"{self.name} {key}: told {seen} of {rows}"
                anomalies.append(Anomaly("told again", "S12", evidence))
        pairs = {k: [v[0] for v in vs] for k, vs in grouped(logs.of(self.outputs[1])).items()}
        for key in sorted({*lefts, *rights, *pairs}):
            sides = lefts.get(key, [None]), rights.get(key, [None])
            anomalies += self._judge_pairs(key, pairs.get(key, []), *sides)
        return anomalies

    def _judge_pairs(
        self, key: Any, told: Sequence[Any], left: Sequence[Any], right: Sequence[Any]
    ) -> list[Anomaly]:
        what = f"{self.name} {key}"
        last = [left[-1], right[-1]]
        is_there = None not in last if self.how == "inner" else last != [None, None]
        found = []
        if (told[-1] if told else None) != (last if is_there else None):
            found.append(Anomaly("loss", "S12", f"{what}: joined {last}, told {told[-1:]}"))
        if not self._may_tell(told, left, right):
            evidence = f"{what}: joined {told} of {left} and {right}"
            found.append(Anomaly("told again, or went back", "S12", evidence))
        return found

    def _may_tell(self, told: Sequence[Any], left: Sequence[Any], right: Sequence[Any]) -> bool:
        """Whether each result is of sides that are there at once, one of them newer than before.

        Follows every way to place them; of places that are reached, the first ones reach most.
        """
        places, before = {(0, 0)}, None
        for pair in told:
            if pair is None and before is None:
                return False  # what was never told is not taken back
            wanted = (pair,) if pair is not None else self._gone(left, right)
            reached = {
                place
                for at in places
                for one, two in wanted
                for place in steps(at, positions(left, one), positions(right, two))
            }
            places = {
                (i, j) for i, j in reached
                if not any(a <= i and b <= j and (a, b) != (i, j) for a, b in reached)
            }  # fmt: skip
            before = pair
            if not places:
                return False
        return True

    def _gone(self, left: Sequence[Any], right: Sequence[Any]) -> list[tuple[Any, Any]]:
        """Sides without a result."""
        if self.how == "outer":
            return [(None, None)]
        return [(None, each) for each in {*right}] + [(each, None) for each in {*left}]


class TwoTablesOuter(TwoTables):
    """The same for keys that one of them has."""

    name = "two-tables-outer"
    how = "outer"


def positions(rows: Sequence[Any], value: Any) -> list[int]:
    """Where a side has a value."""
    return [at for at, row in enumerate(rows) if row == value]


def steps(at: tuple[int, int], left: list[int], right: list[int]) -> Iterator[tuple[int, int]]:
    """The nearest places from `at` on, but for `at` itself."""
    i, j = (
        next((n for n in side if n >= here), None)
        for here, side in zip(at, (left, right), strict=True)
    )
    if i is None or j is None:
        return
    if (i, j) != at:
        yield i, j
        return
    yield from ((n, j) for n in left if n > i)
    yield from ((i, n) for n in right if n > j)


def versions(records: Sequence[Record]) -> dict[tuple[int, str], list[str | None]]:
    """The ids that each key had, from None on; deleting what is not there changes nothing."""
    found: dict[tuple[int, str], list[str | None]] = defaultdict(lambda: [None])
    for record in records:
        assert record.key is not None
        rows = found[record.partition, record.key]
        id = None if record.value is None else record.value["id"]
        if id is not None or rows[-1] is not None:
            rows.append(id)
    return found


def follows_strictly(seen: Sequence[Any], rows: Sequence[Any]) -> bool:
    """Whether what was seen are some of the rows, in their order, each at most once."""
    left = iter(rows)
    return all(any(row == each for row in left) for each in seen)
