"""Topics by a pattern in a test context: what is sent to one that matches reaches the agent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

import flowstream as fs


class Shop:
    """Counts the orders of every region."""

    def __init__(self, **options: Any) -> None:
        self.app = fs.App("shop")
        self.orders = self.app.topic(pattern="orders-.*", key_type=str, value_type=int)
        self.out = self.app.topic("orders-out", key_type=str, value_type=str, partitions=1)
        self.sums = self.app.Table("sums", default=int)

        @self.app.agent(self.orders, sink=[self.out], **options)
        async def add(stream: fs.Stream[int]) -> AsyncIterator[str]:
            async for event in stream.events():
                if event.value < 0:
                    raise ValueError("below zero")
                self.sums[event.key] += event.value
                yield f"{event.topic} {self.sums[event.key]}"

        self.agent = add


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_sent_to_a_topic_that_matches_reaches_the_agent(workers: int) -> None:
    shop = Shop()
    with shop.app.test_context(workers=workers) as context:
        start = context.now
        context.topic("orders-eu").send(5, key="a")
        context.topic("orders-us").send(7, key="a")
        context.topic("orders-eu").send(1, key="b")
        assert context.topic(shop.out).values == ["orders-eu 5", "orders-us 12", "orders-eu 1"]
        assert context.topic("orders-eu").values == [5, 1]
        assert dict(context.table(shop.sums)) == {"a": 12, "b": 1}
        assert context.now == start, "nobody waits for a look around"


def test_topics_that_are_declared_and_sent_to_from_outside() -> None:
    shop = Shop()
    eu = shop.app.topic("orders-eu", key_type=str, value_type=int, partitions=2)
    with shop.app.test_context() as context:
        context.topic(eu).send(5, key="a")
        context.run(eu.send(key="a", value=6))
        assert context.topic(shop.out).values == ["orders-eu 5", "orders-eu 11"]


def test_S9_a_crash_in_a_topic_that_came_loses_and_repeats_nothing() -> None:
    shop = Shop()
    with shop.app.test_context() as context:
        context.topic("orders-eu").send(1, key="a")
        context.topic("orders-us").send(2, key="a")
        context.crash_at("end")
        context.topic("orders-us").send(3, key="a")
        assert context.crashes == 1
        context.lose_state()
        context.topic("orders-eu").send(4, key="a")
        assert dict(context.table(shop.sums)) == {"a": 10}
        assert len(context.topic(shop.out)) == 4


def test_L7_a_dead_letter_goes_back_to_the_topic_that_it_came_from() -> None:
    shop = Shop(on_error="dead_letter")
    with shop.app.test_context() as context:
        context.topic("orders-us").send(-1, key="a")
        context.topic("orders-eu").send(2, key="a")
        assert [letter.topic for letter in context.dead_letters] == ["orders-us"]
        assert context.dead_letters.redrive() == 1
        assert [letter.topic for letter in context.dead_letters] == ["orders-us", "orders-us"]


def test_events_of_several_topics_park_and_go_on() -> None:
    shop = Shop(on_error=fs.park(2, then="skip"))
    with shop.app.test_context() as context:
        context.topic("orders-us").send(-1, key="a")
        context.topic("orders-eu").send(2, key="a")
        context.advance(60)
        assert context.topic(shop.out).values == ["orders-eu 2"]


def test_a_pattern_is_no_one_topic() -> None:
    shop = Shop()
    told = r"is no one topic: .* context.topic\('NAME'"
    with shop.app.test_context() as context, pytest.raises(fs.FlowstreamError, match=told):
        context.topic(shop.orders)


async def test_an_agent_alone_on_a_pattern_gets_nothing_by_put() -> None:
    shop = Shop()
    async with shop.agent.test_context() as context:
        with pytest.raises(fs.FlowstreamError, match="is no one topic"):
            await context.put(1)


def test_a_pattern_with_other_types_is_read_by_these() -> None:
    app = fs.App("shop")
    words = app.topic(pattern="orders-.*", value_type=int).derive(value_type=str)
    out = app.topic("out", value_type=str, partitions=1)

    @app.agent(words, sink=[out])
    async def echo(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            yield word

    with app.test_context() as context:
        context.topic("orders-eu").send("text")
        assert context.topic(out).values == ["text"]
