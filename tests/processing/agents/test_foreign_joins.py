"""Joins of tables by a foreign key, against a model that has everything in one place."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.duties.planning import make_plan
from flowstream.processing.errors import AppError
from tests.processing.conftest import Kit

Order = dict[str, Any]
Tables = tuple[fs.Topic[str, Order], fs.Topic[str, Order], fs.Topic[str, Any]]


class Crashed(Exception):
    """The worker is gone without a last commit."""


def joining(kit: Kit, name: str, how: Any, **settings: Any) -> tuple[fs.App, Tables]:
    """Orders in two partitions, each with a customer of theirs in three, told as they change."""
    app = kit.app(name, **settings)
    orders = app.topic(f"{name}-orders", key_type=str, value_type=dict, partitions=2)
    customers = app.topic(f"{name}-customers", key_type=str, value_type=dict, partitions=3)
    out = app.topic(f"{name}-out", key_type=str, partitions=2)
    joined = app.join(
        app.table(orders, name="o"), app.table(customers, name="c"),
        on=lambda order: order["customer"], how=how,
    )  # fmt: skip

    @app.agent(joined, sink=[out])
    async def tell(changes: fs.Stream[Any]) -> AsyncIterator[Any]:
        async for pair in changes:
            yield None if pair is None else [pair.left, pair.right]

    return app, (orders, customers, out)


async def told(kit: Kit, topic: fs.Topic[Any, Any]) -> dict[str, Any]:
    """The newest result of each key; all that there ever were are of sides that belong together."""
    found: dict[str, Any] = {}
    for record in await kit.records(topic.name):
        key = (record.key or b"").decode()
        if record.value is None:
            found.pop(key, None)
            continue
        left, right = found[key] = json.loads(record.value)
        assert right is None or right["id"] == left["customer"]
    return found


def model(orders: dict[str, Order], customers: dict[str, Order], how: str) -> dict[str, Any]:
    """The join as one would write it with two dicts."""
    found = {}
    for key, order in orders.items():
        right = customers.get(order["customer"] or "")
        if right is not None or how == "left":
            found[key] = [order, right]
    return found


@pytest.mark.parametrize("how", ["inner", "left"])
async def test_each_row_finds_the_row_that_it_names(kit: Kit, name: str, how: str) -> None:
    app, (orders, customers, out) = joining(kit, name, how)
    mine, theirs = {"customer": "c1", "n": 1}, {"customer": "c2", "n": 1}
    one, two = {"id": "c1", "name": "Ann"}, {"id": "c2", "name": "Bob"}
    nobodys = {"customer": None}
    lone = [[mine, None]] if how == "left" else []
    steps: list[tuple[fs.Topic[str, Any], str, Any, list[Any]]] = [
        (orders, "a", mine, lone),
        (customers, "c1", one, [[mine, one]]),
        (customers, "c3", {"id": "c3"}, []),
        (customers, "c1", {**one, "name": "Anna"}, [[mine, {**one, "name": "Anna"}]]),
        (orders, "a", {**mine, "n": 2}, [[{**mine, "n": 2}, {**one, "name": "Anna"}]]),
        (orders, "a", theirs, [[theirs, None]] if how == "left" else [None]),
        (customers, "c1", None, []),
        (customers, "c2", two, [[theirs, two]]),
        (customers, "c2", two, []),
        (orders, "a", nobodys, [[nobodys, None]] if how == "left" else [None]),
        (orders, "a", theirs, [[theirs, two]]),
        (customers, "c2", None, [[theirs, None]] if how == "left" else [None]),
        (customers, "c2", two, [[theirs, two]]),
        (orders, "a", None, [None]),
        (customers, "c2", None, []),
    ]  # fmt: skip
    expected: list[Any] = []
    await kit.create(app)
    async with kit.running(app):
        for number, (topic, key, value, results) in enumerate(steps):
            await topic.send(key=key, value=value, timestamp=float(number))
            expected += results
            await kit.until(kit.count(out.name, len(expected)))
            sent = sum(each is topic for each, *_ in steps[: number + 1])
            await kit.until(kit.committed(app, topic.name, sent))
            await settled(kit, app)
    found = [None if value is None else json.loads(value) for value in await kit.values(out.name)]
    assert found == expected


async def settled(kit: Kit, app: fs.App) -> None:
    """Wait until the parts of the join have nothing to tell each other any more."""
    between = [topic.name for topic in app.foreign_joins[0].topics]

    async def holds() -> bool:
        done = await kit.admin.group_offsets(app.id)
        mine = [tp for tp in done if tp.topic in between]
        ends = await kit.admin.end_offsets(mine, committed=True)
        # A transaction's mark is an offset, too.
        return all(ends[tp] - done[tp] <= 1 for tp in mine)

    await kit.until(holds)


@pytest.mark.parametrize("seed", range(4))
async def test_S7_any_history_gives_what_the_model_gives(kit: Kit, name: str, seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    how = chance.choice(["inner", "left"])
    rows: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    app, (orders, customers, out) = joining(kit, name, how)
    await kit.create(app)
    clock = 0.0
    for part in range(4):
        if part:
            # Another worker in the same or in an empty directory: stores there, or restored.
            where = kit.directory / chance.choice(["a", "b"])
            app, (orders, customers, out) = joining(kit, name, how, data_dir=where)
        try:
            async with kit.running(app):
                for _ in range(chance.randrange(5, 60)):
                    clock += 1
                    at = clock + chance.uniform(-20, 20)
                    await change(chance, (orders, customers), rows, at)
                if chance.random() < 0.5:
                    raise Crashed
                if chance.random() < 0.5:
                    await until_told(kit, out, model(*rows, how))
        except Crashed:
            continue
    app, (_, _, out) = joining(kit, name, how, data_dir=kit.directory / "c")
    async with kit.running(app):
        await until_told(kit, out, model(*rows, how))
        await settled(kit, app)
    assert await told(kit, out) == model(*rows, how)


async def change(
    chance: random.Random,
    topics: tuple[fs.Topic[str, Order], fs.Topic[str, Order]],
    rows: tuple[dict[str, Any], dict[str, Any]],
    at: float,
) -> None:
    """One change of one row, sometimes one that changes nothing, at about that time."""
    side = chance.randrange(2)
    key = chance.choice("abcde") if side == 0 else chance.choice(["c1", "c2", "c3"])
    kind = chance.random()
    if kind < 0.2:
        value = None
    elif kind < 0.35 and key in rows[side]:
        value = rows[side][key]
    elif side == 0:
        value = {"customer": chance.choice(["c1", "c2", "c3", "c4", None]), "n": chance.random()}
    else:
        value = {"id": key, "n": chance.random()}
    if value is None:
        rows[side].pop(key, None)
    else:
        rows[side][key] = value
    await topics[side].send(key=key, value=value, timestamp=1_000.0 + at)


async def until_told(kit: Kit, out: fs.Topic[Any, Any], wanted: dict[str, Any]) -> None:
    """Wait until the results are these."""

    async def holds() -> bool:
        return await told(kit, out) == wanted

    await kit.until(holds)


async def test_a_row_names_one_of_its_own_table(kit: Kit, name: str) -> None:
    app = kit.app(name)
    people = app.topic(f"{name}-people", key_type=str, value_type=dict, partitions=2)
    out = app.topic(f"{name}-out", key_type=str, partitions=1)
    table = app.table(people, name="people")

    @app.agent(
        app.join(table, table, on=lambda person: person.get("boss"), name="boss"), sink=[out]
    )
    async def tell(changes: fs.Stream[Any]) -> AsyncIterator[Any]:
        async for pair in changes:
            yield None if pair is None else [pair.left["name"], pair.right["name"]]

    await kit.create(app)
    async with kit.running(app):
        await people.send(key="1", value={"name": "Ann", "boss": "2"})
        await people.send(key="2", value={"name": "Bob"})
        await kit.until(kit.count(out.name, 1))
        assert await kit.values(out.name) == [b'["Ann","Bob"]']


def test_joins_by_a_foreign_key_that_cannot_be_are_refused() -> None:
    app = fs.App("x")
    orders, customers = app.Table("o", value_type=dict), app.Table("c", value_type=dict)
    with pytest.raises(AppError, match="a right row that no left one names"):
        app.join(orders, customers, on=lambda order: "c", how="outer")  # type: ignore[call-overload]
    joined = app.join(orders, customers, on=lambda order: 3)
    with pytest.raises(TypeError, match=r"what on= gives as a key of table 'c': expected str"):
        joined.key_of({})


async def probed(app: fs.App) -> fs.App:
    """The app, ready to be planned."""
    for agent in app.agents.values():
        await agent.probe()
    return app


async def test_S6_tables_that_cannot_meet_are_refused_with_the_remedy() -> None:
    app = fs.App("x")
    two = app.table(app.topic("two", key_type=str, value_type=int, partitions=2))
    three = app.table(app.topic("three", key_type=str, value_type=int, partitions=3))

    @app.agent(app.join(two, three))
    async def tell(changes: fs.Stream[Any]) -> None:
        async for _ in changes:
            pass

    with pytest.raises(
        fs.PartitionMismatch, match=r"'two' \(2 partitions\) with 'three' \(3\).*on="
    ):
        make_plan(await probed(app), {})


async def test_the_topics_between_the_parts_are_as_the_tables() -> None:
    app = fs.App("x")
    two = app.table(app.topic("two", key_type=str, value_type=int, partitions=2))
    three = app.table(app.topic("three", key_type=str, value_type=int, partitions=3))
    joined = app.join(two, three, on=str)
    with pytest.raises(AppError, match="nobody reads"):
        make_plan(await probed(app), {})

    @app.agent(joined)
    async def tell(changes: fs.Stream[Any]) -> None:
        async for _ in changes:
            pass

    plan = make_plan(await probed(app), {})
    created = {topic.name: topic.partitions for topic in plan.create}
    assert created["x-two-three-subscriptions"] == 3
    assert created["x-two-three-answers"] == 2
    assert set(plan.purged) == {"x-two-three-subscriptions", "x-two-three-answers"}
    assert {each.table.name: each.partitions for each in plan.tables} == {
        "two": 2, "three": 3, "two-three-changes": 2, "two-three-told": 2, "two-three-links": 2,
        "two-three-versions": 2, "two-three.joined-left-changes": 2,
        "two-three.joined-right-changes": 3, "two-three-subscribers": 3,
    }  # fmt: skip
