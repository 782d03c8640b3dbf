"""What would not be read as it was written is refused where it is kept."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pydantic
import pytest

import flowstream as fs
from flowstream.processing.errors import AppError
from flowstream.processing.values.round_trips import kept_codec


class Trade(fs.Record):
    """As somebody else writes it."""

    price: float = pydantic.Field(default=0.0, alias="p")


class Both(fs.Record, serialize_by_alias=True):
    """By its alias in both directions."""

    price: float = pydantic.Field(alias="p")


class ByName(pydantic.BaseModel, validate_by_name=True):
    """Read by either name."""

    price: float = pydantic.Field(alias="p")


class Choice(pydantic.BaseModel):
    """Read by one of several names."""

    price: float = pydantic.Field(validation_alias=pydantic.AliasChoices("p", "price"))


class Written(pydantic.BaseModel, serialize_by_alias=True):
    """Written by another name than it is read by."""

    price: float = pydantic.Field(serialization_alias="p")


class Mended(pydantic.BaseModel):
    """What it is read by, a function says."""

    price: float = pydantic.Field(alias="p")

    @pydantic.model_validator(mode="before")
    @classmethod
    def renamed(cls, data: Any) -> Any:
        """By either name."""
        return {"p": data["price"]} if "price" in data else data


class Hidden(pydantic.BaseModel):
    """With a field that is never written."""

    secret: str = pydantic.Field(exclude=True)


class Day(pydantic.BaseModel):
    """Trades in lists, and itself."""

    trades: list[Trade]
    before: Day | None = None


DECLARE: dict[str, Callable[[fs.App, Any], object]] = {
    "table 'kept'": lambda app, kind: app.Table("kept", value_type=kind),
    "table 'keys'": lambda app, kind: app.Table("keys", key_type=kind, value_type=int),
    "table 'sets'": lambda app, kind: app.SetTable("sets", value_type=kind),
    "timers 'due'": lambda app, kind: app.Timers("due", value_type=kind),
    "table 'of'": lambda app, kind: app.table(app.topic("of", value_type=kind)),
    "agent 'own'": lambda app, kind: app.agent(value_type=kind, name="own")(reading),
}


async def reading(stream: fs.Stream[Any]) -> None:
    """An agent."""
    async for _ in stream:
        pass


@pytest.mark.parametrize("what", DECLARE)
def test_what_is_kept_must_come_back(what: str) -> None:
    app = fs.App("shop")
    with pytest.raises(
        AppError, match=f"^{what}: field 'price' of Trade is written as 'price' and"
    ):
        DECLARE[what](app, Trade)
    DECLARE[what](fs.App("shop"), Both)


@pytest.mark.parametrize("kind", [Both, ByName, Choice, Mended, datetime.date, list[Both], Any])
def test_what_comes_back_is_taken(kind: Any) -> None:
    fs.App("shop").Table("kept", value_type=kind)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Written, "field 'price' of Written is written as 'p' and read as 'price'"),
        (Hidden, "field 'secret' of Hidden is required and never written"),
        (Day, "field 'price' of Trade is written as 'price' and read as 'p'"),
        (dict[str, list[Trade] | None], "field 'price' of Trade"),
    ],
)
def test_S10_what_does_not_is_refused(kind: Any, said: str) -> None:
    with pytest.raises(AppError, match=said):
        fs.App("shop").Table("kept", value_type=kind)


async def test_values_that_a_window_collects_come_back() -> None:
    app = fs.App("shop")

    @app.agent(app.topic("trades", value_type=Trade))
    async def collect(stream: fs.Stream[Trade]) -> None:
        async for _ in stream.tumbling(60).collect():
            pass

    with pytest.raises(AppError, match=r"agent 'collect': collect\(\): field 'price' of Trade"):
        await collect.probe()


def test_a_topic_may_be_read_by_other_names() -> None:
    topic = fs.App("shop").topic("trades", value_type=Trade)
    assert topic.value_codec.decode(b'{"p":1.5}').price == 1.5


class Price(fs.Record):
    """With a number, and with what may be missing."""

    price: float
    note: str | None = None
    before: Price | None = None


class Tagged(fs.Record, include_metadata=True):
    """Written by another encoder."""

    price: float


class Point(msgspec.Struct):
    """A number inside of something."""

    at: dict[str, tuple[float, ...]]
    note: str | None = None


@dataclasses.dataclass
class Sample:
    """A number in a dataclass."""

    price: float
    of: list[Price]


class Constants(pydantic.BaseModel, ser_json_inf_nan="constants"):
    """Written as Python's own json does."""

    price: float
    note: str | None = None


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_does_not_know_is_refused_where_it_is_written(number: float) -> None:
    for value in (
        Price(price=number),
        Price(price=1.0, before=Price(price=number)),
        Tagged(price=number),
        Point(at={"a": (1.0, number)}),
        Sample(price=number, of=[]),
        Sample(price=1.0, of=[Price(price=number)]),
    ):
        with pytest.raises(ValueError, match=r"NaN|JSON"):
            kept_codec(type(value)).encode(value)
    with pytest.raises(ValueError, match="a list with NaN or infinity in it: JSON has neither"):
        kept_codec(list[float]).encode([number])
    assert kept_codec(Constants).encode(Constants(price=number)) != b'{"price":null,"note":null}'
    assert repr(kept_codec(float).decode(kept_codec(float).encode(number))) == repr(number)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Any, math.nan),
        (object, [1.0, math.inf]),
        (dict, {"of": [{"price": -math.inf}]}),
        (list, [math.nan]),
        (dict[str, Any], {"price": math.nan}),
        (dict[str, float | None], {"price": math.inf}),
    ],
)
def test_S10_a_number_is_not_none_from_the_next_start_on(kind: Any, value: Any) -> None:
    """What has no type, or may be None, is read as None where a number was written as null."""
    with pytest.raises(ValueError, match="with NaN or infinity in it: JSON has neither"):
        kept_codec(kind).encode(value)


@pytest.mark.parametrize("value", [None, "null", {"price": 1.5, "before": None}, [None, 2]])
def test_none_is_kept_as_none(value: Any) -> None:
    codec = kept_codec(Any)
    assert codec.decode(codec.encode(value)) == value


def test_what_is_null_may_stand_beside_a_number() -> None:
    for value in (Price(price=1.0, before=Price(price=2.0)), Point(at={}), Sample(1.0, [])):
        codec = kept_codec(type(value))
        assert codec.decode(codec.encode(value)) == value


def test_a_number_that_no_row_could_hold_fails_its_event() -> None:
    """The row would stop every worker that reads it."""
    app = fs.App("shop")
    samples = app.topic("samples", key_type=str, value_type=float, partitions=1)
    table = app.Table("rows", value_type=Price)

    @app.agent(samples, on_error="skip")
    async def keep(stream: fs.Stream[float]) -> None:
        async for key, price in stream.items():
            table[key] = Price(price=price)

    @app.agent(samples, on_error="skip")
    async def average(stream: fs.Stream[float]) -> AsyncIterator[float]:
        async for window in stream.tumbling(60).mean():
            yield window.value

    with app.test_context() as context:
        for second, price in enumerate([1.0, math.nan, 2.0]):
            context.topic(samples).send(price, key="a", timestamp=second)
        assert context.table(table)["a"] == Price(price=2.0)
        context.topic(samples).send(7.0, key="a", timestamp=61)
        context.topic(samples).send(math.inf, key="a", timestamp=62)
        context.crash()
        context.topic(samples).send(9.0, key="a", timestamp=121)
        assert context.table(table)["a"] == Price(price=9.0)
