"""Apps under test whose events are worked on side by side, go into channels, or into a database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import flowstream as fs
from flowstream.testing import Input, assert_exactly_once


def test_S9_events_side_by_side_commit_the_same_wherever_it_is_killed() -> None:
    app = fs.App("side")
    orders = app.topic("orders", key_type=str, value_type=int, partitions=1)
    told = app.topic("told", key_type=str, value_type=int, partitions=1)
    totals = app.Table("totals", key_type=str, value_type=int, default=int)

    @app.agent(orders, sink=[told], concurrency=3, order="key")
    async def add(stream: fs.Stream[int]) -> AsyncIterator[int]:
        async for key, amount in stream.items():
            total = totals[key] + amount
            await asyncio.sleep(amount)
            totals[key] = total
            yield total

    orders_of = (("a", 5), ("b", 1), ("a", 2), ("c", 3), ("b", 1), ("a", 1))
    inputs = [Input(orders, amount, key=key, timestamp=1.0) for key, amount in orders_of]
    report = assert_exactly_once(app, inputs)
    assert report.crashes > 5


def test_a_channel_and_its_agent_are_in_a_context() -> None:
    app = fs.App("channelled")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    heard: list[str] = []
    channel = app.channel(value_type=str)

    @app.agent(words, sink=[channel])
    async def shout(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            yield word.upper()

    @app.agent(channel)
    async def hear(stream: fs.Stream[str]) -> None:
        async for word in stream:
            heard.append(word)

    with app.test_context() as context:
        context.topic(words).send("a", key="k")
        assert heard == ["A"]


def test_S9_what_goes_into_a_channel_is_heard_by_the_agent_of_the_same_worker_alone() -> None:
    app = fs.App("channelled")
    words = app.topic("words", key_type=str, value_type=str, partitions=2)
    loud = app.topic("loud", key_type=str, value_type=str, partitions=1)
    channel = app.channel(value_type=str)

    @app.agent(words, sink=[channel])
    async def pass_on(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            yield word

    @app.agent(channel, sink=[loud])
    async def shout(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            yield word.upper()

    async def hear() -> list[str]:
        listener = channel.listen()
        for word in "abcdef":
            await words.send(key=word, value=word)
        return sorted([(await listener.get()).value for _ in "abcdef"])

    with app.test_context(workers=2) as context:
        assert context.run(hear()) == [*"abcdef"]  # who is no worker hears all
        assert {record.partition for record in context.topic(words)} == {0, 1}
        assert sorted(context.topic(loud).values) == [*"ABCDEF"]
        context.crash(0)
        context.topic(words).send("g", key="g")
        assert sorted(context.topic(loud).values) == [*"ABCDEFG"]
