"""What goes by event time, killed everywhere: nothing depends on when an epoch ended or on whose
turn it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import flowstream as fs
from flowstream.testing import Input, assert_exactly_once

Topic = fs.Topic[Any, Any]


def app_with(*names: str) -> tuple[fs.App, dict[str, Topic]]:
    app = fs.App("killed")
    return app, {
        name: app.topic(name, key_type=str, value_type=int, partitions=1) for name in names
    }


def events(*told: tuple[str, float]) -> list[Input | float]:
    found: list[Input | float] = [
        Input("src", number, key=key, timestamp=at) for number, (key, at) in enumerate(told)
    ]
    return [*found, 30.0]


def test_S7_an_id_is_forgotten_by_the_watermark_not_by_when_its_row_goes() -> None:
    def once() -> fs.App:
        app, topics = app_with("src", "out")

        @app.agent(topics["src"], sink=[topics["out"]])
        async def pass_once(stream: fs.Stream[int]) -> AsyncIterator[int]:
            async for number in stream.dedupe(10):
                yield number

        return app

    inputs = events(("a", 1000.0), ("b", 1010.0), ("a", 1005.0), ("a", 1006.0), ("b", 1009.0))
    assert_exactly_once(once, inputs)
    with once().test_context() as context:
        for each in inputs[:-1]:
            assert isinstance(each, Input)
            each.put(context, settle=False)
        context.settle()
        # The watermark has passed what was known of `a`: a late one is a first one, in any batch.
        assert context.topic("out").values == [0, 1, 2]


def test_S7_a_closed_window_is_gone_whether_or_not_it_was_told_yet() -> None:
    def reading() -> fs.App:
        app, topics = app_with("src", "out", "told")
        counts = app.Table("counts", default=int).tumbling(10, grace=5)

        @app.agent(topics["src"], sink=[topics["out"]])
        async def count(stream: fs.Stream[int]) -> AsyncIterator[int]:
            async for key, _ in stream.items():
                counts[key] += 1
                windows = sum(1 for each, _, _ in counts.items() if each == key)
                yield counts[key].current() * 100 + windows * 10 + (key in counts)

        @app.agent(counts.closed, sink=[topics["told"]])
        async def tell(stream: fs.Stream[Any]) -> AsyncIterator[int]:
            async for window in stream:
                yield window.value

        return app

    inputs = events(("a", 1001.0), ("a", 1002.0), ("b", 1015.0), ("a", 1003.0), ("a", 1016.0))
    assert_exactly_once(reading, inputs)
    with reading().test_context() as context:
        for each in inputs[:-1]:
            assert isinstance(each, Input)
            each.put(context, settle=False)
        context.settle()
        assert context.topic("out").values == [111, 211, 111, 0, 111]
        assert context.topic("told").values == [2]


@pytest.mark.parametrize("expires", [None, 7.0])
def test_S7_S10_what_was_closed_is_late_for_the_next_worker_though_nobody_is_told(
    expires: float | None,
) -> None:
    tables: list[Any] = []

    def closing() -> fs.App:
        app, topics = app_with("src", "out")
        hits = app.Table("hits", default=int).tumbling(10, grace=0, expires=expires)

        tables.append(hits)

        @app.agent(topics["src"], sink=[topics["out"]])
        async def count(stream: fs.Stream[int]) -> AsyncIterator[int]:
            async for key, number in stream.items():
                if key != "none":
                    hits[key] += number + 1
                yield hits[key].value(1000.0)

        return app

    inputs = events(("a", 1000.0), ("b", 2000.0), ("a", 1001.0), ("none", 3000.0), ("b", 2001.0))
    assert_exactly_once(closing, inputs)
    with closing().test_context() as context:
        for each in inputs[:4]:
            assert isinstance(each, Input)
            each.put(context, settle=True)
        context.lose_state()
        late = inputs[4]
        assert isinstance(late, Input)
        late.put(context, settle=True)
        assert context.topic("out").values[-1] == 0
        assert dict(context.table(tables[-1])).get(("b", 2000.0), 2) == 2


@pytest.mark.parametrize("ends", ["expires", "ttl"])
def test_S7_S8_nothing_ends_by_the_time_of_units_that_wait(ends: str) -> None:
    """An agent is far ahead of another on its topic when an epoch closes, and the worker dies."""
    app, topics = app_with("src", "out")
    plain = app.Table("hits", default=int, ttl=10 if ends == "ttl" else None)
    hits: Any = plain if ends == "ttl" else plain.tumbling(10, expires=10)
    context = app.test_context()
    deaths: list[int] = []

    @app.agent(topics["src"], sink=[topics["out"]])
    async def count(stream: fs.Stream[int]) -> AsyncIterator[int]:
        async for key, _ in stream.items():
            hits[key] += 1
            yield hits[key] if ends == "ttl" else hits[key].current()

    @app.agent(topics["src"])
    async def slow(stream: fs.Stream[int]) -> None:
        async for number in stream:
            if number == 21 and not deaths:
                await asyncio.sleep(2)
                deaths.append(number)
                context.crash(restart=False)

    with context:
        context.advance(1)
        context.stop()
        times = [1000.0, *[1001.0] * 20, 1005.0, 5000.0, 5001.0, 1006.0]
        for number, at in enumerate(times):
            context.topic("src").send(number, key="a", timestamp=at, settle=False)
        context.start()  # all are there: a step is of many events
        context.settle()
        # What is kept is what the committed units left, none of which was later than 1005.
        committed = len(context.topic("out"))
        assert 0 < committed < 21
        assert list(dict(context.table(plain)).values()) == [committed]
        context.start()
        context.settle()
        assert context.topic("out").values == [*range(1, 23), 1, 2, 0 if ends == "expires" else 2]
