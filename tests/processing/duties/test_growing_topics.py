"""An input that grows under tables is refused with the remedy; without tables it is joined anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

import flowstream as fs
from flowstream.processing.duties import provision
from flowstream.transport.types import NewTopic
from flowstream.wire.api import ApiKey
from flowstream.wire.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsTopic,
)
from tests.processing.conftest import Kit


async def grow(kit: Kit, topic: str, partitions: int) -> None:
    request = CreatePartitionsRequest(
        topics=(CreatePartitionsTopic(name=topic, count=partitions, assignments=None),),
        timeout_ms=10_000,
        validate_only=False,
    )
    answer = await kit.cluster.request(None, ApiKey.CREATE_PARTITIONS, lambda _: request)
    assert [result.error_code for result in answer.results] == [0]


def echoing(kit: Kit, name: str, *, counts: bool) -> tuple[fs.App, fs.Topic[str, str]]:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str)
    out = app.topic(f"{name}-out", key_type=str, value_type=str)
    table = app.Table("counts", default=int) if counts else None

    @app.agent(words, sink=[out])
    async def echo(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for key, value in stream.items():
            if table is not None:
                table[key] += 1
            yield value

    return app, words


async def create(kit: Kit, name: str) -> None:
    await kit.admin.create_topics([NewTopic(f"{name}-in", 1), NewTopic(f"{name}-out", 1)])


@pytest.mark.parametrize("first", ["the worker that looks", "the assignment"])
async def test_S8_an_input_that_grows_under_a_table_stops_the_worker(
    kit: Kit, name: str, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if first == "the assignment":
        monkeypatch.setattr(provision, "LOOK_EVERY_S", 1_000)
    else:
        monkeypatch.setattr(provision, "LOOK_EVERY_S", 0.05)
    app, words = echoing(kit, name, counts=True)
    await create(kit, name)
    await words.send(key="k", value="a")
    worker = fs.Worker(app, kit.address)
    running = asyncio.create_task(worker.run())
    await kit.until(kit.committed(app, words.name, 1))
    await grow(kit, words.name, 3)
    if first == "the assignment":
        assert worker.membership is not None
        worker.membership.consumer.want_rebalance()
    told = "'counts' was built with 1 partitions .* its input has 3 now: .* start a new app id"
    with pytest.raises(fs.PartitionMismatch, match=told):
        await asyncio.wait_for(running, 30)
    assert await kit.values(f"{name}-out") == [b"a"]


async def test_G7_topics_that_grow_without_tables_are_joined_anew(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "flowstream.worker")
    monkeypatch.setattr(provision, "LOOK_EVERY_S", 0.05)
    app, words = echoing(kit, name, counts=False)
    await create(kit, name)
    await words.send(key="k", value="first")
    async with kit.running(app) as worker:
        await kit.until(kit.committed(app, words.name, 1))
        await grow(kit, words.name, 3)

        async def owns_all() -> bool:
            return worker.tasks == ["0/3", "1/3", "2/3"]

        await kit.until(owns_all)
        for number in range(3):
            await words.send(key=f"k{number}", value=str(number), partition=number)
        await kit.until(kit.committed(app, words.name, 4))
        await grow(kit, f"{name}-out", 2)

        async def knows_both() -> bool:
            return worker.output(f"{name}-out").partitions == 2

        await kit.until(knows_both)
        await words.send(key="last", value="last", partition=0)
        await kit.until(kit.committed(app, words.name, 5))
    assert sorted(await kit.values(f"{name}-out")) == [b"0", b"1", b"2", b"first", b"last"]
    for told in (f"({name}-in 3): joining anew", f"({name}-out 2): joining anew"):
        assert told in caplog.text
