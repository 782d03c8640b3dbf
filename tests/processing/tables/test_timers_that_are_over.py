"""Timers of event time against a naive model: what fires is no matter of batches (S12)."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

import flowstream as fs
from tests.processing.rig import Rig

SEEDS = 150
KEYS = ("a", "b", "=a", "!")
FAR_MS = 1_000_000
Event = tuple[str, str, int]
"""Key, what to do, event time in ms."""


def events_of(rng: random.Random) -> list[Event]:
    """Timers set, set anew, cancelled and looked at; some events are late, some instants past."""
    found, now = [], 10_000
    for number in range(rng.randint(5, 40)):
        now += rng.choice([0, 0, 1_000, 4_000, 20_000])
        what = rng.choice(["set 5", "set 5", "set 0", "set -3", "twice 2", "undo 2", "cancel"])
        late_ms = rng.choice([0, 0, 0, 3_000, 30_000])
        found.append((rng.choice(KEYS), f"{what} {number}", now - late_ms))
    return [*found, ("end", "cancel", FAR_MS), ("end", "cancel", FAR_MS)]


def expected(events: list[Event], disorder_ms: int) -> tuple[list[Any], Counter[Any]]:
    """What each event saw, and what fires, if all that is due fires before the next event."""
    seen: list[Any] = []
    fired: Counter[Any] = Counter()
    timers: dict[str, tuple[int, str]] = {}
    top = -FAR_MS
    for key, what, at_ms in events:
        for each, (due_ms, value) in list(timers.items()):
            if due_ms <= top - disorder_ms:
                fired[each, value, due_ms] += 1
                del timers[each]
        before, (verb, *rest) = timers.get(key), what.split()
        seen.append((before, verb in ("undo",) or (verb == "cancel" and before is not None)))
        if verb == "cancel" or verb == "undo":
            timers.pop(key, None)
        else:
            timers[key] = (at_ms + int(rest[0]) * 1000, what)
        top = max(top, at_ms)
    return seen, fired


class Ringing:
    """An app that sets timers as events say, and tells those that fire."""

    def __init__(self, rng: random.Random, disorder_ms: int) -> None:
        self.seen: dict[int, Any] = {}
        self.app = fs.App("timers", retry_backoff=1e-6, circuit_breaker=0)
        source = self.app.topic(
            "in", key_type=str, value_type=str, partitions=1, out_of_orderness=disorder_ms / 1000
        )
        self.due = self.app.Timers("due", key_type=str, value_type=str)
        out = self.app.topic("out", key_type=str, value_type=str, partitions=1)
        self._rng = rng
        self.app.agent(source, on_error="retry")(self._arm)
        if rng.random() < 0.4:
            self.app.agent(source)(self._beside)
        fire, sinks = rng.choice([(self._fire, [out]), (self._fire_lists, [])])
        self.app.agent(self.due, name="fire", sink=sinks, on_error="retry")(fire)
        self._out = out

    async def _pause(self) -> None:
        for _ in range(self._rng.choice([0, 0, 0, 1, 3])):
            await asyncio.sleep(0)
        if self._rng.random() < 0.1:
            raise RuntimeError("on purpose")

    async def _arm(self, stream: fs.Stream[str]) -> None:
        async for event in stream.events():
            key, (verb, *rest) = event.key, event.value.split()
            before = self.due.get(key)
            assert (key in self.due) is (before is not None)
            is_cancelled = False
            await self._pause()
            if verb == "cancel":
                is_cancelled = self.due.cancel(key)
            else:
                self._set(key, event, verb, int(rest[0]))
                is_cancelled = verb == "undo" and self.due.cancel(key)
            await self._pause()
            at_ms = None if before is None else (round(before[0] * 1000), before[1])
            self.seen[event.offset] = (at_ms, is_cancelled)

    def _set(self, key: str, event: fs.Event[str], verb: str, after: int) -> None:
        at = event.timestamp + after
        for value in ("replaced", event.value) if verb == "twice" else (event.value,):
            self.due.set(key, value, at=at)

    async def _fire(self, stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for value in stream:
            await self._pause()
            yield value
            await self._pause()

    async def _fire_lists(self, stream: fs.Stream[str]) -> None:
        async for events in stream.take_events(3, within=1e-6):
            for event in events:
                await self._pause()
                await self._out.send(key=event.key, value=event.value, timestamp=event.timestamp)
            await self._pause()

    async def _beside(self, stream: fs.Stream[str]) -> None:
        """Another agent on the same topic, in lockstep."""
        async for _ in stream:
            for _ in range(self._rng.choice([0, 0, 5])):
                await asyncio.sleep(0)


async def committed(app: Ringing, events: list[Event], rng: random.Random) -> Rig:
    """Everything fed in batches of any size, killed and begun again at times."""
    rig = Rig(app.app)
    for key, what, at_ms in events:
        rig.put("in", key.encode(), what.encode(), at_ms=at_ms)
    await rig.open()
    while not rig.is_done:
        rig.deliver(rng.choice([1, 1, 2, 5, 100]))
        for _ in range(rng.choice([0, 1, 5, 50])):
            await asyncio.sleep(0)
        if rng.random() < 0.4:
            rig.commit()
        if rng.random() < 0.1:
            await rig.crash()
            await rig.open()
    for _ in range(20):
        await rig.settle()
        rig.commit()
    assert rig.failure is None
    return rig


@pytest.mark.parametrize("part", range(5))
async def test_S12_what_fires_is_no_matter_of_batches(part: int) -> None:
    for seed in range(part * SEEDS // 5, (part + 1) * SEEDS // 5):
        rng = random.Random(seed)
        events, disorder_ms = events_of(rng), rng.choice([0, 2_000])
        app = Ringing(rng, disorder_ms)
        rig = await committed(app, events, rng)
        seen, fired = expected(events, disorder_ms)
        found = Counter(
            ((key or b"").decode(), (value or b"").decode(), at_ms)
            for tp, key, value, at_ms, _ in rig.log
            if tp.topic == "out"
        )
        assert found == fired, f"seed {seed}"
        assert [app.seen[offset] for offset in sorted(app.seen)] == seen, f"seed {seed}"
        assert all(row.startswith(b"@") for row, _ in rig.rows("due")), f"seed {seed}"
        await rig.crash()


async def test_S12_a_list_of_timers_may_set_them_anew() -> None:
    app = fs.App("timers")
    source = app.topic("in", key_type=str, value_type=str, partitions=1)
    due = app.Timers("due", key_type=str, value_type=str)
    out = app.topic("out", key_type=str, value_type=str, partitions=1)

    @app.agent(source)
    async def arm(stream: fs.Stream[str]) -> None:
        async for key, value in stream.items():
            due.set(key, value, after=5)

    @app.agent(due, sink=[out])
    async def fire(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for events in stream.take_events(3, within=60):
            for event in events:
                assert due.get(event.key) == (event.timestamp, event.value)
                if event.value == "again":
                    due.set(event.key, "last", at=event.timestamp + 5)
            yield ",".join(f"{event.key}:{event.value}" for event in events)

    rig = Rig(app)
    await rig.open()
    for key, at_ms in ((b"a", 10_000), (b"b", 11_000), (b"c", 12_000), (b"", FAR_MS)):
        rig.put("in", key, b"again", at_ms=at_ms)
    rig.deliver()
    for _ in range(5):
        await rig.settle()
        rig.commit()
    assert [value for _, value in rig.told("out")] == [b"a:again,b:again,c:again",
                                                      b"a:last,b:last,c:last"]  # fmt: skip
    assert [row for row, _ in rig.rows("due") if not row.startswith(b"@")] == [b"="]
    await rig.crash()


async def test_S12_a_timer_that_is_being_fired_is_fired_once_whoever_dies_first() -> None:
    """It is set anew while its agent awaits: what is committed then has both."""
    app = fs.App("timers")
    source = app.topic("in", key_type=str, value_type=str, partitions=1)
    due = app.Timers("due", key_type=str, value_type=str)
    out = app.topic("out", key_type=str, value_type=str, partitions=1)
    may_end = asyncio.Event()

    @app.agent(source)
    async def arm(stream: fs.Stream[str]) -> None:
        async for key, value in stream.items():
            due.set(key, value, after=5)

    @app.agent(due, sink=[out])
    async def fire(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for value in stream:
            await may_end.wait()
            yield value

    rig = Rig(app)
    await rig.open()
    for key, value, at_ms in ((b"k", b"one", 10_000), (b"x", b"x", 20_000)):
        rig.put("in", key, value, at_ms=at_ms)
    for _ in range(2):
        rig.deliver()
        await rig.settle()
    rig.put("in", b"k", b"two", at_ms=21_000)
    rig.deliver()
    await rig.settle()
    rig.commit()
    await rig.crash()
    may_end.set()
    rig.put("in", b"end", b"end", at_ms=FAR_MS)
    await rig.open()
    for _ in range(5):
        await rig.settle()
        rig.commit()
    assert [value for _, value in rig.told("out")] == [b"one", b"x", b"two"]
    await rig.crash()
