"""Fields that operators and topics go by: a name that the model has not is refused before any
event, one that it has, or that nobody can know of, is not.
"""

from __future__ import annotations

import datetime
import decimal
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, TypedDict

import msgspec
import pydantic
import pytest

import flowstream as fs


class Record(fs.Record):
    name: str
    amount: float
    count: Annotated[int, "whole"] | None = None
    at: datetime.datetime | None = None
    price: decimal.Decimal = decimal.Decimal(0)

    @property
    def total(self) -> float:
        return self.amount


class Struct(msgspec.Struct):
    name: str
    amount: float
    count: int | None = None
    at: datetime.datetime | None = None
    price: decimal.Decimal = decimal.Decimal(0)

    @property
    def total(self) -> float:
        return self.amount


@dataclass
class Data:
    name: str
    amount: float
    count: int | None = None
    at: datetime.datetime | None = None
    price: decimal.Decimal = decimal.Decimal(0)

    @property
    def total(self) -> float:
        return self.amount


class Inner(fs.Record):
    user: Record


class Cash(msgspec.Struct, tag=True):
    name: str


class Card(msgspec.Struct, tag=True):
    name: str
    number: str


class Open(pydantic.BaseModel, extra="allow"):
    name: str


class Event(fs.Record, abstract=True):
    name: str


class Click(Event):
    page: str


class Typed(TypedDict):
    name: str
    amount: float


class Named(NamedTuple):
    name: str
    amount: float


MODELS = [Record, Struct, Data]


@pytest.fixture
def app() -> fs.App:
    return fs.App("shop", broker="kafka://127.0.0.1:1")


async def probe(app: fs.App, kind: Any, use: Any) -> None:
    number = len(app.agents)

    @app.agent(app.topic(f"t{number}", value_type=kind), name=f"agent-{number}")
    async def agent(stream: fs.Stream[Any]) -> None:
        async for _ in use(stream):
            pass

    await agent.probe()


WRONG = [
    (lambda s: s.tumbling(5).sum("amuont"), r"Sum\('amuont'\): \w+ has no field 'amuont': is it"),
    (lambda s: s.tumbling(5).min("x"), r"no field 'x' \(there are name, amount, count, at, price"),
    (lambda s: s.hopping(9, 3).max("x"), "Max"),
    (lambda s: s.sliding(5).mean("x"), "Mean"),
    (lambda s: s.session(5).collect("x"), "Collect"),
    (lambda s: s.tumbling(5).distinct("x"), "Distinct"),
    (lambda s: s.filter(bool).tumbling(5).aggregate(n=fs.Count(), top=fs.Max("x")), r"Max\('x'\)"),
    (lambda s: s.group_by("amount").tumbling(5).sum("x"), r"Sum\('x'\)"),
    (lambda s: s.group_by("nmae"), r"group_by\('nmae'\): \w+ has no field 'nmae': is it 'name'\?"),
    (lambda s: s.dedupe(60, by="x"), r"dedupe\(by='x'\)"),
    (lambda s: s.tumbling(5).sum("name"), "of values of type str: a sum is of numbers; collect"),
    (lambda s: s.tumbling(5).sum("at"), "of values of type datetime: a sum is of numbers"),
    (lambda s: s.tumbling(5).sum(), r"Sum\(\) would be of values of type (Record|Struct|Data)"),
    (lambda s: s.tumbling(5).mean("name"), "of values of type str: a mean is of numbers"),
    (lambda s: s.tumbling(5).sum("price"), "over Decimal must say so, .*: type=Decimal"),
    (lambda s: s.tumbling(5).max("at"), "over datetime must say so"),
    (lambda s: s.group_by("count", key_type=str), "keys of type int, .* is str: say key_type=int"),
]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(("use", "message"), WRONG)
async def test_a_field_that_a_model_has_not_is_refused_before_any_event(
    app: fs.App, kind: Any, use: Any, message: str
) -> None:
    with pytest.raises(fs.AppError, match=f"agent 'agent-0': .*{message}"):
        await probe(app, kind, use)


RIGHT = [
    lambda s: s.tumbling(5).sum("amount"),
    lambda s: s.tumbling(5).sum("count"),
    lambda s: s.tumbling(5).sum("total"),
    lambda s: s.tumbling(5).sum("price", type=decimal.Decimal),
    lambda s: s.tumbling(5).min("name"),
    lambda s: s.tumbling(5).max("at", type=datetime.datetime),
    lambda s: s.tumbling(5).mean("price"),
    lambda s: s.tumbling(5).collect("at"),
    lambda s: s.tumbling(5).collect(),
    lambda s: s.tumbling(5).sum(lambda value: len(value.name)),
    lambda s: s.group_by("name").dedupe(5, by="amount").tumbling(5).count(),
    lambda s: s.group_by("count").tumbling(5).count(),
    lambda s: s.group_by("count", key_type=int).tumbling(5).count(),
]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("use", RIGHT)
async def test_a_field_that_a_model_has_is_not(app: fs.App, kind: Any, use: Any) -> None:
    await probe(app, kind, use)


