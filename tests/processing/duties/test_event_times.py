"""`relative_to_field`: a table's windows go by a field of the events' values, and so do these."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
import pytest

import flowstream as fs
from flowstream.processing.duties.event_times import settle_event_times
from flowstream.processing.errors import AppError


class Order(fs.Record):
    """Made at some time."""

    date: datetime.datetime
    country: str = ""


class Other(fs.Record):
    """Another, with the same field."""

    date: float


class Shipped(msgspec.Struct):
    """A value with two times."""

    date: float
    shipped: float


class Packed(msgspec.Struct):
    """A value that is no pydantic model."""

    seconds: float


class Dateless(fs.Record):
    """A value without it."""

    country: str


def reading(app: fs.App, *topics: Any, name: str = "read") -> None:
    @app.agent(*topics, name=name)
    async def read(stream: fs.Stream[Any]) -> None:
        async for _ in stream:
            pass


def hourly(app: fs.App, field: Any, name: str = "hourly") -> Any:
    return app.Table(name, default=int).tumbling(3600).relative_to_field(field)


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        (Order, Order.date, Order(date=5)),  # type: ignore[arg-type]
        (Order, "date", Order(date=5)),  # type: ignore[arg-type]
        (Packed, Packed.seconds, Packed(5.0)),
    ],
)
def test_the_topics_of_the_model_have_their_time_there(model: Any, field: Any, value: Any) -> None:
    app = fs.App("times")
    topic, another = app.topic("a", value_type=model), app.topic("b", value_type=model | None)
    dateless = app.topic("c", value_type=Dateless)
    reading(app, topic)
    reading(app, another, name="other")
    reading(app, dateless, name="dateless")
    table = hourly(app, field)
    assert table is table.relative_to_field(field)
    for _ in range(2):  # two workers of a process have one app
        settle_event_times(app)
    for each in (topic, another):
        assert each.event_ms is not None
        assert each.event_ms(value) == 5_000
    assert dateless.event_ms is None
    assert app.topic("a", value_type=model).name == "a"


def test_a_table_that_goes_by_the_stream_again_leaves_topics_alone() -> None:
    app = fs.App("times")
    topic = app.topic("a", value_type=Order)
    reading(app, topic)
    hourly(app, Order.date).relative_to_stream()
    settle_event_times(app)
    assert topic.event_ms is None


def test_the_same_time_may_be_said_twice() -> None:
    app = fs.App("times")
    topic = app.topic("a", value_type=Order, timestamp="date")
    reading(app, topic)
    hourly(app, Order.date)
    hourly(app, Order.date, "again")
    settle_event_times(app)
    assert topic.event_ms is not None


def two_models(app: fs.App) -> None:
    reading(app, app.topic("a", value_type=Order))
    reading(app, app.topic("b", value_type=Other), name="other")
    hourly(app, Order.date)


def no_model(app: fs.App) -> None:
    reading(app, app.topic("a", value_type=Dateless))
    reading(app, app.topic("b"), name="untyped")
    hourly(app, Order.date)


def two_times(app: fs.App) -> None:
    reading(app, app.topic("a", value_type=Order, timestamp=lambda order: 1.0))
    hourly(app, Order.date)


def no_instant(app: fs.App) -> None:
    reading(app, app.topic("a", value_type=Order))
    hourly(app, Order.country)


def two_fields(app: fs.App) -> None:
    reading(app, app.topic("a", value_type=Shipped))
    hourly(app, "shipped", "first")
    hourly(app, "date")


def two_fields_of_two_types(app: fs.App) -> None:
    topic = app.topic("a", value_type=Packed)
    reading(app, topic)
    reading(app, topic.derive(value_type=Order), name="other")
    hourly(app, Packed.seconds, "first")
    hourly(app, Order.date)


def read_by_an_outbox(app: fs.App) -> None:
    topic = app.topic("a", value_type=Order)
    reading(app, topic)
    hourly(app, Order.date)

    @app.outbox(topic, to=fs.SQLite("orders.db"))
    def store(db: Any, events: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (two_models, r"values of Order and Other have it: say app\.topic\(\.\.\., timestamp='date"),
        (no_model, "what the app's agents read no topic's values do: say"),
        (two_times, "a topic has one event time, so leave one of the two out"),
        (
            two_fields,
            r"'date' and table 'first' by 'shipped', both over topic 'a': an event has one",
        ),
        (
            two_fields_of_two_types,
            r"'date' and table 'first' by 'seconds', both over topic 'a': an ev",
        ),
        (no_instant, "is of type str; event time is seconds since 1970 or a datetime"),
        (read_by_an_outbox, "what outbox 'store' reads, and an outbox cannot"),
    ],
)
def test_what_is_not_clear_is_refused_at_the_start(declare: Any, message: str) -> None:
    app = fs.App("times")
    declare(app)
    with pytest.raises(AppError, match=f"table 'hourly'.*{message}"):
        app.test_context().__enter__()


def test_what_is_no_field_is_refused_at_once() -> None:
    with pytest.raises(AppError, match=r"relative_to_field takes a field of a model, Order\.date"):
        hourly(fs.App("times"), 5)


def test_windows_closing_and_what_is_sent_on_go_by_the_field() -> None:
    app = fs.App("times")
    orders = app.topic("orders", key_type=str, value_type=Order, partitions=2)
    told: list[Any] = []
    times: list[float] = []
    sums = (
        app.Table("sums", default=int, on_window_close=lambda key, n: told.append((*key, n)))
        .tumbling(10, expires=1)
        .relative_to_field(Order.date)
    )

    @app.agent(orders)
    async def count(stream: fs.Stream[Order]) -> None:
        async for event in stream.group_by(Order.country).events():
            times.append(event.timestamp)
            sums["all"] += 1

    with app.test_context() as context:
        for second in (1, 2, 3, 12):
            value = Order(date=second, country="no")  # type: ignore[arg-type]
            context.topic(orders).send(value, key="k")  # made now, and of 1970
        context.advance(20)  # the other partition is idle
    assert times == [1.0, 2.0, 3.0, 12.0]
    assert told == [("all", (0.0, 10.0), 3)]
