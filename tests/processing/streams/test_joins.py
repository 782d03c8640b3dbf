"""Joins in agents: streams with streams, streams with tables, tables with tables."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.declarations.relating import SWEEP_EVERY, over_at
from flowstream.processing.errors import AppError
from flowstream.processing.tables.windowed import WindowedPartition
from flowstream.processing.time.dues import SLICE, DuePartition
from flowstream.processing.time.windows import Window
from flowstream.processing.values.codecs import BYTES
from flowstream.state.memory import MemoryStore
from flowstream.state.table import TablePartition
from tests.processing.conftest import Kit


def text(side: Any) -> str:
    return "-" if side is None else str(side)


async def test_streams_meet_and_what_met_nobody_is_told_when_nobody_can_come(
    kit: Kit, name: str
) -> None:
    app = kit.app(name)
    orders = app.topic(f"{name}-orders", key_type=str, value_type=str, partitions=1)
    pays = app.topic(f"{name}-pays", key_type=str, value_type=int, partitions=1)
    out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=1)

    @app.agent(orders, sink=[out])
    async def match(stream: fs.Stream[str]) -> Any:
        async for key, pair in stream.join(pays, within=(0, 10), how="outer").items():
            yield f"{key}:{text(pair.left)}/{text(pair.right)}"

    await kit.create(app)
    async with kit.running(app, clock=lambda: 0):
        await orders.send(key="a", value="shoes", timestamp=10.0)
        await pays.send(key="a", value=5, timestamp=12.0)
        await pays.send(key="b", value=7, timestamp=13.0)
        await pays.send(key="a", value=6, timestamp=20.0)
        await orders.send(key="c", value="hat", timestamp=15.0)
        await kit.until(kit.count(out.name, 2))
        await orders.send(key="end", value="end", timestamp=1_000.0)
        await pays.send(key="end", value=0, timestamp=1_000.0)
        await kit.until(kit.count(out.name, 5))
    records = await kit.records(out.name)
    told = {(r.value or b"").decode(): r.timestamp for r in records}
    assert told == {
        "a:shoes/5": 12_000, "a:shoes/6": 20_000, "b:-/7": 13_000, "c:hat/-": 15_000,
        "end:end/0": 1_000_000,
    }  # fmt: skip


async def test_a_re_keyed_stream_meets_another(kit: Kit, name: str) -> None:
    app = kit.app(name)
    orders = app.topic(f"{name}-orders", key_type=str, value_type=dict[str, str], partitions=1)
    pays = app.topic(f"{name}-pays", key_type=str, value_type=int, partitions=3)
    out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=1)

    @app.agent(orders, sink=[out])
    async def match(stream: fs.Stream[dict[str, str]]) -> Any:
        by_id = stream.filter(lambda order: "id" in order).group_by(
            "id", key_type=str, partitions=3
        )
        async for left, right in by_id.join(pays, within=10):
            yield f"{left['id']}:{right}"

    await kit.create(app)
    async with kit.running(app):
        for number in range(6):
            await orders.send(key="x", value={"id": str(number)}, timestamp=1.0)
            await pays.send(key=str(number), value=number, timestamp=2.0)
        await orders.send(key="x", value={"no": "id"}, timestamp=1.0)
        await kit.until(kit.count(out.name, 6))
    assert sorted(v or b"" for v in await kit.values(out.name)) == [
        b"%d:%d" % (n, n) for n in range(6)
    ]


async def test_S6_streams_that_cannot_meet_are_refused_with_the_remedy(kit: Kit, name: str) -> None:
    app = kit.app(name)
    orders = app.topic(f"{name}-orders", key_type=str, value_type=str, partitions=2)
    pays = app.topic(f"{name}-pays", key_type=str, value_type=int, partitions=3)

    @app.agent(orders)
    async def match(stream: fs.Stream[str]) -> None:
        async for _ in stream.join(pays, within=10):
            pass

    with pytest.raises(fs.PartitionMismatch, match=r"group_by\(..., partitions=3\)"):
        await fs.Worker(app, kit.address).run()


async def test_a_join_with_a_table_of_other_partitions_is_refused_before_any_event(
    kit: Kit, name: str
) -> None:
    app = kit.app(name)
    orders = app.topic(f"{name}-orders", key_type=str, value_type=str, partitions=2)
    people = app.table(app.topic(f"{name}-people", key_type=str, value_type=str, partitions=3))

    @app.agent(orders)
    async def match(stream: fs.Stream[str]) -> None:
        async for _ in stream.join(people):
            pass

    with pytest.raises(fs.PartitionMismatch, match=r"-orders' \(2 partitions\) .* \(3, as topic"):
        async with fs.Worker(app, kit.address).running():
            raise AssertionError("it runs")


@pytest.mark.parametrize("policy", ["dead_letter", "retry", "park"])
async def test_S6_a_table_with_other_partitions_stops_the_worker_whatever_the_policy(
    kit: Kit, name: str, policy: Any
) -> None:
    app = kit.app(name)
    orders = app.topic(f"{name}-orders", key_type=str, value_type=str, partitions=2)
    people = app.table(app.topic(f"{name}-people", key_type=str, value_type=str, partitions=3))

    @app.agent(orders, on_error=policy)
    async def match(stream: fs.Stream[str]) -> None:
        async for order in stream:
            people.get(order)

    worker = fs.Worker(app, kit.address)

    async def until_it_ends() -> None:
        async with worker.running():
            await orders.send(key="ann", value="tea")
            await asyncio.Event().wait()

    with pytest.raises(fs.AgentFailed, match=r"that topic\) with partitions=2"):
        await until_it_ends()
    assert worker.counts.dead_letters == worker.counts.retried == worker.counts.parked == 0


async def test_a_table_of_a_topic_and_what_changes_in_it(kit: Kit, name: str) -> None:
    app = kit.app(name)
    prices = app.topic(f"{name}-prices", key_type=str, value_type=int, partitions=1)
    out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=1)
    table = app.table(prices, name="prices")

    @app.agent(table.changes, sink=[out])
    async def told(changes: fs.Stream[int | None]) -> Any:
        async for key, price in changes.items():
            yield f"{key}:{text(price)}"

    await kit.create(app)
    async with kit.running(app):
        for number, (key, price) in enumerate([("a", 1), ("b", 2), ("a", None), ("c", 3)]):
            await prices.send(key=key, value=price, timestamp=float(number))
            await kit.until(kit.count(out.name, number + 1))
    assert await kit.values(out.name) == [b"a:1", b"b:2", b"a:-", b"c:3"]


async def test_S12_a_change_that_was_told_is_not_told_again_by_the_next_worker(
    kit: Kit, name: str
) -> None:
    def declare() -> tuple[fs.App, fs.Topic[str, int]]:
        app = kit.app(name)
        prices = app.topic(f"{name}-prices", key_type=str, value_type=int, partitions=1)
        out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=1)

        @app.agent(app.table(prices, name="prices").changes, sink=[out])
        async def told(changes: fs.Stream[int | None]) -> Any:
            async for key, price in changes.items():
                yield f"{key}:{text(price)}"

        return app, prices

    for number, key in enumerate("abc"):
        app, prices = declare()
        await kit.create(app)
        await prices.send(key=key, value=number)
        await kit.run_until(app, kit.count(f"{name}-out", number + 1))
    assert await kit.values(f"{name}-out") == [b"a:0", b"b:1", b"c:2"]
    rows = {r.key: r.value for r in await kit.records(app.changelog("prices-changes"))}
    assert {key: rows[key] for key in (b"=a", b"=b", b"=c")} == {
        b"=a": None, b"=b": None, b"=c": None,
    }  # fmt: skip


@pytest.mark.parametrize("how", ["inner", "left", "outer"])
async def test_tables_side_by_side(kit: Kit, name: str, how: Any) -> None:
    app = kit.app(name)
    prices = app.topic(f"{name}-prices", key_type=str, value_type=int, partitions=1)
    stock = app.topic(f"{name}-stock", key_type=str, value_type=int, partitions=1)
    out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=1)
    joined = app.join(app.table(prices, name="p"), app.table(stock, name="s"), how=how)

    @app.agent(joined, sink=[out])
    async def told(changes: fs.Stream[Any]) -> Any:
        async for key, pair in changes.items():
            yield key + (":gone" if pair is None else f":{text(pair.left)}/{text(pair.right)}")

    steps = [
        (prices, "a", 1, ["a:1/-"] if how != "inner" else []),
        (stock, "b", 5, ["b:-/5"] if how == "outer" else []),
        (stock, "a", 7, ["a:1/7"]),
        (prices, "a", 2, ["a:2/7"]),
        (stock, "a", None, ["a:gone"] if how == "inner" else ["a:2/-"]),
        (prices, "a", None, ["a:gone"] if how != "inner" else []),
    ]
    told_so_far: list[str] = []
    await kit.create(app)
    async with kit.running(app):
        for number, (topic, key, value, expected) in enumerate(steps):
            await topic.send(key=key, value=value, timestamp=float(number))
            told_so_far += expected
            await kit.until(kit.count(out.name, len(told_so_far)))
            done = [sum(t is each for t, *_ in steps[: number + 1]) for each in (prices, stock)]
            await kit.until(kit.committed(app, prices.name, done[0]))
            await kit.until(kit.committed(app, stock.name, done[1]))
    assert [(v or b"").decode() for v in await kit.values(out.name)] == told_so_far


def test_joins_that_cannot_be_are_refused() -> None:
    app = fs.App("x")
    table = app.Table("t", default=int)
    with pytest.raises(AppError, match="with itself"):
        app.join(table, table)
    with pytest.raises(AppError, match="how= is"):
        app.join(table, app.Table("u", default=int), how="right")  # type: ignore[arg-type]
    windowed = app.Table("w", default=int)
    windowed.tumbling(10)
    with pytest.raises(AppError, match="has windows"):
        app.join(table, windowed)


@pytest.mark.parametrize("how", ["inner", "left"])
async def test_events_find_the_row_of_their_key(kit: Kit, name: str, how: Any) -> None:
    app = kit.app(name)
    orders = app.topic(f"{name}-orders", key_type=str, value_type=int, partitions=1)
    names = app.topic(f"{name}-names", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=1)
    customers = app.table(names, name="customers")

    @app.agent(orders, sink=[out])
    async def enrich(stream: fs.Stream[int]) -> Any:
        async for number, customer in stream.join(customers, how=how):
            yield f"{number}:{text(customer)}"

    await kit.create(app)
    await names.send(key="a", value="Ann")
    async with kit.running(app):
        await kit.until(kit.committed(app, names.name, 1))
        for number, key in enumerate(["a", "b", "a"]):
            await orders.send(key=key, value=number)
        await kit.until(kit.committed(app, orders.name, 3))
    expected = [b"0:Ann", b"2:Ann"] if how == "inner" else [b"0:Ann", b"1:-", b"2:Ann"]
    assert await kit.values(out.name) == expected


@pytest.mark.parametrize("how", ["inner", "left"])
async def test_events_find_the_row_as_it_was_at_their_time(kit: Kit, name: str, how: Any) -> None:
    app = kit.app(name)
    orders = app.topic(f"{name}-orders", key_type=str, value_type=int, partitions=1)
    prices = app.topic(f"{name}-prices", key_type=str, value_type=int, partitions=1)
    out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=1)
    table = app.table(prices, name="prices", history=1_000)

    @app.agent(orders, sink=[out])
    async def enrich(stream: fs.Stream[int]) -> Any:
        async for number, price in stream.join(table, as_of=True, how=how):
            yield f"{number}:{text(price)}"

    await kit.create(app)
    async with kit.running(app):
        for at in (5, 15, 25, 35, 12):
            await orders.send(key="a", value=at, timestamp=float(at))
        for price, at in [(1, 10), (3, 30), (2, 20), (None, 33)]:
            await prices.send(key="a", value=price, timestamp=float(at))
        await orders.send(key="end", value=0, timestamp=900.0)
        await prices.send(key="end", value=0, timestamp=950.0)
        await kit.until(kit.count(out.name, 3 if how == "inner" else 5))
    found = [(v or b"").decode() for v in await kit.values(out.name)]
    assert found == (["12:1", "15:1", "25:2"] if how == "inner" else ["5:-", "12:1", "15:1", "25:2", "35:-"])  # fmt: skip # noqa: E501


async def test_only_the_first_of_equal_ids_within_the_horizon_passes(kit: Kit, name: str) -> None:
    app = kit.app(name)
    orders = app.topic(f"{name}-orders", key_type=str, value_type=dict[str, str], partitions=1)
    out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=1)

    @app.agent(orders, sink=[out])
    async def once(stream: fs.Stream[dict[str, str]]) -> Any:
        async for order in stream.dedupe(10, by=lambda order: order["id"]):
            yield order["text"]

    await kit.create(app)
    events = [
        ("1", 0.0),
        ("2", 1.0),
        ("1", 9.9),
        ("1", 10.0),
        ("1", 19.0),
        ("2", 50.0),
        ("1", 51.0),
    ]
    for half in (events[:3], events[3:]):
        async with kit.running(app):
            for id, at in half:
                await orders.send(key="k", value={"id": id, "text": f"{id}@{at}"}, timestamp=at)
            total = 3 if half is not events[3:] and len(half) == 3 else len(events)
            await kit.until(kit.committed(app, orders.name, total))
    assert [(v or b"").decode() for v in await kit.values(out.name)] == [
        "1@0.0", "2@1.0", "1@10.0", "2@50.0", "1@51.0",
    ]  # fmt: skip
    rows = {r.key: r.value for r in await kit.records(app.changelog("once-seen"))}
    assert sorted(k or b"" for k, v in rows.items() if v and (k or b"")[:1] != b"@") == [
        b"=1", b"=2",
    ]  # fmt: skip


async def test_values_are_mapped_and_split_in_their_unit(kit: Kit, name: str) -> None:
    app = kit.app(name)
    lines = app.topic(f"{name}-lines", key_type=str, value_type=str, partitions=1)
    copy = app.topic(f"{name}-copy", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=1)

    @app.agent(lines, sink=[out])
    async def words(stream: fs.Stream[str]) -> Any:
        upper = stream.echo(copy).map(str.upper).flat_map(str.split)
        async for number, word in upper.enumerate(1):
            yield f"{number}{word}"

    await kit.create(app)
    async with kit.running(app):
        await lines.send(key="k", value="a b")
        await lines.send(key="k", value="")
        await lines.send(key="k", value="c")
        await kit.until(kit.count(out.name, 3))
    assert await kit.values(out.name) == [b"1A", b"2B", b"3C"]
    assert await kit.values(copy.name) == [b"a b", b"", b"c"]


async def test_deleted_keys_are_forgotten_when_nobody_can_look_back(kit: Kit, name: str) -> None:
    app = kit.app(name)
    rows = app.topic(f"{name}-rows", key_type=str, value_type=int, partitions=1)
    app.table(rows, name="rows", history=10.0)
    await kit.create(app)
    async with kit.running(app):
        early = (("a", 1, 0), ("b", 1, 0), ("a", None, 5), ("b", None, 6), ("b", 2, 7))
        for key, value, at in early:
            await rows.send(key=key, value=value, timestamp=1_000.0 + at)
        # Deleted so late that the history still reaches it.
        await rows.send(key="c", value=None, timestamp=1_095.0)
        for number in range(2 * SWEEP_EVERY):
            await rows.send(key="other", value=number, timestamp=1_100.0)
        await kit.until(kit.committed(app, rows.name, 6 + 2 * SWEEP_EVERY))
    left = {"versions": {b"b", b"c", b"other"}, "gone": {over_at(1_105_000) + b"c"}}
    for table, wanted in left.items():
        kept: dict[Any, Any] = {}
        for record in await kit.records(app.changelog(f"rows-{table}")):
            kept[record.key] = record.value
        assert {key for key, value in kept.items() if value is not None} == wanted


def test_a_large_table_is_opened_without_holding_up_the_loop() -> None:
    store = MemoryStore()
    store.write(
        {b"%08d" % n: b"%016d 1" % n for n in range(3 * SLICE + 5)},
        changelog_offset=1, source_offset=1,
    )  # fmt: skip
    part = TablePartition("t", 0, store, BYTES)
    opened = DuePartition(part, lambda row, value, _: int(value[:16]), by_value=True)
    pauses = [len(opened.agenda) for _ in opened.load()]
    assert pauses == [SLICE, 2 * SLICE, 3 * SLICE]
    assert len(opened.agenda) == 3 * SLICE + 5
    windowed = WindowedPartition(part, Window(10, 10, 5, None))
    assert len(list(windowed.load())) == 3
