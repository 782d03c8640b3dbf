"""Results that would go nowhere: refused, or told."""

from __future__ import annotations

from typing import Any

import pytest

import flowstream as fs
from tests.processing.conftest import Kit


async def test_sinks_of_an_agent_that_cannot_yield_are_refused() -> None:
    app = fs.App("shop")
    words, out = app.topic("words"), app.topic("out")

    @app.agent(words, sink=[out])
    async def gives(stream: fs.Stream[Any]) -> Any:
        async for word in stream:
            return word
        return None

    with pytest.raises(fs.AppError, match=r"'gives' has sinks and yields nothing: .*`yield`"):
        await gives.probe()


async def test_a_result_that_is_returned_is_not_lost_without_a_word(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", value_type=str, partitions=1)

    @app.agent(words)
    async def gives(stream: fs.Stream[str]) -> Any:
        async for word in stream:
            return word.upper()
        return None

    await kit.create(app)
    await words.send(value="tea")
    with pytest.raises(fs.AgentFailed, match=r"'gives' .*returned 'TEA': results are yielded"):
        await fs.Worker(app, kit.address).run()
