"""Error policies: tries that end, keys that are parked, a circuit that opens."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

import flowstream as fs
from flowstream.clock import wall_ms
from flowstream.processing.agents.agent import MOST_LINES, PASSING_S
from flowstream.processing.errors import AppError
from tests.processing.conftest import Kit


class Failing:
    """An app whose agent fails on the words it is told to, until it is told otherwise."""

    def __init__(self, kit: Kit, name: str, *bad: str, **how: Any) -> None:
        settings = {k: how.pop(k) for k in ("circuit_breaker", "retry_backoff") if k in how}
        self.app = kit.app(name, **settings)
        self.words = self.app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
        self.out = self.app.topic(f"{name}-out", key_type=str, value_type=str, partitions=1)
        self.bad = set(bad)
        self.tries: list[str] = []

        @self.app.agent(self.words, sink=[self.out], **how)
        async def work(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for key, word in stream.items():
                self.tries.append(word)
                if word in self.bad:
                    raise ValueError(f"bad {word}")
                yield f"{key}:{word}"

    async def send(self, *items: str) -> None:
        """Words as `key:word`."""
        for item in items:
            key, _, word = item.partition(":")
            await self.words.send(key=key or None, value=word)


async def told(kit: Kit, failing: Failing) -> list[str]:
    return [(value or b"").decode() for value in await kit.values(failing.out.name)]


async def test_S9_tries_end_and_what_then_says_happens(
    kit: Kit, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    how = fs.retry(2, backoff=0.001, then="dead_letter")
    failing = Failing(kit, name, "x", on_error=how)
    await kit.create(failing.app)
    async with kit.running(failing.app) as worker:
        await failing.send("a:1", "a:x", "b:2")
        await kit.until(kit.count(failing.out.name, 2))
        await kit.until(kit.count(failing.app.dead_letters, 1))
        assert worker.counts.retried == 2
    assert failing.tries == ["1", "x", "x", "x", "2"]
    assert await told(kit, failing) == ["a:1", "b:2"]
    lines = [each for each in caplog.records if each.name == "flowstream.agent"]
    where, why = f"agent 'work' on {failing.words.name}-0: offset 1", "ValueError: bad x"
    # The way to an error is shown when it is new, and when it is the last word.
    assert [(each.getMessage(), each.exc_info is not None) for each in lines] == [
        (f"{where} will be retried (1): {why}", True),
        (f"{where} will be retried (2): {why}", False),
        (f"{where} failed 3 times: no more tries", True),
        (f"agent 'work': {failing.words.name}-0 offset 1 is a dead letter: {why}", False),
    ]


async def test_tries_end_with_the_worker_when_then_says_so(kit: Kit, name: str) -> None:
    failing = Failing(kit, name, "x", on_error=fs.retry(1, backoff=0))
    await kit.create(failing.app)
    await failing.send("a:x")
    with pytest.raises(fs.AgentFailed, match="bad x"):
        await fs.Worker(failing.app, kit.address).run()
    assert failing.tries == ["x", "x"]


async def test_S9_a_key_is_parked_in_order_and_the_others_go_on(kit: Kit, name: str) -> None:
    clock = [wall_ms()]
    failing = Failing(kit, name, "x", on_error=fs.park(backoff=60))
    await kit.create(failing.app)
    async with kit.running(failing.app, clock=lambda: clock[0]) as worker:
        await failing.send("a:1", "a:x", "a:2", "b:3", "a:4", "b:5")
        await kit.until(kit.count(failing.out.name, 3))
        assert await told(kit, failing) == ["a:1", "b:3", "b:5"]
        assert worker.counts.parked == 3
    failing = Failing(kit, name, on_error=fs.park(backoff=60))
    async with kit.running(failing.app, clock=lambda: clock[0]):
        await failing.send("a:6", "c:7")
        await kit.until(kit.count(failing.out.name, 4))
        clock[0] += 60_000
        await kit.until(kit.count(failing.out.name, 8))
        await failing.send("a:8")
        await kit.until(kit.count(failing.out.name, 9))
    assert (await told(kit, failing))[3:] == ["c:7", "a:x", "a:2", "a:4", "a:6", "a:8"]


async def test_S11_a_parked_event_is_given_up_in_the_end(kit: Kit, name: str) -> None:
    how = fs.park(2, backoff=0.001, longest=0.001)
    failing = Failing(kit, name, "x", on_error=how)
    await kit.create(failing.app)
    async with kit.running(failing.app):
        await failing.send("a:x", "a:1", ":x", "b:2")
        await kit.until(kit.count(failing.app.dead_letters, 2))
        await kit.until(kit.count(failing.out.name, 2))
    assert sorted(await told(kit, failing)) == ["a:1", "b:2"]
    assert failing.tries.count("x") == 4, "three with a key, one without"
    dead = await kit.records(failing.app.dead_letters)
    letters = {record.key: dict(record.headers) for record in dead}
    assert letters[b"a"]["flowstream.offset"] == b"0"
    assert letters[None]["flowstream.offset"] == b"2"
    rows = {r.key: r.value for r in await kit.records(failing.app.changelog("work-parked"))}
    assert [key for key, row in rows.items() if row is not None] == [b"@watermark"]


async def test_many_parked_events_of_one_key_pass(kit: Kit, name: str) -> None:
    failing = Failing(kit, name, "x", on_error=fs.park(backoff=0.2))
    await kit.create(failing.app)
    await failing.send("a:x", *(f"a:{number}" for number in range(1_500)))
    async with kit.running(failing.app):
        await kit.until(kit.committed(failing.app, failing.words.name, 1_501))
        failing.bad.clear()
        await kit.until(kit.count(failing.out.name, 1_501))
    assert await told(kit, failing) == ["a:x", *(f"a:{number}" for number in range(1_500))]


async def test_S11_when_everything_fails_nothing_more_is_passed_over(kit: Kit, name: str) -> None:
    failing = Failing(
        kit, name, *"123456789", on_error="dead_letter", circuit_breaker=3, retry_backoff=0.001
    )
    await kit.create(failing.app)
    async with kit.running(failing.app):
        await failing.send("a:0", *(f"a:{number}" for number in range(1, 10)))
        await kit.sees(lambda: failing.tries.count("4") > 5)
        assert len(await kit.records(failing.app.dead_letters)) == 3
        failing.bad.clear()
        await kit.until(kit.count(failing.out.name, 7))
    assert await told(kit, failing) == ["a:0", *(f"a:{number}" for number in range(4, 10))]


async def test_failures_with_successes_between_open_no_circuit(kit: Kit, name: str) -> None:
    failing = Failing(kit, name, "x", on_error="skip", circuit_breaker=1)
    await kit.create(failing.app)
    async with kit.running(failing.app):
        await failing.send(*(["a:x", "a:1"] * 5))
        await kit.until(kit.count(failing.out.name, 5))
    assert await told(kit, failing) == ["a:1"] * 5


def test_policies_that_cannot_be_are_refused() -> None:
    app = fs.App("x")
    with pytest.raises(AppError, match="would never try"):
        fs.retry(0)
    with pytest.raises(AppError, match="then= is"):
        fs.retry(1, then="retry")  # type: ignore[arg-type]
    with pytest.raises(AppError, match="negative"):
        fs.park(backoff=-1)
    topic = app.topic("t", value_type=str)
    with pytest.raises(AppError, match=r"fs.retry\(\)"):

        @app.agent(topic, on_error="ignore")  # type: ignore[arg-type]
        async def work(stream: fs.Stream[str]) -> None: ...


def test_a_thousand_dead_letters_are_a_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    app = fs.App("many", circuit_breaker=0)
    words = app.topic("words", value_type=str, partitions=1)

    @app.agent(words, on_error="dead_letter")
    async def fail(stream: fs.Stream[str]) -> None:
        async for word in stream:
            raise ValueError(word)

    with app.test_context() as context, caplog.at_level(logging.WARNING, "flowstream.agent"):
        for number in range(100):
            context.topic(words).send(str(number))
        assert len(context.dead_letters) == 100
        lines = [each.getMessage() for each in caplog.records]
        assert len(lines) == MOST_LINES
        assert lines[0] == "agent 'fail': words-0 offset 0 is a dead letter: ValueError: 0"
        context.advance(PASSING_S)
        for number in range(MOST_LINES + 5):
            context.topic(words).send(f"more {number}")
    after = [each.getMessage() for each in caplog.records[MOST_LINES:]]
    assert after[0].endswith(f"ValueError: 99 (and {99 - MOST_LINES} more before it)")
    assert len(after) == MOST_LINES + 1, "what is left out last is told when the worker stops"
    assert after[-1].endswith(f"ValueError: more {MOST_LINES + 4} (and 5 more before it)")
