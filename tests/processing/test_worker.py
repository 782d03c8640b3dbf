"""A worker on the integrated broker: what an app's author sees."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

import flowstream as fs
from tests.processing.conftest import Kit


async def feed(topic: fs.Topic[str, str], pairs: list[tuple[str, str]]) -> None:
    for key, value in pairs:
        await topic.send(key=key, value=value)


async def create(kit: Kit, *names: str, partitions: int = 2) -> None:
    from flowstream.transport.types import NewTopic

    await kit.admin.create_topics([NewTopic(n, partitions) for n in names])


def counting(kit: Kit, name: str, **settings: object) -> tuple[fs.App, fs.Topic[str, str]]:
    """An app that counts words per key."""
    app = kit.app(name, **settings)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=2)
    out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=2)
    counts = app.Table("counts", default=int)

    @app.agent(words, sink=[out])
    async def count(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for key, value in stream.items():
            counts[key] += 1
            yield f"{key}:{value}:{counts[key]}"

    return app, words


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
async def test_counts_survive_a_restart(kit: Kit, name: str, guarantee: str) -> None:
    app, words = counting(kit, name, processing_guarantee=guarantee)
    await create(kit, f"{name}-in", f"{name}-out")
    await feed(words, [("a", "1"), ("b", "1"), ("a", "2")])
    await kit.run_until(app, kit.count(f"{name}-out", 3))
    again, words = counting(kit, name, processing_guarantee=guarantee)
    await feed(words, [("a", "3"), ("b", "2")])
    await kit.run_until(again, kit.count(f"{name}-out", 5))
    values = await kit.values(f"{name}-out")
    assert sorted(v.decode() for v in values if v) == [
        "a:1:1", "a:2:2", "a:3:3", "b:1:1", "b:2:2",
    ]  # fmt: skip


async def test_S10_a_lost_store_is_rebuilt_from_the_changelog(kit: Kit, name: str) -> None:
    app, words = counting(kit, name)
    await create(kit, f"{name}-in", f"{name}-out")
    await feed(words, [("a", "1"), ("a", "2")])
    await kit.run_until(app, kit.count(f"{name}-out", 2))
    again, words = counting(kit, name, data_dir=kit.directory / "elsewhere")
    await feed(words, [("a", "3")])
    await kit.run_until(again, kit.count(f"{name}-out", 3))
    assert b"a:3:3" in await kit.values(f"{name}-out")


async def test_topic_send_joins_the_unit_inside_an_agent_only(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    side = app.topic(f"{name}-side", key_type=str, value_type=int, partitions=1)
    seen: list[fs.RecordMetadata] = []

    @app.agent(words, on_error="skip")
    async def send(stream: fs.Stream[str]) -> None:
        async for value in stream:
            seen.append(await side.send(key="k", value=len(value), headers={"h": b"1"}))
            if value == "bad":
                raise ValueError(value)

    await create(kit, f"{name}-in", partitions=1)
    sent = await words.send(key="a", value="bad")
    assert sent == (f"{name}-in", 0, 0)
    await feed(words, [("a", "four")])
    worker = await kit.run_until(app, kit.committed(app, f"{name}-in", 2))
    records = await kit.records(f"{name}-side")
    assert [(r.key, r.value, tuple(r.headers)) for r in records] == [(b"k", b"4", (("h", b"1"),))]
    assert [s.offset for s in seen] == [None, None]
    assert worker.counts.skipped == 1


async def test_S9_a_dead_letter_carries_its_cause_and_leaves_no_other_trace(
    kit: Kit, name: str
) -> None:
    app = kit.app(name)
    numbers = app.topic(f"{name}-in", key_type=str, value_type=int, partitions=1)
    out = app.topic(f"{name}-out", value_type=int, partitions=1)
    total = app.Table("total", default=int)

    @app.agent(numbers, sink=[out], on_error="dead_letter")
    async def add(stream: fs.Stream[int]) -> AsyncIterator[int]:
        async for value in stream:
            total["sum"] += value
            yield total["sum"]
            if value == 13:
                raise ValueError("unlucky")

    raw = app.topic(f"{name}-in", value_type=bytes)
    await create(kit, f"{name}-in", partitions=1)
    for text in (b"1", b"13", b"not a number", b"2"):
        await raw.send(key=b"k", value=text)
    worker = await kit.run_until(app, kit.committed(app, f"{name}-in", 4))
    assert await kit.values(f"{name}-out") == [b"1", b"3"]
    letters = await kit.records(app.dead_letters)
    assert [letter.value for letter in letters] == [b"13", b"not a number"]
    told = dict(letters[0].headers)
    assert told["flowstream.error"] == b"ValueError"
    assert told["flowstream.cause"] == b"unlucky"
    assert told["flowstream.offset"] == b"1"
    assert told["flowstream.topic"] == f"{name}-in".encode()
    assert b"unlucky" in (told["flowstream.traceback"] or b"")
    assert worker.counts.dead_letters == 2


async def test_stop_commits_what_came_before_and_reports(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)

    @app.agent(words, sink=[out])
    async def echo(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for value in stream:
            if value == "bad":
                raise RuntimeError("broken")
            yield value

    await create(kit, f"{name}-in", partitions=1)
    await feed(words, [("a", "good"), ("a", "bad"), ("a", "later")])
    worker = fs.Worker(app, kit.address)
    with pytest.raises(fs.AgentFailed, match=r"'echo' on .*-in-0 failed at offset 1: .*broken"):
        await worker.run()
    assert await kit.values(f"{name}-out") == [b"good"]
    assert await kit.committed(app, f"{name}-in", 1)()


async def test_retry_gives_the_same_event_again(kit: Kit, name: str) -> None:
    app = kit.app(name, retry_backoff=0.001)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)
    tries: list[str] = []

    @app.agent(words, sink=[out], on_error="retry")
    async def flaky(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for value in stream:
            tries.append(value)
            yield value
            if value == "b" and tries.count("b") < 3:
                raise OSError("not yet")

    await create(kit, f"{name}-in", partitions=1)
    await feed(words, [("k", "a"), ("k", "b"), ("k", "c")])
    worker = await kit.run_until(app, kit.count(f"{name}-out", 3))
    assert tries == ["a", "b", "b", "b", "c"]
    assert await kit.values(f"{name}-out") == [b"a", b"b", b"c"]
    assert worker.counts.retried == 2


async def test_two_agents_on_one_topic_share_offsets_and_tables(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)
    table = app.Table("both", default=int)

    @app.agent(words, sink=[out])
    async def quick(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for key, value in stream.items():
            table[key] += 1
            yield f"quick {value} {table[key]}"

    @app.agent(words, sink=[out])
    async def slow(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for key, value in stream.items():
            await asyncio.sleep(0)
            table[key] += 1
            yield f"slow {value} {table[key]}"

    await create(kit, f"{name}-in", partitions=1)
    await feed(words, [("k", str(n)) for n in range(50)])
    await kit.run_until(app, kit.committed(app, f"{name}-in", 50))
    values = [v.decode().split() for v in await kit.values(f"{name}-out") if v]
    assert sorted(int(count) for _, _, count in values) == list(range(1, 101))
    for agent in ("quick", "slow"):
        assert [int(n) for who, n, _ in values if who == agent] == list(range(50))


async def test_group_by_goes_through_a_repartition_topic(kit: Kit, name: str) -> None:
    app = kit.app(name)
    orders = app.topic(f"{name}-in", value_type=dict[str, str], partitions=2)
    out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=2)
    table = app.Table("per_customer", default=int)

    @app.agent(orders, sink=[out])
    async def per_customer(stream: fs.Stream[dict[str, str]]) -> AsyncIterator[str]:
        chosen = stream.filter(lambda order: order["customer"] != "nobody")
        async for customer, order in chosen.group_by(lambda o: o["customer"]).items():
            table[customer] += 1
            yield f"{customer} {order['id']} {table[customer]}"

    await create(kit, f"{name}-in")
    for number, customer in enumerate(["x", "nobody", "y", "x", "x"]):
        await orders.send(key=b"%d" % number, value={"customer": customer, "id": str(number)})
    await kit.run_until(app, kit.count(f"{name}-out", 4))
    records = await kit.records(f"{name}-out")
    by_key = sorted((r.key, (r.value or b"").split()[-1]) for r in records)
    assert by_key == [(b"x", b"1"), (b"x", b"2"), (b"x", b"3"), (b"y", b"1")]
    assert len(await kit.records(f"{name}-per_customer-repartition")) == 4


async def test_take_is_one_unit(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)

    @app.agent(words, sink=[out])
    async def batch(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for values in stream.take(3, within=0.3):
            yield "+".join(values)

    await create(kit, f"{name}-in", partitions=1)
    await feed(words, [("k", str(n)) for n in range(7)])
    await kit.run_until(app, kit.count(f"{name}-out", 3))
    assert await kit.values(f"{name}-out") == [b"0+1+2", b"3+4+5", b"6"]


async def test_hopping_windows_by_event_time(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=list[int], partitions=1)
    seen = app.Table("seen", default=int).hopping(10, 5, expires=20)

    @app.agent(words, sink=[out])
    async def velocity(stream: fs.Stream[str]) -> AsyncIterator[list[int]]:
        async for key, _ in stream.items():
            seen[key] += 1
            windows = seen[key]
            yield [windows.current(), windows.earliest(), windows.delta(10)]

    await create(kit, f"{name}-in", partitions=1)
    for at in (100.0, 104.0, 106.0, 113.0, 200.0, 101.0):
        await words.send(key="k", value="v", timestamp=at)
    worker = await kit.run_until(app, kit.count(f"{name}-out", 6))
    assert await kit.values(f"{name}-out") == [
        b"[1,1,0]", b"[2,2,0]", b"[1,3,2]", b"[1,2,3]", b"[1,1,0]", b"[0,0,0]",
    ]  # fmt: skip
    assert worker.counts.late == 2
    keys = {r.key for r in await kit.records(f"{name}-seen-changelog") if r.value is not None}
    gone = {r.key for r in await kit.records(f"{name}-seen-changelog") if r.value is None}
    assert b"k@0000000000100000" in gone
    assert b"@stream-time" in keys


async def test_a_table_is_a_mutable_mapping(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)
    lists = app.Table("lists", value_type=list[str], default=list)

    @app.agent(words, sink=[out])
    async def use(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for value in stream:
            lists["never stored"].append(value)
            mine = lists[value]
            mine.append("x")
            lists[value] = mine
            lists[value].append("in place")
            gone = lists.pop("b", None)
            lists.setdefault("z", ["set"])
            yield f"{sorted(lists)} {len(lists)} {'a' in lists} {gone} {lists.get('q')}"

    await create(kit, f"{name}-in", partitions=1)
    await feed(words, [("k", "a"), ("k", "b"), ("k", "a")])
    await kit.run_until(app, kit.count(f"{name}-out", 3))
    assert [v.decode() for v in await kit.values(f"{name}-out") if v] == [
        "['a', 'z'] 2 True None None",
        "['a', 'z'] 2 True ['x', 'in place'] None",
        "['a', 'z'] 2 True None None",
    ]


async def test_tables_are_for_agents_only(kit: Kit, name: str) -> None:
    app = kit.app(name)
    table = app.Table("t", default=int)
    with pytest.raises(fs.NotInAgent, match="only possible inside an agent"):
        table["k"] += 1


async def test_V4_a_worker_runs_for_the_length_of_a_block(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=1)

    @app.agent(words, sink=[out])
    async def copy(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            if word == "bad":
                raise ValueError(word)
            yield word

    async with fs.Worker(app, kit.address).running():
        await words.send(key="a", value="good")
        await kit.until(kit.count(out.name, 1))
    await kit.until(kit.committed(app, words.name, 1))
    async with (worker := fs.Worker(app, kit.address)).running():
        worker.stop()
        await asyncio.Event().wait()  # a stop ends the block, as a signal's does
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await words.send(key="a", value="bad")
    with pytest.raises(fs.AgentFailed, match="bad"):
        async with fs.Worker(app, kit.address).running():
            await asyncio.Event().wait()
    with pytest.raises(fs.FlowstreamError, match="no agents"):
        async with fs.Worker(fs.App(f"{name}-idle"), kit.address).running():
            pytest.fail("it cannot begin")
