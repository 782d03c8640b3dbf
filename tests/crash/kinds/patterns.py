"""Topics by a pattern, of which some come while the app is at work."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import flowstream as fs
from tests.checkers.history import Anomaly
from tests.checkers.stream import chain
from tests.crash.kinds.kind import (
    DISORDER_S,
    KEYS,
    Kind,
    Logs,
    Sent,
    compare,
    compare_in_order,
)

FIRST, MOST = 2, 6
"""Topics that are there when the app starts, and at most."""
COMES_AFTER = 40
"""Events until the first one comes; the next ones take longer and longer."""


class Pattern(Kind):
    """A chain of ids per key over every topic that matches, and how many each topic gave."""

    name = "pattern"

    def __init__(self) -> None:
        super().__init__()
        self._count = FIRST

    @property
    def inputs(self) -> tuple[str, ...]:
        """Those that are there by now."""
        return tuple(f"{self.name}-in-{number}" for number in range(self._count))

    @property
    def tables(self) -> tuple[str, ...]:
        """By key; and by topic, of each partition."""
        return (f"{self.name}-rows", f"{self.name}-topics")

    def declare(self, app: fs.App) -> None:
        """One agent."""
        every: fs.Topic[str, Any] = app.topic(
            pattern=f"{self.name}-in-.*", key_type=str, value_type=Any, out_of_orderness=DISORDER_S
        )
        rows, topics = (
            app.Table(name, value_type=dict[str, Any], partitions=self.partitions)
            for name in self.tables
        )

        async def link(stream: fs.Stream[Any]) -> AsyncIterator[Any]:
            async for event in stream.events():
                id, nonce = event.value["id"], os.urandom(6).hex()
                before = rows.get(event.key) or {"chain": ""}
                rows[event.key] = {"chain": chain(before["chain"], id), "nonce": nonce}
                had = topics.get(event.topic) or {"count": 0}
                topics[event.topic] = {"count": had["count"] + 1}
                yield [event.topic, id, rows[event.key]["chain"], nonce]

        app.agent(every, name=self.name, sink=[self.sink(app)])(link)

    def feed(self, rng: random.Random) -> list[Sent]:
        """An event for any of the topics, now and then for one that nobody has seen yet."""
        body = self.body(rng)
        is_time = self.fed >= COMES_AFTER * (self._count - FIRST + 1) ** 2
        if is_time and self._count < MOST:
            self._count += 1
            topic = self.inputs[-1]
        else:
            topic = rng.choice(self.inputs)
        return [Sent(topic, f"k{rng.randrange(KEYS)}", body, self.instant(rng))]

    def judge(self, logs: Logs) -> list[Anomaly]:
        """S7: each event once, those of a topic in order; S9: a key's outputs are one chain, whose
        end is its row; S8: and each topic's number is right.
        """
        wanted, found = defaultdict(list), defaultdict(list)
        numbers: dict[Any, int] = defaultdict(int)
        for topic in self.inputs:
            for record in logs.of(topic):
                wanted[topic, record.partition, record.key].append(
                    [record.value["id"], record.at_ms]
                )
                numbers[record.partition, topic] += 1
        anomalies = []
        ends: dict[Any, dict[str, str]] = {}
        for record in logs.of(self.outputs[0]):
            topic, id, link, nonce = record.value
            place = (record.partition, record.key)
            found[topic, *place].append([id, record.at_ms])
            if chain(ends.get(place, {"chain": ""})["chain"], id) != link:
                evidence = f"{self.name} {place}: {id} of {topic} does not follow"
                anomalies.append(Anomaly("torn unit", "S9", evidence))
            ends[place] = {"chain": link, "nonce": nonce}
        rows, topics = (logs.table(name) for name in self.tables)
        counted = [(place, row["count"]) for place, row in topics.items()]
        return [
            *anomalies,
            *compare_in_order(f"{self.name}: outputs", wanted, found),
            *compare(f"{self.name}: rows", ends.items(), rows.items(), "S9"),
            *compare(f"{self.name}: topics", numbers.items(), counted, "S8"),
        ]
