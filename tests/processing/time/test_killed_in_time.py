"""What goes by event time, killed everywhere: nothing depends on when an epoch ended or on whose
turn it was.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

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
