"""Checked by mypy --strict and basedpyright: what the public names' types say."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import Any, assert_type

import flowstream as fs
from flowstream.cli import option
from flowstream.models.fields import StringField
from flowstream.types import StreamT


class Order(fs.Record):
    """A value."""

    account: str
    amount: int


@dataclass
class Plain:
    """Another value."""

    name: str


app = fs.App("typed", broker="kafka://127.0.0.1:9092", processing_guarantee="exactly_once")
orders = app.topic("orders", key_type=str, value_type=Order, partitions=4)
anything = app.topic("anything")
plain = app.topic("plain", value_type=Plain)

assert_type(orders, fs.Topic[str, Order])
assert_type(anything, fs.Topic[Any, Any])
assert_type(plain, fs.Topic[Any, Plain])

totals = app.Table("totals", default=int)
by_number = app.Table("by-number", key_type=int, value_type=Order)
velocity = app.Table("velocity", key_type=str, value_type=int, default=int).hopping(10, 5)

assert_type(totals, fs.Table[str, int])
assert_type(by_number, fs.Table[int, Order])
assert_type(velocity, fs.WindowedTable[str, int])

ordered = app.Table("ordered", key_type=tuple[str, int], value_type=int, ordered=True, ttl=60)
members = app.SetTable("members", value_type=int)
everywhere = app.GlobalTable("everywhere", default=int)
foreign = app.table_of("other", "table", key_type=str, value_type=Order)

assert_type(ordered, fs.Table[tuple[str, int], int])
assert_type(members, fs.SetTable[str, int])
assert_type(everywhere, fs.GlobalTable[str, int])
assert_type(foreign, fs.TableOf[str, Order])


@app.agent(orders, sink=[plain, print], on_error="dead_letter")
async def add(stream: fs.Stream[Order]) -> AsyncIterator[Plain]:
    """Values, tables and windows."""
    async for order in stream:
        assert_type(order, Order)
        totals[order.account] += order.amount
        assert_type(totals[order.account], int)
        assert_type(totals.get("x"), int | None)
        velocity[order.account] += 1
        assert_type(velocity[order.account].current(), int)
        by_number[1] = order
        assert_type(list(ordered.range(("a", 1))), list[tuple[tuple[str, int], int]])
        assert_type(dict(ordered.prefix(("a",))), dict[tuple[str, int], int])
        members["a"] |= {1}
        members["b"] = {1, 2}
        assert_type(members["a"], fs.MemberSet[int])
        assert_type(everywhere["a"], int)
        assert_type(foreign.get("a"), Order | None)
        sent = await orders.send(key="k", value=order)
        assert_type(sent.offset, int | None)
        yield Plain(order.account)


@app.agent(orders)
async def more(stream: fs.Stream[Order]) -> None:
    """Operators."""
    async for batch in stream.filter(lambda order: order.amount > 0).take(10, within=1.0):
        assert_type(batch, list[Order])


@app.agent(orders)
async def events(stream: fs.Stream[Order]) -> None:
    """Events."""
    async for event in stream.group_by(lambda order: order.account).events():
        assert_type(event.value, Order)
        assert_type(event.timestamp, float)


@app.agent(orders)
async def items(stream: fs.Stream[Order]) -> None:
    """Pairs."""
    async for key, order in stream.items():
        assert_type(order, Order)
        await anything.send(key=key, value=order)


assert_type(add, fs.Agent[Order])


@app.agent(orders)
async def named_by_faust(stream: fs.Stream[Order]) -> None:
    """Names that Faust's users know."""
    async for taken in stream.take_events(10, within=1.0):
        assert_type(taken, list[fs.Event[Order]])
        assert_type(await taken[0].send(plain), fs.RecordMetadata)
        assert_type(fs.current_event(), fs.Event[Any] | None)
        assert_type(Order.loads(taken[0].value.dumps()), Order)


@app.task()
async def once() -> None:
    """A task, declared with parentheses."""
    assert_type(await app.send(orders, "k", Order(account="a", amount=1)), fs.RecordMetadata)
    assert_type(await named_by_faust.join([1], "k"), list[Any])


@app.agent(orders)
async def as_in_faust(stream: fs.StreamT[Order]) -> AsyncIterable[Plain]:
    """Faust's names of the types."""
    async for order in stream:
        assert_type(order, Order)
        yield Plain(order.account)


async def declared(of: fs.AppT, topic: fs.TopicT[str, Order], table: fs.TableT[str, int]) -> None:
    """What is declared, by Faust's names."""
    assert_type(of, fs.App)
    assert_type(topic, fs.Topic[str, Order])
    assert_type(table, fs.Table[str, int])


@app.agent(value_type=Order)
async def of_its_own(stream: fs.Stream[Order]) -> None:
    """A topic that is named by the agent."""
    async for order in stream:
        assert_type(order, Order)


@app.agent()
async def of_anything(stream: fs.Stream[int]) -> None:
    """The same without types."""
    async for number in stream:
        assert_type(number, int)


assert_type(of_its_own, fs.Agent[Order])


def window_closed(key: tuple[str, tuple[float, float]], value: int) -> None:
    """What a function that is told of windows gets."""


async def window_closed_later(key: Any, value: Any) -> None:
    """It may be awaited."""


told = app.Table("told", default=int, on_window_close=window_closed).tumbling(10, 1)
told_later = app.Table("told-later", default=int, on_window_close=window_closed_later)
assert_type(told, fs.WindowedTable[str, int])
assert_type(told.relative_to_field(Order.amount), fs.WindowedTable[str, int])
assert_type(told.as_ansitable(title="told", sort=True), str)
assert_type(totals.as_ansitable(key="account"), str)
assert_type(members.as_ansitable(), str)

ported = fs.App("ported", broker_commit_interval=1.0, producer_acks="all", store="rocksdb://")
ported.conf.topic_replication_factor = 3
ported.conf.web_port = None


async def makes_topics() -> None:
    """Topics are made at once."""
    await orders.maybe_declare()
    await orders.declare()


@app.command
async def fill(self: object, count: int = 3) -> int:
    """A command with its options."""
    return count


@app.command(name="fill-more", help="More.")
async def fill_more(count: int) -> int:
    """The same, named."""
    return count


@app.command(option("--count", type=int), help="By an option.")
async def fill_by_option(count: int) -> int:
    """The same, as click says it."""
    return count


async def asks_commands() -> None:
    """A command stays the function that it is."""
    assert_type(await fill(app), int)
    assert_type(await fill_more(3), int)
    assert_type(await fill_by_option(3), int)
    await fill_more("3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


by_window = app.Table("by-window", default=int, window=fs.TumblingWindow(60))
typed_by_window = app.Table(
    "typed-by-window", key_type=int, value_type=Order, window=fs.HoppingWindow(60, 5)
)
assert_type(by_window, fs.WindowedTable[str, int])
assert_type(typed_by_window, fs.WindowedTable[int, Order])
assert_type(
    app.Table("used", default=int).using_window(fs.TumblingWindow(60)), fs.WindowedTable[str, int]
)


class Ported(fs.Record, namespace="shop.Ported", lazy_creation=True):
    """With Faust's fields and class arguments."""

    name: str = StringField(max_length=30)


@app.agent(orders)
async def with_fausts_names(stream: StreamT[Order]) -> None:
    """What a stream of Faust's has."""
    async for order in stream.group_by("account", topic=orders):
        assert_type(order, Order)
    assert_type(stream.current_event, fs.Event[Any] | None)
