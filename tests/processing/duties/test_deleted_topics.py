"""V2: a topic that is deleted under a running worker stops it with the topic's name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

import flowstream as fs
from flowstream.processing.duties import provision
from tests.processing.conftest import Kit


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provision, "LOOK_EVERY_S", 0.1)


def doubling(kit: Kit, name: str) -> tuple[fs.App, fs.Topic[str, int]]:
    app = kit.app(name, transaction_timeout=2)
    numbers = app.topic(f"{name}-in", key_type=str, value_type=int, partitions=1)
    out = app.topic(f"{name}-out", value_type=int, partitions=1)
    seen = app.Table("seen", default=int)

    @app.agent(numbers, sink=[out])
    async def double(stream: fs.Stream[int]) -> AsyncIterator[int]:
        async for key, value in stream.items():
            seen[key] += 1
            yield value * 2

    return app, numbers


@pytest.mark.parametrize(
    ("topic", "error", "told"),
    [
        # A broker that makes it anew at once has no such offset any more.
        ("{}-in", fs.FlowstreamError, "input topic '{0}-in' was deleted|{0}-in-0 has no offset"),
        ("{}-out", fs.TopicMissing, "output topic '{}-out' was deleted"),
        ("{}-seen-changelog", fs.StateLost, "changelog '{}-seen-changelog' of table 'seen' was"),
    ],
)
async def test_V2_a_deleted_topic_stops_the_worker(
    kit: Kit, name: str, topic: str, error: type[Exception], told: str
) -> None:
    app, numbers = doubling(kit, name)
    worker = fs.Worker(app, kit.address)
    running = asyncio.create_task(worker.run())

    async def assigned() -> bool:
        return bool(worker.tasks)

    await kit.until(assigned)
    await numbers.send(key="k", value=1)
    await kit.until(kit.count(f"{name}-out", 1))
    if topic == "{}-out":
        # Goes on until a record has to be written to it.
        await kit.admin.delete_topics([topic.format(name)])
        await numbers.send(key="k", value=2)
    else:
        await kit.admin.delete_topics([topic.format(name)])
    with pytest.raises(error, match=told.format(name)):
        await asyncio.wait_for(running, 30)


async def test_V2_a_deleted_input_stops_an_idle_worker(kit: Kit, name: str) -> None:
    app, _ = doubling(kit, name)
    worker = fs.Worker(app, kit.address)
    running = asyncio.create_task(worker.run())

    async def assigned() -> bool:
        return bool(worker.tasks)

    await kit.until(assigned)
    await kit.admin.delete_topics([f"{name}-in"])
    with pytest.raises(fs.TopicMissing, match=f"input topic '{name}-in' was deleted"):
        await asyncio.wait_for(running, 30)


async def test_G3_a_topic_that_is_deleted_is_not_made_anew_by_who_reads_it(
    kit: Kit, name: str
) -> None:
    """It would be there again, empty, and a worker that starts would take it for its input."""
    app, numbers = doubling(kit, name)
    worker = fs.Worker(app, kit.address)
    running = asyncio.create_task(worker.run())
    await kit.sees(lambda: bool(worker.tasks))
    await numbers.send(key="k", value=1)
    await kit.until(kit.count(f"{name}-out", 1))
    await kit.admin.delete_topics([f"{name}-in"])
    with pytest.raises(fs.FlowstreamError):
        await asyncio.wait_for(running, 30)
    assert await kit.admin.topics([f"{name}-in"]) == {}


async def worker_with_global_table(kit: Kit, name: str, where: str) -> fs.Worker:
    app = kit.app(name, data_dir=kit.directory / where)
    words = app.topic(f"{name}-in", key_type=str, value_type=int, partitions=2)
    table = app.GlobalTable("everywhere", value_type=int, partitions=2)

    @app.agent(words)
    async def put(stream: fs.Stream[int]) -> None:
        async for key, value in stream.items():
            table[key] = value

    await kit.create(app)
    return fs.Worker(app, kit.address)


async def test_V2_a_global_table_whose_changelog_is_deleted_stops_whoever_follows_it(
    kit: Kit, name: str
) -> None:
    workers = [await worker_with_global_table(kit, name, f"{number}") for number in range(2)]
    running = [asyncio.create_task(worker.run()) for worker in workers]
    await kit.sees(lambda: all(len(worker.tasks) == 1 for worker in workers))
    await kit.admin.delete_topics([f"{name}-everywhere-changelog"])
    for each in running:
        with pytest.raises(fs.StateLost, match=r"changelog .* of table 'everywhere' was deleted"):
            await asyncio.wait_for(each, 30)
