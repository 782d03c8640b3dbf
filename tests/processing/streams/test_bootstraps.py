"""First starts over full topics: what feeds a table is read before events look its rows up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

import flowstream as fs
from flowstream.processing.group import membership
from flowstream.processing.running import runtime
from flowstream.processing.stores.starting import TaskStarter
from flowstream.transport.types import Generation, TopicPartition
from tests.processing.conftest import Kit
from tests.processing.rig import Rig

KEYS = 300


def shop(app: fs.App, prefix: str = "", partitions: int = 2) -> None:
    """Orders (which sort first) with their customers; what has none is told, too."""
    orders = app.topic(f"{prefix}a-orders", key_type=str, value_type=int, partitions=partitions)
    customers = app.topic(
        f"{prefix}z-customers", key_type=str, value_type=str, partitions=partitions
    )
    out = app.topic(f"{prefix}out", key_type=str, value_type=str, partitions=partitions)
    table = app.table(customers, name="customers")

    @app.agent(orders, sink=[out])
    async def join(stream: fs.Stream[int]) -> AsyncIterator[str]:
        async for joined in stream.join(table, how="left"):
            yield f"{joined.left}:{joined.right}"


async def put(kit: Kit, topic: str, values: list[bytes], *, id: str | None = None) -> None:
    """Values of the keys k0, k1, ...; with an `id` in a transaction, whose marker is the end."""
    producer = AIOKafkaProducer(bootstrap_servers=kit.address, transactional_id=id)
    async with producer:
        if id is not None:
            await producer.begin_transaction()
        for number, value in enumerate(values):
            await producer.send(topic, key=f"k{number}".encode(), value=value)
        if id is not None:
            await producer.commit_transaction()


@pytest.mark.parametrize("in_transaction", [False, True])
async def test_V1_each_order_finds_the_customer_that_was_there_before_the_app(
    kit: Kit, name: str, *, in_transaction: bool
) -> None:
    app = kit.app(name)
    shop(app, f"{name}-")
    await kit.create(app)
    await put(kit, f"{name}-a-orders", [b"%d" % n for n in range(KEYS)])
    names = [b"c%d" % n for n in range(KEYS)]
    await put(kit, f"{name}-z-customers", names, id=name if in_transaction else None)
    await kit.run_until(app, kit.count(f"{name}-out", KEYS))
    found = sorted(await kit.values(f"{name}-out"), key=lambda value: (len(value or b""), value))
    assert found == [b"%d:c%d" % (n, n) for n in range(KEYS)]

    # Once it was read nothing waits for it: an order is told while a customer is on its way.
    await put(kit, f"{name}-a-orders", [b"-1"])
    worker = await kit.run_until(app, kit.count(f"{name}-out", KEYS + 1))
    assert worker.counts.events == 1


async def test_V1_who_goes_on_with_a_table_that_is_half_full_fills_it_first(
    kit: Kit, name: str
) -> None:
    app = kit.app(name)
    shop(app, f"{name}-")
    await kit.create(app)
    await put(kit, f"{name}-a-orders", [b"%d" % n for n in range(KEYS)])
    await put(kit, f"{name}-z-customers", [b"c%d" % n for n in range(KEYS)])
    # As a worker leaves it that stopped, or lost its share, before any order's turn came.
    halves: dict[TopicPartition, int] = {}
    for number in range(2):
        tp = TopicPartition(f"{name}-z-customers", number)
        halves[tp] = (await kit.admin.end_offsets([tp]))[tp] // 2
    await kit.admin.commit_offsets(halves, Generation(app.id, -1, ""))
    await kit.run_until(app, kit.count(f"{name}-out", KEYS))
    found = [value or b"" for value in await kit.values(f"{name}-out")]
    assert sum(value.endswith(b":None") for value in found) == sum(halves.values())


async def test_V1_events_of_other_topics_that_may_not_commit_keep_no_feed_from_its_end() -> None:
    app = fs.App("shop")
    shop(app, partitions=1)
    slow = app.topic("slow", key_type=str, value_type=int, partitions=1)
    may_end = asyncio.Event()

    @app.agent(slow, concurrency=2)
    async def wait(stream: fs.Stream[int]) -> None:
        async for value in stream:
            if value == 0:
                await may_end.wait()

    rig = Rig(app)
    task = await rig.open()
    rig.put("z-customers", b"k0", b"c0")
    rig.deliver()
    assert task.has_left("z-customers")
    await rig.settle()
    rig.commit()
    for key, value in ((b"k0", b"0"), (b"k1", b"1")):
        rig.put("slow", key, value)
    rig.deliver()
    await rig.settle()
    assert task.has_left("slow")
    assert task.task.pending
    assert not task.has_left("z-customers")
    may_end.set()
    await rig.settle()
    await rig.crash()


async def test_V1_a_feed_whose_last_records_were_compacted_away_is_not_waited_for_for_ever(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def beyond(*_: Any) -> dict[str, dict[str, int]]:
        return {f"{name}-a-orders": {f"{name}-z-customers": 1_000}}

    monkeypatch.setattr(TaskStarter, "bootstraps", beyond)
    monkeypatch.setattr(membership, "FEED_SILENCE_MS", 1_500)
    app = kit.app(name)
    shop(app, f"{name}-")
    await kit.create(app)
    for topic, value in (("a-orders", b"1"), ("z-customers", b"c")):
        await put(kit, f"{name}-{topic}", [value])
    await kit.run_until(app, kit.count(f"{name}-out", 1))
    assert await kit.values(f"{name}-out") == [b"1:c"]


async def test_V1_what_feeds_a_table_waits_for_no_other(kit: Kit, name: str) -> None:
    app = kit.app(name)
    topics = [app.topic(f"{name}-{n}", key_type=str, value_type=int, partitions=1) for n in (1, 2)]
    out = app.topic(f"{name}-out", key_type=str, value_type=int, partitions=1)
    tables = [app.table(topic, name=f"t{n}") for n, topic in enumerate(topics)]

    @app.agent(topics[0], sink=[out])
    async def one(stream: fs.Stream[int]) -> AsyncIterator[int]:
        async for joined in stream.join(tables[1], how="left"):
            yield joined.left

    @app.agent(topics[1], sink=[out])
    async def other(stream: fs.Stream[int]) -> AsyncIterator[int]:
        async for joined in stream.join(tables[0], how="left"):
            yield joined.left

    await kit.create(app)
    for topic in topics:
        await put(kit, topic.name, [b"1", b"2"])
    await kit.run_until(app, kit.count(out.name, 4))
    assert sorted(map(repr, await kit.values(out.name))) == ["b'1'", "b'1'", "b'2'", "b'2'"]


@pytest.mark.parametrize("as_of", [False, True])
async def test_X3_a_table_does_not_run_ahead_of_events_that_want_its_rows_as_they_were(
    *, as_of: bool
) -> None:
    """It kept each version of its rows until it was full: of a topic of prices more than a record
    may have.
    """
    app = fs.App("shop")
    orders = app.topic("orders", key_type=str, value_type=int, partitions=1)
    prices = app.topic("prices", key_type=str, value_type=int, partitions=1)
    table = app.table(prices, history=60)

    @app.agent(orders)
    async def join(stream: fs.Stream[int]) -> None:
        async for _ in stream.join(table, as_of=as_of):
            pass

    rig = Rig(app)
    await rig.open()
    assert rig._plan is not None
    assert rig._plan.bootstraps == ({} if as_of else {"orders": {"prices"}})
    await rig.crash()


async def test_V1_what_waits_for_its_tables_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    app = fs.App("shop", source_idle=1)
    hits = app.topic("hits", key_type=str, value_type=int, partitions=1)
    users = app.topic("users", key_type=str, value_type=str, partitions=1)
    counts = app.Table("counts", default=int).tumbling(60, grace=0, expires=600)
    table = app.table(users)

    @app.agent(hits)
    async def count(stream: fs.Stream[int]) -> None:
        async for key, joined in stream.join(table, how="left").items():
            counts[key] += joined.left

    @app.agent(table.changes)
    async def tell(stream: fs.Stream[str]) -> None:
        """Whose event time counts, as that of the hits."""
        async for _ in stream:
            pass

    rig = Rig(app)
    task = await rig.open()
    task.held["hits"] = {"users": 2}
    now_ms = runtime.loop_ms()
    rig.put("users", b"ann", b"Ann", at_ms=1_000_000)
    rig.deliver()
    await rig.settle()
    monkeypatch.setattr(runtime, "loop_ms", lambda: now_ms + 60_000)
    task.tick()
    task.held.clear()
    rig.put("hits", b"ann", b"1", at_ms=1_000)
    rig.deliver()
    await rig.settle()
    assert rig.counts.late == 0
