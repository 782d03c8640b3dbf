"""Timers of event time and of the clock, and crontabs."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import flowstream as fs
from flowstream.clock import wall_ms
from tests.checkers.history import Anomaly
from tests.crash.kinds.kind import Kind, Logs, Sent, compare, watermark, watermarked

TURNS = 3
TURN_MS = 2_000
SLACK_MS = 5_000


class EventTimers(Kind):
    """Timers that are moved, cancelled and fire; and some that set themselves again."""

    name = "timers"
    partitions = 5
    late = 0.06

    @property
    def outputs(self) -> tuple[str, ...]:
        """What fired of either sort."""
        return (f"{self.name}-out", f"{self.name}-turns")

    def declare(self, app: fs.App) -> None:
        """One agent sets, two are told."""
        timers = app.Timers(f"{self.name}-rows", value_type=str, partitions=self.partitions)
        turns = app.Timers(f"{self.name}-again", value_type=int, partitions=self.partitions)

        async def wind(stream: fs.Stream[Any]) -> None:
            async for key, event in stream.items():
                turns.set(event["id"], TURNS, after=TURN_MS / 1000)
                if event["n"] % 10 == 0:
                    timers.cancel(key)
                else:
                    timers.set(key, event["id"], after=event["n"] % 7 + 1)

        async def ring(stream: fs.Stream[str]) -> AsyncIterator[Any]:
            async for id in stream:
                yield id

        async def turn(stream: fs.Stream[int]) -> AsyncIterator[Any]:
            async for id, left in stream.items():
                if left > 1:
                    turns.set(id, left - 1, after=TURN_MS / 1000)
                yield left

        app.agent(self.source(app), name=self.name)(wind)
        app.agent(timers, name=f"{self.name}-ring", sink=[self.sink(app)])(ring)
        sink = self.sink(app, self.outputs[1])
        app.agent(turns, name=f"{self.name}-turn", sink=[sink])(turn)

    def judge(self, logs: Logs) -> list[Anomaly]:
        """S12: each timer once, at its instant, never before; one that is moved or cancelled fires
        if it was over by then.
        """
        must, turns = [], []
        for records in logs.partitions(self.inputs[0]).values():
            over = watermark(records)
            last: dict[str | None, tuple[str, int]] = {}
            for record, now_ms in watermarked(records):
                event, before = record.value, last.pop(record.key, None)
                if before is not None and before[1] <= now_ms:
                    must.append(before)
                if event["n"] % 10:
                    due_ms = record.at_ms + (event["n"] % 7 + 1) * 1000
                    last[record.key] = (event["id"], due_ms)
                turns += [
                    (event["id"], TURNS - number, record.at_ms + (number + 1) * TURN_MS)
                    for number in range(TURNS)
                    if record.at_ms + (number + 1) * TURN_MS <= over
                ]
            must += [timer for timer in last.values() if timer[1] <= over]
        found = [(record.value, record.at_ms) for record in logs.of(self.outputs[0])]
        again = [(record.key, record.value, record.at_ms) for record in logs.of(self.outputs[1])]
        return [
            *compare(f"{self.name}: fired", must, found, "S12"),
            *compare(f"{self.name}: again", turns, again, "S12"),
        ]


class ClockTimers(Kind):
    """Timers of the worker's clock."""

    name = "clock-timers"

    def declare(self, app: fs.App) -> None:
        """One agent sets, one is told."""
        timers = app.Timers(
            f"{self.name}-rows", value_type=list[int], time="processing", partitions=self.partitions
        )

        async def wind(stream: fs.Stream[Any]) -> None:
            async for event in stream:
                after_ms = event["n"] * 10
                timers.set(event["id"], [wall_ms(), after_ms], after=after_ms / 1000)

        async def ring(stream: fs.Stream[list[int]]) -> AsyncIterator[Any]:
            async for set_ms, after_ms in stream:
                yield [set_ms + after_ms, wall_ms()]

        app.agent(self.source(app), name=self.name)(wind)
        app.agent(timers, name=f"{self.name}-ring", sink=[self.sink(app)])(ring)

    def judge(self, logs: Logs) -> list[Anomaly]:
        """S12: each once, and none before its time."""
        wanted = [record.value["id"] for record in logs.of(self.inputs[0])]
        fired = logs.of(self.outputs[0])
        early = [
            Anomaly("early", "S12", f"{self.name} {record.key}: {record.value}")
            for record in fired
            if record.value[1] < record.value[0]
        ]
        return early + compare(self.name, wanted, [record.key for record in fired], "S12")


class Crontab(Kind):
    """A function that runs every second, once per app."""

    name = "crontab"

    def __init__(self) -> None:
        super().__init__()
        self._ended_ms = 0

    def declare(self, app: fs.App) -> None:
        """One crontab; and an agent, so that there is a topic for it to be beside."""
        out = self.sink(app)

        async def every_second() -> None:
            due_ms = round(fs.current_event().timestamp * 1000)  # type: ignore[union-attr]
            await out.send(key="cron", value=[due_ms, wall_ms()])

        async def idle(stream: fs.Stream[Any]) -> None:
            async for _ in stream:
                pass

        app.crontab("* * * * * *", name=self.name)(every_second)
        app.agent(self.source(app), name=f"{self.name}-idle")(idle)

    def feed(self, rng: random.Random) -> list[Sent]:
        """Nothing: it goes by the clock."""
        return []

    def end_round(self) -> list[Sent]:
        """From here on it must run once more."""
        self._ended_ms = wall_ms()
        return []

    def judge(self, logs: Logs) -> list[Anomaly]:
        """S12: whole seconds, each at most once, in order, never early, none left out for long."""
        runs = [record.value for record in logs.of(self.outputs[0])]
        found = [
            Anomaly("early", "S12", f"{self.name}: {due} at {at}")
            for due, at in runs
            if at < due or due % 1000
        ]
        for (one, at), (two, _) in itertools.pairwise(runs):
            if two <= one:
                found.append(Anomaly("duplicate", "S12", f"{self.name}: {two} after {one}"))
            if two > at + SLACK_MS:
                found.append(Anomaly("left out", "S12", f"{self.name}: {one} at {at}, then {two}"))
        if not runs or runs[-1][0] < self._ended_ms:
            found.append(Anomaly("loss", "S12", f"{self.name}: none since {self._ended_ms}"))
        return found


def by_key(pairs: list[tuple[Any, Any]]) -> dict[Any, list[Any]]:
    """Values of each key."""
    found: dict[Any, list[Any]] = defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return found
