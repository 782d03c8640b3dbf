"""Events of one partition side by side, and effects outside: a SQLite file."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import flowstream as fs
from tests.checkers.history import Anomaly
from tests.checkers.stream import chain
from tests.crash.kinds.kind import Kind, Logs, compare, compare_in_order, grouped

DIRECTORY = "FLOWSTREAM_TEST_DIRECTORY"
"""The variable that says where a run keeps its files."""
SIDE_BY_SIDE = 5
LONGEST_S = 0.03
GROUPS = 4
chance = random.Random()


class Ordered(Kind):
    """Five at a time, those of a key one after the other; and rows that several keys share."""

    name = "side-by-side"
    order: Literal["key"] | None = "key"

    @property
    def tables(self) -> tuple[str, ...]:
        """A chain per key, and how many events each group of keys had."""
        return (f"{self.name}-rows", f"{self.name}-shared")

    def declare(self, app: fs.App) -> None:
        """One agent, with an await between what it reads and what it writes."""
        rows, shared = (
            app.Table(name, value_type=dict[str, Any], partitions=self.partitions)
            for name in self.tables
        )

        async def link(stream: fs.Stream[Any]) -> AsyncIterator[Any]:
            async for key, event in stream.items():
                group = f"g{event['n'] % GROUPS}"
                before = rows.get(key) or {"chain": "", "count": 0}
                in_group = (shared.get(group) or {"count": 0})["count"]
                await asyncio.sleep(chance.random() * LONGEST_S)
                after = {
                    "chain": chain(before["chain"], event["id"]), "count": before["count"] + 1
                }  # fmt: skip
                rows[key], shared[group] = after, {"count": in_group + 1}
                yield [event["id"], after["chain"], after["count"]]

        app.agent(
            self.source(app), name=self.name, sink=[self.sink(app)], concurrency=SIDE_BY_SIDE,
            order=self.order,
        )(link)  # fmt: skip

    def judge(self, logs: Logs) -> list[Anomaly]:
        """S7: the outputs of a key are the fold of its inputs; S8: no update of a row is lost."""
        wanted: dict[Any, list[Any]] = defaultdict(list)
        groups: dict[Any, int] = defaultdict(int)
        for record in logs.of(self.inputs[0]):
            wanted[record.partition, record.key].append(record.value["id"])
            groups[record.partition, f"g{record.value['n'] % GROUPS}"] += 1
        told = grouped(logs.of(self.outputs[0]))
        found = {place: [each[0] for each in values] for place, values in told.items()}
        rows, shared = (logs.table(name) for name in self.tables)
        anomalies = [
            *self._judge_order(wanted, found),
            *compare(
                f"{self.name}: groups", groups.items(),
                [(place, row["count"]) for place, row in shared.items()], "S8",
            ),
        ]  # fmt: skip
        for place, values in told.items():
            link = ""
            for number, (id, made, count) in enumerate(values, 1):
                link = chain(link, id)
                if (made, count) != (link, number):
                    evidence = f"{self.name} {place}: {id} is {count}, not {number}"
                    anomalies.append(Anomaly("torn unit", "S9", evidence))
                    break
            if rows.get(place) != {"chain": link, "count": len(values)}:
                evidence = f"{self.name} {place}: {rows.get(place)}, not {link}"
                anomalies.append(Anomaly("row", "S8", evidence))
        return anomalies

    def _judge_order(self, wanted: dict[Any, list[Any]], found: Any) -> list[Anomaly]:
        return compare_in_order(f"{self.name}: outputs", wanted, found)


class Unordered(Ordered):
    """The same in whatever order."""

    name = "any-order"
    order = None

    def _judge_order(self, wanted: dict[Any, list[Any]], found: Any) -> list[Anomaly]:
        events = [(place, id) for place, ids in wanted.items() for id in ids]
        told = [(place, id) for place, ids in found.items() for id in ids]
        return compare(f"{self.name}: outputs", events, told)


class Outbox(Kind):
    """What an agent yields, put into a database."""

    name = "outbox"

    def declare(self, app: fs.App) -> None:
        """One agent, and an outbox as its sink."""
        rows = app.Table(
            f"{self.name}-rows", value_type=str, default=str, partitions=self.partitions
        )

        def store(db: sqlite3.Connection, events: list[fs.Event[Any]]) -> None:
            db.execute("CREATE TABLE IF NOT EXISTS stored (partition, key, id, link)")
            db.executemany(
                "INSERT INTO stored VALUES (?, ?, ?, ?)",
                [(event.partition, event.key, *event.value) for event in events],
            )

        async def link(stream: fs.Stream[Any]) -> AsyncIterator[Any]:
            async for key, event in stream.items():
                rows[key] = chain(rows[key], event["id"])
                yield [event["id"], rows[key]]

        box = app.outbox(self.sink(app), to=fs.SQLite(database()), name=f"{self.name}-store")(store)
        app.agent(self.source(app), name=self.name, sink=[box])(link)

    def judge(self, logs: Logs) -> list[Anomaly]:
        """S7, S9: the topic is the fold of the inputs, and the database has it, each once."""
        wanted: dict[Any, list[Any]] = defaultdict(list)
        links: dict[Any, str] = defaultdict(str)
        for record in logs.of(self.inputs[0]):
            place, id = (record.partition, record.key), record.value["id"]
            links[place] = chain(links[place], id)
            wanted[place].append([id, links[place]])
        stored: dict[Any, list[Any]] = defaultdict(list)
        for partition, key, id, link in self.stored():
            stored[partition, key].append([id, link])
        told = grouped(logs.of(self.outputs[0]))
        return [
            *compare_in_order(f"{self.name}: outputs", wanted, told),
            *compare_in_order(f"{self.name}: database", wanted, stored, "S9"),
        ]

    def stored(self) -> list[Any]:
        """The rows of the database, in the order in which they were written."""
        if not database().exists():
            return []
        with closing(sqlite3.connect(database())) as db:
            try:
                return db.execute(
                    "SELECT partition, key, id, link FROM stored ORDER BY rowid"
                ).fetchall()
            except sqlite3.OperationalError:  # not made yet
                return []


def database() -> Path:
    """Where the outbox of this run is."""
    return Path(os.environ.get(DIRECTORY, ".")) / "outbox.db"
