"""A watch at a worker that its group may have replaced."""

from __future__ import annotations

import asyncio

import pytest

import flowstream as fs
from flowstream.processing.queries import answers as module
from flowstream.processing.queries.answers import Answers
from flowstream.processing.queries.asked import Found, Question
from flowstream.transport.consumer import GroupConsumer
from tests.processing.conftest import Kit


async def test_S1_who_may_have_been_replaced_tells_of_no_more_changes(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off from its group and not from who watches, it said that it was there, and another
    worker's commits were told to nobody.
    """
    app = kit.app(name)
    topic = app.topic(f"{name}-in", key_type=str, value_type=int, partitions=1)
    app.Table("counts", default=int)

    @app.agent(topic)
    async def read(stream: fs.Stream[int]) -> None:
        async for _ in stream:
            pass

    monkeypatch.setattr(module, "HEARTBEAT_S", 0.01)
    async with kit.running(app) as worker:
        await kit.sees(lambda: Answers(worker).holds("counts", 0))
        changes = Answers(worker).watch(Question(table="counts", partition=0))
        assert isinstance(await anext(changes), Found)
        assert await anext(changes) == module.Changed([])
        with monkeypatch.context() as patched:
            patched.setattr(GroupConsumer, "may_be_replaced", True)
            with pytest.raises(StopAsyncIteration):
                await asyncio.wait_for(anext(changes), 10)
