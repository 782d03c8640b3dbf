"""Topics that an app has made by name: `topic.declare()` and `maybe_declare()`, as in Faust."""

from __future__ import annotations

import pytest

import flowstream as fs
from flowstream.processing.errors import AppError
from flowstream.transport.types import NewTopic
from tests.processing.conftest import Kit


async def test_a_topic_is_made_as_it_is_declared(kit: Kit, name: str) -> None:
    async with kit.app(name, topic_partitions=3) as app:
        app.topic(f"{name}-own", partitions=2, config={"retention.ms": "60000"})
        # Another declaration of the name, and another type: it is the same topic.
        await app.topic(f"{name}-own", value_type=str).maybe_declare()
        await app.topics[f"{name}-own"].derive(value_type=int).maybe_declare()
        await app.topic(f"{name}-usual").declare()
    found = await kit.admin.topics([f"{name}-own", f"{name}-usual"], configs=True)
    assert {topic: found[topic].partitions for topic in found} == {
        f"{name}-own": 2,
        f"{name}-usual": 3,
    }
    assert found[f"{name}-own"].configs["retention.ms"] == "60000"


async def test_a_topic_that_is_there_stays_as_it_is(kit: Kit, name: str) -> None:
    await kit.admin.create_topics([NewTopic(name, 1, 1, {})])
    async with kit.app(name, topic_partitions=3) as app:
        topic = app.topic(name, value_type=str)
        await topic.declare()
        await topic.send(value="kept")
        await topic.declare()
    assert (await kit.admin.topics([name]))[name].partitions == 1
    assert await kit.values(name) == [b"kept"]


async def test_maybe_declare_looks_once_and_declare_each_time(kit: Kit, name: str) -> None:
    async with kit.app(name) as app:
        topic = app.topic(name, partitions=1)
        await topic.maybe_declare()
        await kit.admin.delete_topics([name])
        await topic.maybe_declare()
        assert await kit.admin.topics([name]) == {}
        await topic.declare()
        assert set(await kit.admin.topics([name])) == {name}


async def test_an_agent_and_a_task_may_ask_for_it(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", value_type=str, partitions=1)
    seen: list[str] = []

    @app.agent(words)
    async def see(stream: fs.Stream[str]) -> None:
        await app.topic(f"{name}-before", partitions=1).maybe_declare()
        async for word in stream:
            await app.topic(f"{name}-within", partitions=1).maybe_declare()
            seen.append(word)

    @app.task
    async def begin() -> None:
        await words.maybe_declare()
        await words.send(value="a")

    async with kit.running(app):
        await kit.sees(lambda: seen == ["a"])
    assert len(await kit.admin.topics([f"{name}-before", f"{name}-within"])) == 2


def test_in_memory_it_is_made_too() -> None:
    app = fs.App("memory")
    words = app.topic("words", value_type=str, partitions=1)

    @app.agent(words)
    async def see(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            await app.topic("within", value_type=str, partitions=1).maybe_declare()

    with app.test_context() as context:
        context.topic("words").send("a")
        assert list(context.topic("within").values) == []


async def test_a_topic_of_no_app_says_so() -> None:
    async def nowhere(record: object) -> fs.RecordMetadata:
        raise AssertionError(record)

    topic = fs.Topic("t", key_type=str, value_type=str, partitions=None, config={}, send=nowhere)
    with pytest.raises(AppError, match="is not an app's"):
        await topic.maybe_declare()


async def test_V2_a_partition_that_no_topic_has_is_refused_at_once() -> None:
    """It was waited for, half a minute long, and then the record might be stored."""
    topic = fs.App("shop", broker="kafka://127.0.0.1:1").topic("orders", value_type=int)
    with pytest.raises(ValueError, match="topic 'orders' has no partition -1: None leaves it open"):
        await topic.send(value=1, partition=-1)
