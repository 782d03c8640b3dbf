"""Agents that fail, by every policy: poison fails always, what is flaky now and then."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import flowstream as fs
from tests.checkers.history import Anomaly
from tests.crash.kinds.kind import KEYS, Kind, Logs, Sent, compare

chance = random.Random()
UNREADABLE = "no JSON"


class Failing(Kind):
    """One policy: each event is an output or what the policy makes of it, and nothing else."""

    on_error: Any
    is_dead_letter = True
    unreadable = 0.0

    @property
    def tables(self) -> tuple[str, ...]:
        """How many of each key went well."""
        return (f"{self.name}-rows",)

    def feed(self, rng: random.Random) -> list[Sent]:
        """Some of them poison, some flaky, some unreadable."""
        key, at_ms = f"k{rng.randrange(KEYS)}", self.instant(rng)
        is_unreadable = rng.random() < self.unreadable
        return [Sent(self.inputs[0], key, UNREADABLE if is_unreadable else self.body(rng), at_ms)]

    def end_round(self) -> list[Sent]:
        """Nothing comes due by event time."""
        return []

    def declare(self, app: fs.App) -> None:
        """One agent that fails after its work, which must leave no trace then."""
        rows = app.Table(self.tables[0], value_type=int, default=int, partitions=self.partitions)

        async def attempt(stream: fs.Stream[Any]) -> AsyncIterator[Any]:
            async for key, event in stream.items():
                rows[key] += 1
                yield [event["id"], rows[key]]
                if is_poison(event) or (is_flaky(event) and chance.random() < 0.5):
                    raise RuntimeError("this happens")

        app.agent(self.source(app), name=self.name, sink=[self.sink(app)], on_error=self.on_error)(
            attempt
        )

    def judge(self, logs: Logs) -> list[Anomaly]:
        """S9: a failure leaves no trace; S11: nothing is skipped silently; order holds."""
        told: dict[Any, list[str]] = defaultdict(list)
        anomalies = []
        for record in logs.of(self.outputs[0]):
            place, (id, count) = (record.partition, record.key), record.value
            told[place].append(id)
            if count != len(told[place]):
                evidence = f"{self.name} {place}: {id} is {count}, not {len(told[place])}"
                anomalies.append(Anomaly("trace of a failure", "S9", evidence))
        letters = logs.dead_letters(self.name)
        dead = {*letters}
        wanted: dict[Any, list[str]] = defaultdict(list)
        must_die = []
        for record in logs.of(self.inputs[0]):
            at = (record.topic, record.partition, record.offset)
            if record.data == UNREADABLE.encode() or is_poison(record.value):
                must_die.append(at)
                continue
            place, id = (record.partition, record.key), record.value["id"]
            may_die = is_flaky(record.value)
            if may_die and at in dead:
                must_die.append(at)
            elif not may_die or self.is_dead_letter or id in told[place]:
                wanted[place].append(id)
        expected = must_die if self.is_dead_letter else []
        anomalies += compare(f"{self.name}: dead letters", expected, letters, "S11")
        for place in {*wanted, *told}:
            anomalies += self._judge_key(place, wanted[place], told[place])
        counts = [(place, len(ids)) for place, ids in told.items() if ids]
        table = logs.table(self.tables[0])
        return anomalies + compare(f"{self.name}: rows", counts, table.items(), "S8")

    def _judge_key(self, place: Any, wanted: list[str], told: list[str]) -> list[Anomaly]:
        found = compare(f"{self.name} {place}", wanted, told)
        if not found and wanted != told:
            found.append(Anomaly("reorder", "S7", f"{self.name} {place}: {told}, not {wanted}"))
        return found


def is_poison(event: Any) -> bool:
    """Fails always."""
    return bool(event["n"] % 12 == 0)


def is_flaky(event: Any) -> bool:
    """Fails every other time."""
    return bool(event["n"] % 12 == 1)


class Retried(Failing):
    """Tried again, then a dead letter."""

    name = "on-retry"
    on_error = fs.retry(2, backoff=0.01, then="dead_letter")


class Parked(Failing):
    """Put aside with what follows under its key."""

    name = "on-park"
    on_error = fs.park(2, backoff=0.05, longest=0.1)


class DeadLettered(Failing):
    """A dead letter at once."""

    name = "on-dead-letter"
    on_error = "dead_letter"
    unreadable = 0.03


class Skipped(Failing):
    """Passed over."""

    name = "on-skip"
    on_error = "skip"
    is_dead_letter = False
    unreadable = 0.03
