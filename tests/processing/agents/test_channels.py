"""Channels: what is put is there once it is committed, for all who listen, at most once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

import flowstream as fs
from flowstream.exceptions import Skip
from flowstream.processing.agents.channels import Channel
from tests.processing.conftest import Kit
from tests.processing.rig import Rig


async def drained(listener: Any) -> list[Any]:
    found = []
    while len(listener):
        found.append((await anext(listener)).value)
    return found


async def test_S9_what_a_unit_puts_is_there_when_it_is_committed_and_never_twice() -> None:
    app = fs.App("channels")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    channel = app.channel(value_type=str)
    fails = {"b"}

    @app.agent(words, on_error=fs.retry(backoff=0))
    async def put(stream: fs.Stream[str]) -> None:
        async for event in stream.events():
            await channel.put(event.value)
            channel.send_soon(key=event.key, value=event.value.upper())
            if event.value in fails:
                fails.discard(event.value)
                raise ValueError(event.value)

    listener = channel.listen()
    rig = Rig(app)
    await rig.open()
    for word in "abc":
        rig.put("words", b"k", word.encode())
    rig.deliver()
    await rig.settle()
    assert channel.empty()
    await rig.crash()
    assert channel.empty()
    await rig.open()
    await rig.settle()
    rig.commit()
    assert await drained(listener) == ["a", "A", "b", "B", "c", "C"]
    rig.commit()
    assert channel.empty()
    await rig.crash()


async def test_sinks_are_channels_and_keep_the_key() -> None:
    app = fs.App("channels")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    first, second = app.channel(), app.channel()

    @app.agent(second)
    async def read(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    @app.agent(words, sink=[first, read])
    async def shout(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            yield word.upper()

    one, two = first.listen(), second.listen()
    rig = Rig(app)
    await rig.open()
    rig.put("words", b"k", b"a", at_ms=1_000)
    rig.deliver()
    await rig.settle()
    rig.commit()
    for listener in (one, two):
        event = await anext(listener)
        assert (event.key, event.value, event.topic[:8]) == ("k", "A", "channel-")
    await rig.crash()


async def test_an_agent_on_a_channel_runs_in_a_worker(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=1)
    channel = app.channel(value_type=str)
    heard: list[Any] = []

    @app.agent(words, sink=[channel])
    async def shout(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            yield word.upper()

    @app.agent(channel, sink=[out, heard.append], concurrency=2)
    async def tell(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for words in stream.filter(lambda word: word != "B").take(2, within=0.01):
            yield "-".join(words)

    await kit.create(app)
    for word in "abc":
        await words.send(key="k", value=word)
    async with kit.running(app):

        async def told() -> bool:
            return sorted("".join(heard).replace("-", "")) == ["A", "C"]

        await kit.until(told)
        await kit.until(kit.count(out.name, len(heard)))
        assert sorted((v or b"").decode() for v in await kit.values(out.name)) == sorted(heard)
        assert {record.key for record in await kit.records(out.name)} == {b"k"}


class Failing:
    """An agent on a channel that fails on a word, so many times."""

    def __init__(self, times: int, on_error: Any) -> None:
        app = fs.App("failing", retry_backoff=0.001)
        self.channel = app.channel()
        self.seen: list[str] = []
        left = [times]

        @app.agent(self.channel, on_error=on_error)
        async def work(stream: fs.Stream[str]) -> None:
            async for word in stream:
                self.seen.append(word)
                if word == "x" and left[0]:
                    left[0] -= 1
                    raise ValueError("bad x")

        self.agent: Any = work
        self.work: asyncio.Task[None] = asyncio.ensure_future(work.live(0.001))  # type: ignore[attr-defined]

    async def run(self, count: int) -> None:
        for word in ("a", "x", "b"):
            await self.agent.send(value=word)
        async with asyncio.timeout(30):
            while len(self.seen) < count and not self.work.done():  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    async def end(self) -> None:
        self.work.cancel()
        await asyncio.wait((self.work,))


async def test_what_it_fails_on_is_tried_again_or_skipped() -> None:
    failing = Failing(2, "retry")
    await failing.run(5)
    assert failing.seen == ["a", "x", "x", "x", "b"]
    await failing.end()
    failing = Failing(9, fs.retry(1, then="skip"))
    await failing.run(4)
    assert failing.seen == ["a", "x", "x", "b"]
    await failing.end()


async def test_what_it_fails_on_stops_the_worker() -> None:
    failing = Failing(1, "stop")
    await failing.run(9)
    with pytest.raises(fs.AgentFailed, match=r"'work' on .*ValueError: bad x"):
        await failing.work


@pytest.mark.parametrize("error", [ValueError("thrown"), TimeoutError("thrown")])
@pytest.mark.parametrize("on_error", ["skip", "retry"])
async def test_what_is_thrown_is_met_in_its_place(on_error: Any, error: Exception) -> None:
    failing = Failing(0, on_error)
    await failing.channel.put("a")
    await failing.channel.throw(error)
    await failing.channel.put("b")
    async with asyncio.timeout(30):
        while len(failing.seen) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert failing.seen == ["a", "b"]
    await failing.end()


async def test_what_is_thrown_stops_the_worker_of_an_agent_that_stops() -> None:
    failing = Failing(0, "stop")
    await failing.channel.throw(ValueError("thrown"))
    with pytest.raises(fs.AgentFailed, match=r"'work' on .*ValueError: thrown"):
        await failing.work


@pytest.mark.parametrize("thrown", [ValueError("thrown"), Skip("thrown")])
async def test_S11_an_agent_may_catch_what_is_thrown_and_a_take_loses_nothing_to_it(
    thrown: Exception,
) -> None:
    app = fs.App("catching")
    channel, taken_from = app.channel(), app.channel()
    seen: list[Any] = []

    @app.agent(channel)
    async def catch(stream: fs.Stream[str]) -> None:
        while True:
            try:
                async for word in stream:
                    seen.append(word)
            except (ValueError, Skip) as error:
                seen.append(str(error))

    @app.agent(taken_from, on_error="skip")
    async def take(stream: fs.Stream[str]) -> None:
        async for words in stream.take(2, within=30):
            seen.append(words)

    running = [asyncio.ensure_future(each.live(0.001)) for each in (catch, take)]  # type: ignore[attr-defined]
    for put in (channel, taken_from):
        await put.put("a")
        await put.throw(thrown)
        await put.put("b")
    async with asyncio.timeout(30):
        while len(seen) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert [each for each in seen if isinstance(each, str)] == ["a", "thrown", "b"]
    assert [each for each in seen if not isinstance(each, str)] == [["a", "b"]]
    for each in running:
        each.cancel()
    await asyncio.wait(running)


async def test_what_a_failed_unit_threw_is_not_met() -> None:
    app = fs.App("throwing")
    words = app.topic("in", key_type=str, value_type=str, partitions=1)
    channel = app.channel()

    @app.agent(words, on_error="skip")
    async def throw(stream: fs.Stream[str]) -> None:
        async for word in stream:
            await channel.throw(ValueError(word))
            if word == "x":
                raise ValueError("not this one")

    listener = channel.listen()
    rig = Rig(app)
    for word in (b"a", b"x", b"b"):
        rig.put("in", b"k", word)
    await rig.open()
    await rig.settle()
    assert len(listener) == 0, "nothing is committed"
    rig.commit()
    met = []
    while len(listener):
        with pytest.raises(ValueError, match=r"^[abx]$") as found:
            listener.take()
        met.append(str(found.value))
    assert met == ["a", "b"]
    await rig.crash()
    with pytest.raises(fs.AppError, match="throw takes an exception"):
        await channel.throw("bad")  # type: ignore[arg-type]


async def test_each_listener_gets_everything_and_streams_have_operators() -> None:
    channel: Channel[int] = fs.App("channels").channel(value_type=int)
    first, second = channel.listen(), channel.listen()
    pairs = channel.stream().map(lambda value: value * 2).take(2, within=10)
    for value in (1, 2):
        await channel.put(value)
    assert await anext(pairs) == [2, 4]
    assert await drained(first) == [1, 2]
    async with asyncio.timeout(30):
        async for event in second:
            assert event.value == 1
            break


async def test_putting_waits_for_room() -> None:
    channel: Channel[int] = fs.App("channels").channel(maxsize=2)
    listener = channel.listen()
    await channel.put(1)
    await channel.put(2)
    third = asyncio.ensure_future(channel.put(3))
    await asyncio.sleep(0)
    assert not third.done()
    assert (await anext(listener)).value == 1
    async with asyncio.timeout(30):
        await third
    assert await drained(listener) == [2, 3]


async def test_V2_putting_does_not_wait_for_a_listener_that_has_left() -> None:
    channel: Channel[int] = fs.App("channels").channel(maxsize=1)
    leave = asyncio.Event()

    async def read_one() -> int:
        async for event in channel:
            await leave.wait()
            return event.value
        raise AssertionError

    reading = asyncio.ensure_future(read_one())
    await asyncio.sleep(0)
    await channel.put(1)
    while not channel.empty():  # noqa: ASYNC110 - until it has taken it
        await asyncio.sleep(0)
    await channel.put(2)
    third = asyncio.ensure_future(channel.put(3))
    await asyncio.sleep(0)
    assert not third.done(), "2 is not read"
    leave.set()
    async with asyncio.timeout(10):
        assert await reading == 1
        await third


async def test_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    channel: Channel[int] = fs.App("channels").channel()
    await channel.put(1)
    await channel.put(2)
    assert caplog.text.count("has no listener") == 1
    listener = channel.listen()
    await channel.put(3)
    assert await drained(listener) == [3]


async def test_what_channels_refuse() -> None:
    app = fs.App("channels")
    channel = app.channel(key_type=str, value_type=int)
    with pytest.raises(TypeError, match=r"takes values of int, not 'x' \(a str\)"):
        await channel.put("x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes keys of str"):
        await channel.put(1, key=2)
    with pytest.raises(fs.AppError, match="group_by keeps state, which needs a topic"):
        channel.stream().group_by(str)
    for how, told in (
        ({"maxsize": 0}, "whole number from 1 on"),
        ({"value_type": "int"}, "must be a class"),
    ):
        with pytest.raises(fs.AppError, match=told):
            app.channel(**how)  # type: ignore[call-overload]

    async def agent(stream: fs.Stream[int]) -> None:
        async for _ in stream:
            pass

    for how, told in (
        ({"on_error": "dead_letter"}, "in no topic that it could be read from"),
        ({"on_error": "park"}, "in no topic that it could be read from"),
        ({"order": "key", "concurrency": 2}, "leave order= and reply_type= out"),
        ({"reply_type": int}, "leave order= and reply_type= out"),
    ):
        with pytest.raises(fs.AppError, match=told):
            app.agent(channel, **how)(agent)  # type: ignore[arg-type]
    declared = app.agent(channel)(agent)
    with pytest.raises(fs.AppError, match="declared twice"):
        app.agent(channel)(agent)
    with pytest.raises(fs.AppError, match="which is no topic"):
        await declared.ask(1)
    with pytest.raises(fs.AppError, match="has no partitions"):
        await declared.send(value=1, partition=0)


async def test_tables_are_not_for_agents_on_channels() -> None:
    app = fs.App("channels")
    channel = app.channel()
    counts = app.Table("counts", key_type=str, value_type=int, default=int)

    @app.agent(channel)
    async def count(stream: fs.Stream[str]) -> None:
        async for word in stream:
            counts[word] += 1

    work = asyncio.ensure_future(count.live(0.1))  # type: ignore[attr-defined]
    await channel.put("a")
    with pytest.raises(fs.AgentFailed, match="using table 'counts' is only possible inside"):
        await work


async def test_a_channel_that_was_made_too_late_is_refused_by_units() -> None:
    app = fs.App("channels")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    app.worker = cast("Any", object())
    late = app.channel()

    @app.agent(words)
    async def put(stream: fs.Stream[str]) -> None:
        async for word in stream:
            await late.put(word)

    rig = Rig(app)
    await rig.open()
    rig.put("words", b"k", b"a")
    rig.deliver()
    await rig.settle()
    assert "declared with the app" in str(rig.failure)
    await rig.crash()
