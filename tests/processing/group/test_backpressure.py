"""Backpressure: a partition that waits for its agent goes on when the agent does, whatever became
of the task meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import flowstream as fs
from flowstream.processing.environment.settings import Settings
from flowstream.transport.types import NewTopic
from tests.processing.conftest import Kit


async def test_V2_a_paused_partition_goes_on_after_a_rewind(kit: Kit, name: str) -> None:
    """A refused commit takes the task away while its partition is paused. The new task has an empty
    queue: nothing but the position was set anew, and that alone fetches nothing.
    """
    app = kit.app(name)
    numbers = app.topic(f"{name}-in", key_type=str, value_type=int, partitions=1)
    out = app.topic(f"{name}-out", value_type=int, partitions=1)
    total, full, gate, fenced = (
        3 * Settings.max_buffered_records,
        asyncio.Event(),
        asyncio.Event(),
        False,
    )

    @app.agent(numbers, sink=[out])
    async def slow(stream: fs.Stream[int]) -> AsyncIterator[int]:
        async for value in stream:
            await (full if value == 0 else gate).wait()
            yield value

    def steal(step: str) -> None:
        nonlocal fenced
        session = worker._session
        if step == "produce" and session is not None and not fenced:
            fenced = True
            session._producer = session._producer._replace(epoch=session._producer.epoch + 5)

    await kit.admin.create_topics([NewTopic(numbers.name, 1)])
    await numbers.send(key="k", value=0)  # alone: it opens the connection that keeps the order
    await asyncio.gather(*(numbers.send(key="k", value=n) for n in range(1, total)))
    async with kit.running(app, checkpoint=steal) as worker:
        await kit.sees(
            lambda: worker.membership is not None and bool(worker.membership.consumer.paused)
        )
        full.set()
        await kit.sees(lambda: worker.counts.aborts > 0)
        gate.set()
        await kit.until(kit.committed(app, numbers.name, total))
    assert await kit.values(out.name) == [str(n).encode() for n in range(total)]
