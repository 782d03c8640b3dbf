"""Streams, sinks and queues on the integrated broker: what passes through an agent, and how."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.environment.settings import Settings
from flowstream.transport.types import NewTopic, TopicPartition
from tests.processing.conftest import Kit


async def filled(kit: Kit, topic: fs.Topic[str, str], values: list[str]) -> None:
    await kit.admin.create_topics([NewTopic(topic.name, 1)])
    # The first one alone: it opens the connection that the others then keep their order on.
    await topic.send(key="k", value=values[0], timestamp=7.0)
    await asyncio.gather(*(topic.send(key="k", value=v, timestamp=7.0) for v in values[1:]))


async def test_events_say_where_they_come_from(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    seen: list[fs.Event[str]] = []

    @app.agent(words)
    async def look(stream: fs.Stream[str]) -> None:
        async for event in stream.events():
            seen.append(event)

    await kit.admin.create_topics([NewTopic(words.name, 1)])
    await words.send(key="k", value="v", timestamp=12.5, headers={"h": b"1"})
    await kit.run_until(app, kit.committed(app, words.name, 1))
    assert seen == [fs.Event("k", "v", (("h", b"1"),), 12.5, words.name, 0, 0)]


async def test_sinks_are_topics_agents_and_functions(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    middle = app.topic(f"{name}-middle", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=1)
    called: list[str] = []

    async def record(value: str) -> None:
        called.append(value)

    @app.agent(middle, sink=[out, called.append])
    async def second(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for value in stream:
            yield value + "!"

    @app.agent(words, sink=[second, record])
    async def first(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for value in stream:
            yield value.upper()

    await kit.admin.create_topics([NewTopic(middle.name, 1)])
    await filled(kit, words, ["a", "b"])
    await kit.run_until(app, kit.count(out.name, 2))
    records = await kit.records(out.name)
    assert [(r.key, r.value, r.timestamp) for r in records] == [
        (b"k", b"A!", 7000),
        (b"k", b"B!", 7000),
    ]
    assert sorted(called) == ["A", "A!", "B", "B!"]


async def test_filters_may_be_async_and_pass_over_events(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)

    async def short(value: str) -> bool:
        await asyncio.sleep(0)
        return len(value) < 3

    @app.agent(words, sink=[out])
    async def keep(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for key, value in stream.filter(short).filter(lambda v: v != "b").items():
            yield f"{key}{value}"

    await filled(kit, words, ["a", "long", "b", "c", "long"])
    await kit.run_until(app, kit.committed(app, words.name, 5))
    assert await kit.values(out.name) == [b"ka", b"kc"]


async def test_a_failing_take_is_retried_whole(kit: Kit, name: str) -> None:
    app = kit.app(name, retry_backoff=0.001)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)
    tries: list[list[str]] = []

    @app.agent(words, sink=[out], on_error="retry")
    async def batch(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for values in stream.take(2, within=30):
            tries.append(values)
            if tries.count(["c", "d"]) == 1:
                raise OSError("once")
            yield "".join(values)

    await filled(kit, words, list("abcd"))
    await kit.run_until(app, kit.count(out.name, 2))
    assert await kit.values(out.name) == [b"ab", b"cd"]
    assert tries == [["a", "b"], ["c", "d"], ["c", "d"]]


@pytest.mark.parametrize("policy", ["retry", "dead_letter", "skip", "stop"])
async def test_S7_S9_S11_a_failing_take_that_timed_out_has_each_record_once(
    kit: Kit, name: str, policy: Any
) -> None:
    app = kit.app(name, retry_backoff=0.001)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)
    tries: list[list[str]] = []

    @app.agent(words, sink=[out], on_error=policy)
    async def batch(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for values in stream.take(5, within=0.2):
            tries.append(values)
            if len(tries) == 1:
                raise OSError("once")
            yield "".join(values)

    await filled(kit, words, list("ab"))
    if policy == "stop":
        with pytest.raises(fs.AgentFailed, match="failed at offset 1"):
            await fs.Worker(app, kit.address).run()
        assert await kit.admin.group_offsets(app.id) == {}
        return
    worker = await kit.run_until(app, kit.committed(app, words.name, 2))
    assert tries == ([["a", "b"]] * 2 if policy == "retry" else [["a", "b"]])
    assert await kit.values(out.name) == ([b"ab"] if policy == "retry" else [])
    assert await kit.values(app.dead_letters) == ([b"a", b"b"] if policy == "dead_letter" else [])
    assert worker.counts.skipped == (2 if policy == "skip" else 0)
    assert worker.counts.dead_letters == (2 if policy == "dead_letter" else 0)


async def test_agents_that_take_and_agents_that_do_not_share_a_topic(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)

    @app.agent(words, sink=[out])
    async def three(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for values in stream.take(3, within=0.2):
            yield "+".join(values)

    @app.agent(words, sink=[out])
    async def single(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for value in stream:
            await asyncio.sleep(0)
            yield value

    await filled(kit, words, [str(n) for n in range(20)])
    await kit.run_until(app, kit.committed(app, words.name, 20))
    values = [v.decode() for v in await kit.values(out.name) if v]
    assert [v for v in values if "+" not in v][:19] == [str(n) for n in range(19)]
    taken = [n for v in values if "+" in v for n in v.split("+")]
    assert taken == [str(n) for n in range(len(taken))]


async def test_X3_a_slow_agent_does_not_pile_up_records(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)
    total, gate, most = 3 * Settings.max_buffered_records, asyncio.Event(), 0

    @app.agent(words, sink=[out])
    async def slow(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for value in stream:
            await gate.wait()
            yield value

    await filled(kit, words, [str(n) for n in range(total)])
    async with kit.running(app) as worker:

        async def paused() -> bool:
            membership = worker._membership
            return membership is not None and bool(membership.consumer.paused)

        await kit.until(paused)
        assert worker._membership is not None
        for task in worker._membership.tasks.values():
            most = max(most, task.queued(words.name))
        gate.set()
        await kit.until(kit.committed(app, words.name, total))
    assert most <= Settings.max_buffered_records + 500
    assert await kit.values(out.name) == [str(n).encode() for n in range(total)]


async def test_a_slow_await_holds_up_nobody_else(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=2)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)
    gate = asyncio.Event()

    @app.agent(words, sink=[out])
    async def wait(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for value in stream:
            if value == "slow":
                await gate.wait()
            yield value

    await kit.admin.create_topics([NewTopic(words.name, 2)])
    await words.send(value="before", partition=0)
    await words.send(value="slow", partition=0)
    for n in range(5):
        await words.send(value=str(n), partition=1)
    async with kit.running(app):
        await kit.until(kit.count(out.name, 6))
        assert sorted(await kit.values(out.name)) == sorted([b"before", *b"0 1 2 3 4".split()])
        gate.set()
        await kit.until(kit.count(out.name, 7))


async def test_tombstones_follow_the_type(kit: Kit, name: str) -> None:
    app = kit.app(name)
    kind: Any = str | None
    words = app.topic(f"{name}-in", key_type=str, value_type=kind, partitions=1)
    seen: list[object] = []

    @app.agent(words)
    async def look(stream: fs.Stream[object]) -> None:
        async for value in stream:
            seen.append(value)

    await kit.admin.create_topics([NewTopic(words.name, 1)])
    await words.send(key="k", value="v")
    await words.send(key="k", value=None)
    await kit.run_until(app, kit.committed(app, words.name, 2))
    assert seen == ["v", None]


class Number(fs.Record):
    n: int


async def test_an_undecodable_record_stops_by_default(kit: Kit, name: str) -> None:
    app = kit.app(name)
    numbers = app.topic(f"{name}-in", value_type=Number, partitions=1)
    raw = app.topic(f"{name}-in", value_type=bytes)

    @app.agent(numbers)
    async def read(stream: fs.Stream[Number]) -> None:
        async for _ in stream:
            pass

    await kit.admin.create_topics([NewTopic(numbers.name, 1)])
    await raw.send(value=b'{"n": 1}')
    await raw.send(value=b'{"n": "one"}')
    with pytest.raises(fs.AgentFailed, match="offset 1 does not decode") as stopped:
        await fs.Worker(app, kit.address).run()
    assert "unable to parse string as an integer" in str(stopped.value)
    assert "https://" not in str(stopped.value)  # pydantic's own page about it is of no use here
    assert await kit.committed(app, numbers.name, 1)()


async def test_an_agent_reads_several_topics_and_branches(kit: Kit, name: str) -> None:
    app = kit.app(name)
    first = app.topic(f"{name}-first", key_type=str, value_type=int, partitions=1)
    second = app.topic(f"{name}-second", key_type=str, value_type=int, partitions=2)
    odd = app.topic(f"{name}-odd", key_type=str, value_type=int, partitions=1)
    rest = app.topic(f"{name}-rest", key_type=str, value_type=int, partitions=1)

    @app.agent(first, second, sink=[fs.branch((lambda n: n % 2 == 1, odd), default=rest)])
    async def route(stream: fs.Stream[int]) -> AsyncIterator[int]:
        async for number in stream:
            yield number

    await kit.create(app)
    async with kit.running(app):
        for number in range(6):
            await (first if number < 3 else second).send(key="k", value=number)
        await kit.until(kit.count(odd.name, 3))
        await kit.until(kit.count(rest.name, 3))
    assert sorted(v or b"" for v in await kit.values(odd.name)) == [b"1", b"3", b"5"]
    assert sorted(v or b"" for v in await kit.values(rest.name)) == [b"0", b"2", b"4"]


async def test_a_stream_goes_through_a_topic_of_the_app(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", key_type=str, value_type=str, partitions=1)
    middle = app.topic(f"{name}-middle", key_type=str, value_type=str, partitions=2)
    out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=1)

    @app.agent(words, sink=[out])
    async def count(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for event in stream.filter(bool).through(middle).events():
            yield f"{event.topic.removeprefix(name)}:{event.key}:{event.value}"

    await kit.create(app)
    async with kit.running(app):
        for key in "abc":
            await words.send(key=key, value=key.upper())
        await words.send(key="d", value="")
        await kit.until(kit.count(out.name, 3))
    assert sorted(v or b"" for v in await kit.values(out.name)) == [
        b"-middle:a:A", b"-middle:b:B", b"-middle:c:C",
    ]  # fmt: skip
    assert len(await kit.records(middle.name)) == 3


async def test_S11_a_repartition_topic_is_emptied_of_what_is_committed(kit: Kit, name: str) -> None:
    app = kit.app(name, purge_interval=0.05)
    words = app.topic(f"{name}-words", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=1)

    @app.agent(words, sink=[out])
    async def count(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream.group_by(str.lower, key_type=str):
            yield word

    await kit.create(app)
    async with kit.running(app):
        for number in range(5):
            await words.send(key="k", value=f"W{number}")
        await kit.until(kit.count(out.name, 5))
        between = TopicPartition(app.repartition("count"), 0)

        async def emptied() -> bool:
            return (await kit.admin.beginning_offsets([between]))[between] >= 5

        await kit.until(emptied)
    assert len(await kit.records(out.name)) == 5


@pytest.mark.parametrize(
    ("told", "letters"),
    [
        ({"value_type": int}, 1),
        ({"value_type": Number}, 1),
        ({"value_type": int | None}, 0),
        ({"value_type": int | str | None}, 0),
        ({"value_type": int, "allow_empty": True}, 0),
        ({"value_type": int, "compacting": True}, 0),
        ({}, 0),
    ],
)
@pytest.mark.parametrize("branched", [False, True])
async def test_none_is_yielded_to_topics_that_take_it(
    kit: Kit, name: str, told: dict[str, Any], letters: int, branched: bool
) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out: Any = app.topic(f"{name}-out", key_type=str, partitions=1, **told)
    sink = fs.branch(default=out) if branched else out

    @app.agent(words, sink=[sink], on_error="dead_letter")
    async def nothing(stream: fs.Stream[str]) -> AsyncIterator[None]:
        async for _ in stream:
            yield None

    await kit.create(app)
    await words.send(key="k", value="v")
    async with kit.running(app):
        await kit.until(kit.committed(app, words.name, 1))
    assert [r.value for r in await kit.records(out.name)] == [None] * (1 - letters)
    dead = await kit.records(app.dead_letters)
    assert len(dead) == letters
    for letter in dead:
        told_of = dict(letter.headers)["flowstream.cause"] or b""
        assert b"yielded None to topic '%b-out'" % name.encode() in told_of
        assert b"value_type=... | None, or compacting=True" in told_of


async def test_a_tombstone_that_is_sent_says_what_it_means(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", key_type=str, value_type=int, partitions=1)

    @app.agent(words)
    async def end(stream: fs.Stream[str]) -> None:
        async for word in stream:
            await out.send(key=word, value=None)

    await kit.create(app)
    await words.send(key="k", value="v")
    async with kit.running(app):
        await kit.until(kit.committed(app, words.name, 1))
    assert [(r.key, r.value) for r in await kit.records(out.name)] == [(b"v", None)]
