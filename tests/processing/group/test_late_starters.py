"""A worker that froze in the middle of its start finds that another one has gone on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

import pytest

import flowstream as fs
from flowstream.processing.duties import provision
from flowstream.processing.stores.starting import Positions, TaskStarter
from flowstream.testing import AppContext
from flowstream.transport.admin import Admin
from flowstream.transport.batches import RecordBuffer
from flowstream.transport.transaction import TransactionSession
from flowstream.transport.types import TopicPartition


async def another_goes_on(context: AppContext, group: str, changelog: str) -> None:
    """What the owner of meanwhile commits: an event, its row and its offset."""
    session = TransactionSession(context.cluster, "another")
    await session.init()
    session.begin()
    buffer = RecordBuffer()
    buffer.append(TopicPartition("in", 0), b"a", b"first", 0)
    buffer.append(TopicPartition(changelog, 0), b"a", b"1", 0)
    await session.produce(buffer.take())
    await session.add_lone_offsets({TopicPartition("in", 0): 1}, group)
    await session.commit()


def test_G3_what_another_worker_committed_meanwhile_is_no_lost_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = fs.App("late")
    inputs = app.topic("in", key_type=str, value_type=str, partitions=1)
    out = app.topic("out", key_type=str, value_type=int, partitions=1)
    counts = app.Table("counts", default=int)
    positions = TaskStarter.positions
    asked: list[Positions] = []

    @app.agent(inputs, sink=[out])
    async def count(stream: fs.Stream[str]) -> AsyncIterator[int]:
        async for key, _ in stream.items():
            counts[key] += 1
            yield counts[key]

    async def frozen(self: TaskStarter, partitions: Iterable[TopicPartition]) -> Positions:
        found = await positions(self, partitions)
        asked.append(found)
        if len(asked) == 1:
            await another_goes_on(context, app.id, app.changelog("counts"))
        return found

    monkeypatch.setattr(TaskStarter, "positions", frozen)
    context = AppContext(app)
    with context:
        assert [list(found.values()) for found in asked] == [[0], [1]]
        context.topic(inputs).send("second", key="a")
        assert context.topic(out).values == [2]


def test_D7_a_changelog_that_another_worker_is_just_making_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was not there when this worker asked, and its store was when it looked."""
    app = fs.App("early")
    inputs = app.topic("in", key_type=str, value_type=str, partitions=2)
    counts = app.Table("counts", default=int)
    partitions, asked = provision._partitions, 0

    @app.agent(inputs)
    async def count(stream: fs.Stream[str]) -> None:
        async for key, _ in stream.items():
            counts[key] += 1

    async def stale(admin: Admin) -> dict[str, int]:
        nonlocal asked
        asked += 1
        found = await partitions(admin)
        return {} if asked == 1 else found

    with app.test_context() as context:
        context.topic(inputs).send("x", key="a")
        monkeypatch.setattr(provision, "_partitions", stale)
        context.start()
        context.topic(inputs).send("x", key="a")
        assert asked > 1
        assert context.table(counts)["a"] == 2
