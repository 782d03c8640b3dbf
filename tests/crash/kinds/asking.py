"""Requests that want a reply, through the death of whoever replies and of the broker between."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import flowstream as fs
from tests.checkers.history import Anomaly
from tests.checkers.stream import chain
from tests.crash.kinds.kind import KEYS, Kind, Logs, Sent, compare, compare_in_order, grouped

PATIENCE_S = 90.0


class Asked(Kind):
    """An agent that adds to a chain and replies with it."""

    name = "asked"

    def __init__(self) -> None:
        super().__init__()
        self._agent: Any = None
        self.replies: dict[str, Any] = {}
        self.failures: list[str] = []

    def declare(self, app: fs.App) -> None:
        """One agent."""
        rows = app.Table(
            f"{self.name}-rows", value_type=str, default=str, partitions=self.partitions
        )

        async def link(stream: fs.Stream[Any]) -> AsyncIterator[Any]:
            async for key, event in stream.items():
                rows[key] = chain(rows[key], event["id"])
                yield [event["id"], rows[key]]

        self._agent = app.agent(self.source(app), name=self.name, sink=[self.sink(app)])(link)

    def feed(self, rng: random.Random) -> list[Sent]:
        """Nothing: it is asked."""
        return []

    def end_round(self) -> list[Sent]:
        """Nothing comes due."""
        return []

    async def ask(self, rng: random.Random) -> None:
        """One request and its reply."""
        key, id, at_ms = f"k{rng.randrange(KEYS)}", self.next_id(), self.instant(rng)
        value = {"id": id, "n": 1}
        try:
            self.replies[id] = await self._agent.ask(
                value, key=key, timestamp=at_ms / 1000, timeout=PATIENCE_S
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, there was no reply
            self.failures.append(f"{id}: {error!r}")

    def judge(self, logs: Logs) -> list[Anomaly]:
        """S7, S9: each request is done once, and its reply is what was committed for it."""
        wanted: dict[Any, list[Any]] = defaultdict(list)
        links: dict[Any, str] = defaultdict(str)
        asked = [record.value["id"] for record in logs.of(self.inputs[0])]
        for record in logs.of(self.inputs[0]):
            place, id = (record.partition, record.key), record.value["id"]
            links[place] = chain(links[place], id)
            wanted[place].append([id, links[place]])
        answers = {record.value[0]: record.value for record in logs.of(self.outputs[0])}
        wrong = [
            Anomaly("reply", "S9", f"{self.name} {id}: {reply}, not {answers.get(id)}")
            for id, reply in self.replies.items()
            if reply != answers.get(id)
        ]
        ids = [f"i{number + 1}" for number in range(self.fed)]
        return [
            *(Anomaly("no reply", "V1", f"{self.name} {each}") for each in self.failures),
            *wrong,
            *compare(f"{self.name}: requests", ids, asked, "L3"),
            *compare_in_order(self.name, wanted, grouped(logs.of(self.outputs[0]))),
        ]
