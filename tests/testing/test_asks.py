"""Who asks in a context is answered, whoever is killed meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

import flowstream as fs
from flowstream.testing.lives import STEPS


@pytest.mark.parametrize("step", STEPS)
def test_S9_a_request_is_answered_once_though_its_worker_is_killed(step: str) -> None:
    app = fs.App("bank")
    amounts = app.topic("amounts", key_type=str, value_type=int, partitions=2)
    totals = app.Table("totals", key_type=str, value_type=int, default=int)

    @app.agent(amounts)
    async def add(stream: fs.Stream[int]) -> AsyncIterator[int]:
        async for key, amount in stream.items():
            totals[key] += amount
            yield totals[key]

    async def ask() -> list[int]:
        return await asyncio.gather(*(add.ask(1, key=key) for key in "abcdefabcdef"))

    with app.test_context(workers=2) as context:
        context.crash_at(step)
        assert sorted(context.run(ask())) == [1] * 6 + [2] * 6
        assert context.crashes == 1
        context.stop(0)
        assert context.run(add.ask(1, key="a")) == 3
    with app.test_context() as context:  # nothing is left of the one before
        assert context.run(add.ask(1, key="a")) == 1