@pytest.mark.parametrize("kind", [Any, None, dict, dict[str, int], Open, Event])
async def test_where_nobody_knows_the_fields_none_is_refused(app: fs.App, kind: Any) -> None:
    await probe(app, kind, lambda s: s.group_by("page").tumbling(5).sum("page"))
    app.topic("u", value_type=kind, timestamp="when")


@pytest.mark.parametrize("base", [msgspec.Struct, pydantic.BaseModel, fs.Record])
async def test_a_class_that_makes_fields_up_has_any(app: fs.App, base: Any) -> None:
    class Made(base):  # type: ignore[misc]
        def __getattr__(self, name: str) -> str:
            return name

    await probe(app, Made, lambda s: s.group_by("page"))


async def test_a_serializer_does_not_change_what_a_model_has(app: fs.App) -> None:
    topic = app.topic("t", value_type=Record, value_serializer="json|gzip", timestamp="at")

    @app.agent(topic)
    async def agent(stream: fs.Stream[Any]) -> None:
        async for _ in stream.group_by("nobody"):
            pass

    with pytest.raises(fs.AppError, match="Record has no field 'nobody'"):
        await agent.probe()


@pytest.mark.parametrize("kind", [Typed, Named])
async def test_dicts_and_tuples_that_are_described_are_checked(app: fs.App, kind: Any) -> None:
    await probe(app, kind, lambda s: s.group_by("name").tumbling(5).sum("amount"))
    with pytest.raises(fs.AppError, match="has no field 'nam': is it 'name'"):
        await probe(app, kind, lambda s: s.group_by("nam"))


async def test_a_field_of_a_field_and_of_one_of_several_models(app: fs.App) -> None:
    await probe(app, Inner, lambda s: s.group_by("user.name").tumbling(5).sum("user.amount"))
    await probe(app, Cash | Card, lambda s: s.group_by("number"))
    with pytest.raises(fs.AppError, match=r"group_by\('user.nam'\): Record has no field 'nam'"):
        await probe(app, Inner, lambda s: s.group_by("user.nam"))
    with pytest.raises(fs.AppError, match="Cash and Card have no field 'nam'"):
        await probe(app, Cash | Card, lambda s: s.group_by("nam"))
    with pytest.raises(fs.AppError, match="int has no field 'x'"):
        await probe(app, int, lambda s: s.tumbling(5).sum("x"))


async def test_behind_a_topic_of_ones_own_its_type_is_checked(app: fs.App) -> None:
    through = app.topic("between", value_type=Struct)
    with pytest.raises(fs.AppError, match=r"Sum\('page'\): Struct has no field"):
        await probe(app, Click, lambda s: s.through(through).tumbling(5).sum("page"))


@pytest.mark.parametrize("kind", MODELS)
def test_the_field_of_event_time(app: fs.App, kind: Any) -> None:
    app.topic("t", value_type=kind, timestamp="at")
    app.topic("u", value_type=kind, timestamp="amount")
    app.topic("v", value_type=kind, timestamp="total")
    with pytest.raises(fs.AppError, match=r"topic 'w': timestamp='att': \w+ has no field 'att'"):
        app.topic("w", value_type=kind, timestamp="att")
    with pytest.raises(fs.AppError, match="timestamp='name' is of type str; event time is seconds"):
        app.topic("x", value_type=kind, timestamp="name")
    with pytest.raises(fs.AppError, match=r"a field's name or a function of the value, not 5"):
        app.topic("y", value_type=kind, timestamp=5)  # type: ignore[arg-type, call-overload]


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda s: s.filter(5), r"filter: .* is a function, not 5 \(an int\)"),
        (lambda s: s.map("x"), r"map: .* is a function, not 'x'"),
        (lambda s: s.flat_map([]), r"flat_map: .* is a function, not \[\]"),
        (lambda s: s.dedupe(5, by=5), "dedupe's by= takes a function of the value or the name"),
        (
            lambda s: s.tumbling(5).sum(5),
            "an aggregate takes a function of the value or the name of its field, not 5",
        ),
    ],
)
async def test_functions_that_are_none_are_refused_before_any_event(
    app: fs.App, use: Any, message: str
) -> None:
    with pytest.raises(fs.AppError, match=message):
        await probe(app, Any, use)


def test_what_flat_map_cannot_take_apart_is_told() -> None:
    app = fs.App("apart")
    numbers = app.topic("numbers", value_type=int, partitions=1)

    async def later(value: int) -> list[int]:
        return [value]

    @app.agent(numbers, on_error="dead_letter")
    async def agent(stream: fs.Stream[int]) -> None:
        made: Any = lambda value: later(value) if value else value  # noqa: E731
        async for _ in stream.flat_map(made):
            pass

    with app.test_context() as context:
        for value in (0, 1):
            context.topic(numbers).send(value)
        told = [letter.cause for letter in context.dead_letters]
    assert len(told) == 2
    assert "flat_map's function gives a list of values, not 0 (an int)" in told[0]
    assert "flat_map's function is async, and it takes a plain one" in told[1]
