"""Requests that are parked: whoever asked hears of the try that ends it, and of no other."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

import flowstream as fs
from flowstream.testing import AppContext

BESIDE: list[dict[str, Any]] = [{}, {"concurrency": 2, "order": "key"}]


def doubling(bad_until: int, **how: Any) -> tuple[fs.App, fs.Agent[int], Counter[int]]:
    """An app whose agent fails on the key "bad" in its first tries."""
    app = fs.App("parked-requests")
    numbers = app.topic(
        "numbers", key_type=str, value_type=int, partitions=1, timestamp=lambda value: value
    )
    tries: Counter[int] = Counter()

    @app.agent(numbers, on_error=fs.park(3, backoff=1.0), **how)
    async def double(stream: fs.Stream[int]) -> AsyncIterator[int]:
        async for key, number in stream.items():
            tries[number] += 1
            if key == "bad" and tries[number] <= bad_until:
                raise ValueError("not yet")
            yield number * 2

    return app, double, tries


async def ask(agent: fs.Agent[int], number: int, key: str) -> Any:
    """The answer, or the error that it is."""
    try:
        return await agent.ask(number, key=key, timeout=100)
    except fs.ReplyFailed as error:
        return str(error)


def answers(context: AppContext, agent: fs.Agent[int]) -> list[Any]:
    """One request after the other, as each answer comes."""
    return [
        context.run(ask(agent, number, key))
        for number, key in enumerate(("ok", "bad", "bad", "ok"))
    ]


@pytest.mark.parametrize("how", BESIDE)
def test_S11_a_parked_request_is_answered_by_the_try_that_goes_well(how: dict[str, Any]) -> None:
    app, double, tries = doubling(2, **how)
    with app.test_context() as context:
        assert answers(context, double) == [0, 2, 4, 6]
        assert min(tries[1], tries[2]) == 3


@pytest.mark.parametrize("how", BESIDE)
def test_S11_a_parked_request_that_is_given_up_is_answered_then(how: dict[str, Any]) -> None:
    app, double, tries = doubling(100, **how)
    with app.test_context() as context:
        failed = "ValueError: not yet"
        assert answers(context, double) == [0, failed, failed, 6]
        assert min(tries[1], tries[2]) >= 3
        assert [letter.value for letter in context.dead_letters] == [b"1", b"2"]
