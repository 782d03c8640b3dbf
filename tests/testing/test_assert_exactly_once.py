"""What finds an app that is not exactly once finds none in one that is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

import flowstream as fs
from flowstream.testing import Input, assert_exactly_once


def counting(*, leaky: bool = False, chained: bool = False) -> tuple[fs.App, list[Input | float]]:
    app = fs.App("counting")
    words = app.topic("words", key_type=str, value_type=str, partitions=2)
    middle = app.topic("middle", key_type=str, value_type=int, partitions=2)
    out = app.topic("out", key_type=str, value_type=int, partitions=2)
    counts = app.Table("counts", default=int)
    seen: dict[str, int] = {}

    @app.agent(words, sink=[middle if chained else out], on_error="dead_letter")
    async def count(stream: fs.Stream[str]) -> AsyncIterator[int]:
        async for word in stream:
            if word == "bad":
                raise ValueError(word)
            seen[word] = seen.get(word, 0) + 1
            counts[word] += 1
            yield seen[word] if leaky else counts[word]

    if chained:

        @app.agent(middle, sink=[out])
        async def double(stream: fs.Stream[int]) -> AsyncIterator[int]:
            async for value in stream:
                yield 2 * value

    inputs: list[Input | float] = [
        Input(words, word, key=word, timestamp=at)
        for at, word in enumerate(["a", "b", "a", "bad", "a", "b"])
    ]
    return app, [*inputs, 10.0]


@pytest.mark.parametrize("workers", [1, 2])
def test_S7_S8_S9_an_app_that_keeps_its_state_in_tables_passes(workers: int) -> None:
    app, inputs = counting(chained=True)
    report = assert_exactly_once(app, inputs, workers=workers, most_runs=40)
    assert (report.runs, report.crashes) == (41, 40)


def test_an_app_that_counts_in_a_variable_is_caught_and_told_where() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_exactly_once(lambda: counting(leaky=True)[0], _named(counting()[1]))
    told = str(caught.value)
    assert "not exactly once: killed before step 'produce' of commit 1" in told or "killed" in told
    assert "topic out, key 'a', number" in told
    assert "became" in told


def _named(inputs: list[Input | float]) -> list[Input | float]:
    """The same inputs for any app with these topics."""
    return [
        Input(each.topic.name, each.value, each.key, each.timestamp)
        if isinstance(each, Input) and not isinstance(each.topic, str)
        else each
        for each in inputs
    ]


def test_what_an_app_sends_to_itself_is_compared_too() -> None:
    def make() -> fs.App:
        app = fs.App("numbering")
        words = app.topic("words", key_type=str, value_type=str, partitions=1)
        middle = app.topic("middle", key_type=str, value_type=int, partitions=1)

        @app.agent(words)
        async def number(stream: fs.Stream[str]) -> None:
            so_far = 0
            async for event in stream.events():
                so_far += 1
                await middle.send(key=event.key, value=so_far)

        @app.agent(middle)
        async def pass_over(stream: fs.Stream[int]) -> None:
            async for _ in stream:
                pass

        return app

    with pytest.raises(AssertionError, match="topic middle, key 'a'"):
        assert_exactly_once(make, [Input("words", "w", key="a") for _ in range(3)])


def test_what_an_app_sends_into_the_topic_that_it_is_fed_by_is_compared_too() -> None:
    """It passed, whatever the app sent there: only sinks were looked at."""
    app = fs.App("again")
    topic = app.topic("numbers", key_type=str, value_type=int, partitions=1)

    @app.agent(topic)
    async def number(stream: fs.Stream[int]) -> None:
        seen = 0
        async for value in stream:
            seen += 1
            if value < 100:
                await topic.send(key="a", value=100 + seen)

    with pytest.raises(AssertionError, match="topic numbers, key 'a', number"):
        assert_exactly_once(app, [Input(topic, value, key="a") for value in range(3)])


def test_what_an_app_sends_into_the_topic_that_it_is_fed_by_may_come_in_any_order() -> None:
    """Whether it comes before the next input depends on when that was fed."""
    app = fs.App("countdown")
    topic = app.topic("numbers", key_type=str, value_type=int, partitions=1)

    @app.agent(topic)
    async def count_down(stream: fs.Stream[int]) -> None:
        async for value in stream:
            if value > 0:
                await topic.send(key="a", value=value - 1)

    assert_exactly_once(app, [Input(topic, 2, key="a") for _ in range(2)])


def test_at_least_once_is_not_asked_for_more() -> None:
    app = fs.App("loose", processing_guarantee="at_least_once")
    topic = app.topic("in", key_type=str, value_type=str, partitions=1)

    @app.agent(topic)
    async def read(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    with pytest.raises(ValueError, match="at_least_once"):
        assert_exactly_once(app, [Input(topic, "a")])


def test_S9_a_record_has_its_time_however_late_who_was_killed_comes_to_it() -> None:
    app = fs.App("slow")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    out = app.topic("out", key_type=str, value_type=str, partitions=1)

    @app.agent(words, sink=[out])
    async def wait(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            await asyncio.sleep(0.5)
            yield word

    report = assert_exactly_once(app, [Input(words, word, key=word) for word in ("a", "b")])
    assert report.crashes


def test_S9_of_workers_of_which_none_takes_so_many_events_all_are_killed() -> None:
    app = fs.App("shared")
    words = app.topic("words", key_type=str, value_type=str, partitions=2)
    counts = app.Table("counts", default=int)

    @app.agent(words)
    async def count(stream: fs.Stream[str]) -> None:
        async for word in stream:
            counts[word] += 1

    inputs = [Input(words, word, key=word) for word in ("a", "b", "c", "d")]
    with app.test_context(workers=2) as context:
        for each in inputs:
            each.put(context, settle=True)
        assert {record.partition for record in context.topic(words)} == {0, 1}
    report = assert_exactly_once(app, inputs, workers=2)
    assert report.crashes >= report.runs - 1


@pytest.mark.parametrize("workers", [1, 2])
def test_S9_records_of_several_topics_are_read_in_the_order_of_the_inputs(workers: int) -> None:
    """An order that found its user was told to find none when the worker was killed: all inputs
    were there at once, and nobody promises an order of topics.
    """
    app = fs.App("shop")
    users = app.topic("users", key_type=str, value_type=str, partitions=2)
    orders = app.topic("orders", key_type=str, value_type=str, partitions=2)
    told = app.topic("told", key_type=str, value_type=str, partitions=2)
    names = app.Table("names", key_type=str, value_type=str, default=str)

    @app.agent(users)
    async def learn(stream: fs.Stream[str]) -> None:
        async for key, name in stream.items():
            names[key] = name

    @app.agent(orders, sink=[told])
    async def tell(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for key, what in stream.items():
            yield f"{names[key]} {what}"

    pairs = ((users, "ada"), (orders, "buys"), (users, "bob"), (orders, "sells"))
    inputs = [Input(topic, value, key="k") for topic, value in pairs]
    assert_exactly_once(app, inputs, workers=workers)


def test_a_value_that_equals_nothing_equals_itself() -> None:
    app = fs.App("ratios")
    topic = app.topic("in", key_type=str, value_type=str, partitions=1)
    ratios = app.topic("ratios", key_type=str, value_type=float, partitions=1)

    @app.agent(topic, sink=[ratios])
    async def divide(stream: fs.Stream[str]) -> AsyncIterator[float]:
        async for _ in stream:
            yield float("nan")

    assert_exactly_once(app, [Input(topic, "a", key="k")])


def test_S7_an_app_that_keeps_last_values_beside_it_is_caught() -> None:
    """To set one twice is no different from once: only a worker without them shows it."""

    def make() -> fs.App:
        app = fs.App("prices")
        prices = app.topic("prices", key_type=str, value_type=int, partitions=1)
        told = app.topic("told", key_type=str, value_type=int, partitions=1)
        last: dict[str, int] = {}

        @app.agent(prices, sink=[told])
        async def tell(stream: fs.Stream[int]) -> AsyncIterator[int]:
            async for key, price in stream.items():
                yield last.get(key, 0)
                last[key] = price

        return app

    with pytest.raises(AssertionError, match="topic told, key 'a', number"):
        assert_exactly_once(make, [Input("prices", 1, key="a"), Input("prices", 2, key="a")])
