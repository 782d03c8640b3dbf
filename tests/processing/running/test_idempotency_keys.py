"""The idempotency key of an event: one per event and agent, the same whatever happens."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import flowstream as fs
from tests.processing.rig import Rig


async def test_S9_a_key_is_the_same_in_every_try_after_a_crash_and_when_parked() -> None:
    app = fs.App("keys")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    seen: list[tuple[str, str]] = []
    fails = {"retried": 2, "parked": 1}

    def note(event: Any) -> None:
        current = fs.current_event()
        assert current is not None
        assert current.idempotency_key == event.idempotency_key
        seen.append((event.value, event.idempotency_key))
        if fails.get(event.value, 0):
            fails[event.value] -= 1
            raise ValueError(event.value)

    @app.agent(words, on_error=fs.park(backoff=5))
    async def first(stream: fs.Stream[str]) -> None:
        async for event in stream.events():
            note(event)

    rig = Rig(app)
    await rig.open()
    for key, word in (("a", "parked"), ("b", "plain"), ("c", "again")):
        rig.put("words", key.encode(), word.encode())
    rig.deliver()
    await rig.settle()
    await rig.crash()  # nothing of it was committed
    await rig.open()
    await rig.settle()
    rig.commit()
    rig.clock_ms = 60_000
    fails.clear()
    rig.deliver()
    await rig.settle()
    await rig.crash()
    # Offsets of the rig leave out every third.
    keys = {"parked": "keys/first/words/0/0", "plain": "keys/first/words/0/1",
            "again": "keys/first/words/0/3"}  # fmt: skip
    assert dict(seen) == keys
    assert len(seen) == 3 + 3
    assert {key for _, key in seen} == set(keys.values())


async def test_each_event_of_a_take_has_its_own_and_each_agent_another() -> None:
    app = fs.App("keys")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    taken: list[str] = []
    single: list[str] = []

    @app.agent(words)
    async def lists(stream: fs.Stream[str]) -> None:
        async for events in stream.take_events(3, within=0.0):
            taken.extend(event.idempotency_key for event in events)
            last = fs.current_event()
            assert last is not None
            assert last.idempotency_key == events[-1].idempotency_key

    @app.agent(words)
    async def one_by_one(stream: fs.Stream[str]) -> None:
        async for event in stream.events():
            single.append(event.idempotency_key)

    rig = Rig(app)
    await rig.open()
    for word in "abcd":
        rig.put("words", b"k", word.encode())
    rig.deliver()
    async with asyncio.timeout(30):
        while not rig.is_done:
            await rig.settle()
            rig.commit()
    assert taken == [f"keys/lists/words/0/{offset}" for offset in (0, 1, 3, 4)]
    assert single == [f"keys/one_by_one/words/0/{offset}" for offset in (0, 1, 3, 4)]
    await rig.crash()


async def test_an_event_that_is_in_no_topic_has_none() -> None:
    app = fs.App("keys")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    changes = app.Table("lengths", key_type=str, value_type=int, default=int)

    @app.agent(words)
    async def measure(stream: fs.Stream[str]) -> None:
        async for key, word in stream.items():
            changes[key] = len(word)

    @app.agent(changes.changes)
    async def told(stream: fs.Stream[Any]) -> None:
        async for event in stream.events():
            assert event.idempotency_key

    rig = Rig(app)
    await rig.open()
    rig.put("words", b"k", b"word")
    rig.deliver()
    await rig.settle()
    rig.deliver()
    await rig.settle()
    assert isinstance(rig.failure, fs.AgentFailed)
    assert "name the effect by what the event says" in str(rig.failure)
    await rig.crash()


def test_an_event_made_by_hand_has_one_too() -> None:
    event = fs.Event("k", "v", (), 0.0, "words", 0, 7)
    with pytest.raises(AttributeError):
        event.origin = "x"  # type: ignore[misc]
    assert event.idempotency_key == "/words/0/7"
