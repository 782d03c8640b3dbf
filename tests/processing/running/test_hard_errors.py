"""Errors that are hard to tell of, and ends that nobody asked for: neither may stop more than it is
to, nor leave a partition without anyone.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.errors import LONGEST_TEXT, text_of
from flowstream.processing.events.replies import ReplyTo, request_headers
from flowstream.processing.units.outputs import MAX_MESSAGE_BYTES
from tests.processing.conftest import Kit
from tests.processing.rig import Rig


class Mute(Exception):
    """It does not say what it is."""

    def __str__(self) -> str:
        raise ValueError("no text")


def failing(error: BaseException, on_error: Any) -> fs.App:
    app = fs.App("hard")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)

    @app.agent(words, on_error=on_error)
    async def work(stream: fs.Stream[str]) -> None:
        async for word in stream:
            if word == "x":
                raise error

    return app


@pytest.mark.parametrize("error", [Mute(), ValueError("x" * 2_000_000)])
@pytest.mark.parametrize("on_error", ["skip", "dead_letter", fs.retry(1, backoff=0, then="skip")])
async def test_S11_whatever_an_error_says_its_event_goes_by_the_policy(
    error: Exception, on_error: Any
) -> None:
    rig = Rig(failing(error, on_error))
    await rig.open()
    asked = request_headers(ReplyTo(rig.replies, 0, b"1"))
    for word in (b"a", b"x", b"b"):
        rig.put("words", b"k", word, asked if word == b"x" else ())
    rig.deliver()
    await rig.settle()
    await asyncio.sleep(0)
    await rig.settle()
    rig.commit()
    assert rig.failure is None
    assert list(rig.positions.values()) == [4]
    assert rig.counts.skipped + rig.counts.dead_letters == 1
    assert "flowstream.reply-error" in [name for name, _ in rig.log[0][4]], "the asker is told"
    await rig.crash()


async def test_V2_an_error_without_a_text_stops_the_worker_by_the_event() -> None:
    rig = Rig(failing(Mute(), "stop"))
    await rig.open()
    rig.put("words", b"k", b"x")
    rig.deliver()
    await rig.settle()
    assert "failed at offset 0: Mute: (it does not say what" in str(rig.failure)
    await rig.crash()


def test_a_report_of_an_error_is_bounded() -> None:
    assert len(text_of(ValueError("x" * 100_000))) < LONGEST_TEXT + 10


async def test_S11_the_largest_record_of_a_topic_becomes_a_dead_letter(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=bytes, partitions=1)

    @app.agent(words, on_error="dead_letter")
    async def work(stream: fs.Stream[bytes]) -> None:
        async for _ in stream:
            raise ValueError("€" * 100_000)

    await kit.create(app)
    largest = bytes(MAX_MESSAGE_BYTES - 100)
    await words.send(value=largest)
    await kit.run_until(app, kit.count(app.dead_letters, 1))
    assert await kit.values(app.dead_letters) == [largest]


async def test_V2_an_agent_that_cancels_itself_stops_the_worker() -> None:
    app = fs.App("hard")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)

    @app.agent(words, on_error="skip")
    async def work(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

    rig = Rig(app)
    await rig.open()
    rig.put("words", b"k", b"a")
    rig.deliver()
    await rig.settle()
    assert isinstance(rig.failure, fs.AgentFailed)
    assert "was cancelled, and not by its worker" in str(rig.failure)
    await rig.crash()


async def test_an_agent_that_its_worker_ends_says_nothing() -> None:
    rig = Rig(failing(ValueError(), "skip"))
    await rig.open()
    await rig.settle()
    await rig.crash()
    await rig.settle()
    assert rig.failure is None


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("by_itself", [True, False])
async def test_V2_a_channel_is_not_left_without_its_agent(
    concurrency: int, *, by_itself: bool
) -> None:
    app = fs.App("hard")
    channel = app.channel(value_type=str)

    @app.agent(channel, concurrency=concurrency)
    async def work(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            task = asyncio.current_task()
            assert task is not None
            gone = asyncio.get_running_loop().create_future()
            if by_itself:
                task.cancel()
            gone.cancel()
            await gone

    (agent,) = app.channel_agents.values()
    living = asyncio.create_task(agent.live(0.0))
    for word in "ab":
        await channel.put(word)
    why = "was cancelled, and not by its worker" if by_itself else "awaited what was cancelled"
    with pytest.raises(fs.AgentFailed, match=why):
        await asyncio.wait_for(living, 10)


async def test_a_channel_agent_goes_on_after_a_cancelled_await_as_its_policy_says() -> None:
    app = fs.App("hard")
    channel = app.channel(value_type=str)
    done = asyncio.Event()

    @app.agent(channel, on_error="skip")
    async def work(stream: fs.Stream[str]) -> None:
        async for word in stream:
            gone = asyncio.get_running_loop().create_future()
            gone.cancel()
            if word == "a":
                await gone
            done.set()

    (agent,) = app.channel_agents.values()
    living = asyncio.create_task(agent.live(0.0))
    for word in "ab":
        await channel.put(word)
    await asyncio.wait_for(done.wait(), 10)
    living.cancel()
    await asyncio.wait((living,))
    assert living.cancelled()
