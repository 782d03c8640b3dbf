"""Apps with the lesser guarantee: every event at least once. What is told again is no fault there;
what is lost, changes places when it is first told, or comes of no input is one.

Nothing fences a worker that was taken for dead and comes back: what it writes late stays (see
`docs/guide/exactly-once.md`), in changelogs, too. So rows are whole only where nobody comes back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import flowstream as fs
from tests.checkers.history import Anomaly
from tests.crash.kinds.kind import Kind, Logs, compare_in_order

LATE = ("zombie", "storm", "slow", "cut", "broker", "both", "abort")
"""Strikes after which what a worker sent may arrive when another one has its place."""


class AtLeastOnce(Kind):
    """The ids of each key so far, in a row of a table, told with every event."""

    name = "at-least-once"
    settings: ClassVar = {"processing_guarantee": "at_least_once"}
    lingers = True
    is_fenced = False
    late = 0.06

    def __init__(self) -> None:
        super().__init__()
        self._again = 0

    @property
    def tables(self) -> tuple[str, ...]:
        """The ids."""
        return (f"{self.name}-rows",)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many outputs were told again."""
        return {"outputs told again": self._again}

    def events(self, stream: fs.Stream[Any]) -> fs.Stream[tuple[Any, Any]]:
        """Keys and values, as the agent gets them."""
        return stream.items()

    def key_of(self, key: str | None, event: Any) -> str | None:
        """Under which key an event is told."""
        del event
        return key

    def declare(self, app: fs.App) -> None:
        """One agent."""
        rows = app.Table(self.tables[0], value_type=list[str], partitions=self.partitions)

        async def add(stream: fs.Stream[Any]) -> AsyncIterator[Any]:
            async for key, event in self.events(stream):
                rows[key] = [*(rows.get(key) or []), event["id"]]
                yield [event["id"], len(rows.get(key) or [])]

        app.agent(self.source(app), name=self.name, sink=[self.sink(app)])(add)

    def judge(self, logs: Logs) -> list[Anomaly]:
        """S7, without the half of it that this guarantee gives away; and S8 as far as it goes."""
        wanted, told = defaultdict(list), defaultdict(list)
        origin: dict[str, int] = {}
        for record in logs.of(self.inputs[0]):
            id, key = record.value["id"], self.key_of(record.key, record.value)
            origin[id] = record.partition
            wanted[record.partition, key].append((id, record.at_ms))
        for record in logs.of(self.outputs[0]):
            id, _ = record.value
            told[origin.get(id, -1), record.key].append((id, record.at_ms))
        firsts = {place: first(events) for place, events in told.items()}
        self._again = sum(map(len, told.values())) - sum(map(len, firsts.values()))
        anomalies = compare_in_order(f"{self.name}: outputs", wanted, firsts)
        rows: dict[Any, list[str]] = defaultdict(list)
        for (_, key), ids in logs.table(self.tables[0]).items():
            for id in first(ids):
                rows[origin.get(id, -1), key].append(id)
        ids_of = {place: [id for id, _ in events] for place, events in wanted.items()}
        return anomalies + self._judge_rows(ids_of, rows)

    def _judge_rows(
        self, wanted: Mapping[Any, list[str]], rows: Mapping[Any, list[str]]
    ) -> list[Anomaly]:
        """Nothing in a row comes of no input, nor out of its place."""
        kept = {
            place: [id for id in wanted.get(place, ()) if id in ids] for place, ids in rows.items()
        }
        return compare_in_order(f"{self.name}: rows", kept, rows, "S8")


class RegroupedAtLeastOnce(AtLeastOnce):
    """The same behind a topic of the app's own, under other keys."""

    name = "at-least-once-regrouped"

    def events(self, stream: fs.Stream[Any]) -> fs.Stream[tuple[Any, Any]]:
        """By the last digit."""
        return stream.group_by(lambda event: f"g{event['n'] % 7}", key_type=str).items()

    def key_of(self, key: str | None, event: Any) -> str | None:
        """That digit."""
        del key
        return f"g{event['n'] % 7}"


class KeptAtLeastOnce(AtLeastOnce):
    """The same where nobody comes back: no row lacks an event, either."""

    name = "at-least-once-kept"
    is_fenced = True
    spares = LATE

    def _judge_rows(
        self, wanted: Mapping[Any, list[str]], rows: Mapping[Any, list[str]]
    ) -> list[Anomaly]:
        return compare_in_order(f"{self.name}: rows", wanted, rows, "S8")


def first(events: Iterable[Any]) -> Sequence[Any]:
    """Each where it came first."""
    return list(dict.fromkeys(events))
