"""What would not be read as it was written is refused where it is kept."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

import msgspec
import pydantic
import pytest

import flowstream as fs
from flowstream.processing.errors import AppError
from flowstream.processing.values.round_trips import kept_codec
from flowstream.processing.values.undeclared import Undeclared, kind_of_values
from flowstream.state.memory import MemoryStore
from tests.processing.bench import Bench


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


@dataclasses.dataclass
class Sized:
    """Keys that are numbers beside what may be anything."""

    sizes: dict[int, int]
    note: Any


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


OTHER_KEYS: tuple[tuple[Any, Any], ...] = (
    (dict, {1: "a"}),
    (dict, {"a": [{2.5: 1}]}),
    (list, [{"a": 1}, {datetime.date(2026, 1, 1): 1}]),
    (Any, ({"a": {b"k": 1}},)),
    (dict[str, Any], {"a": {1: 1}}),
    (list[dict[str, dict]], [{"a": {0: 1}}]),  # type: ignore[type-arg]
)


@pytest.mark.parametrize(("kind", "value"), OTHER_KEYS)
def test_S10_a_key_that_would_come_back_as_a_text_is_refused(kind: Any, value: Any) -> None:
    for declared in (kind, kind_of_values(kind, None)):
        with pytest.raises(TypeError, match="key"):
            kept_codec(declared).encode(value)


@pytest.mark.parametrize("kind", [dict, Any, list, dict[str, Any]])
def test_S10_keys_that_are_texts_are_kept(kind: Any) -> None:
    value: Any = {"a": {"1": [{"b": 1}]}, "c": 1}
    value = [value] if kind is list else value
    codec = kept_codec(kind)
    assert codec.decode(codec.encode(value)) == value


@pytest.mark.parametrize("kind", [dict[int, Any], dict[int, dict[str, Any]], Sized])
def test_S10_keys_that_a_type_says_come_back_as_they_were(kind: Any) -> None:
    value: Any = Sized({1: 2}, None) if kind is Sized else {1: {"a": 1}}
    codec: Any = kept_codec(kind)
    assert codec.decode(codec.encode(value)) == value


def test_S10_a_count_in_a_dict_goes_on_from_unit_to_unit() -> None:
    """A dict of numbers had each twice, as a number and as a text, and began at 0 in each unit."""
    found = Bench(fs.App("bench").Table("seen", default=dict))
    with (
        pytest.raises(TypeError, match=r"the key 7, of type int: .* value_type=dict\[int"),
        found.unit(),
    ):
        found.table["k"] = {7: 1}
    found = Bench(fs.App("bench").Table("seen", value_type=dict[int, int], default=dict))
    for _ in range(3):
        with found.unit():
            seen = found.table["k"]
            seen[7] = seen.get(7, 0) + 1
            found.table["k"] = seen
        found.commit()
        found.open()
    with found.unit():
        assert found.table["k"] == {7: 3}


class Base(fs.Record, frozen=True):
    """What others are made of."""

    a: int


class Wider(Base, frozen=True):
    """With something of its own."""

    b: int = 5


class Open(fs.Record, abstract=True, frozen=True):
    """One whose subclasses come back."""

    a: int


class Shut(Open, frozen=True):
    """One of them."""

    b: int = 5


class Struct(msgspec.Struct, frozen=True):
    """What another is made of."""

    a: int


class WiderStruct(Struct, frozen=True):
    """With something of its own."""

    b: int = 5


@dataclasses.dataclass(frozen=True)
class Data:
    """What another is made of."""

    a: int


@dataclasses.dataclass(frozen=True)
class WiderData(Data):
    """With something of its own."""

    b: int = 5


@pytest.mark.parametrize(
    ("kind", "value"), [(Base, Wider(a=1)), (Struct, WiderStruct(1)), (Data, WiderData(1))]
)
def test_S10_an_object_that_would_come_back_as_less_is_refused(kind: Any, value: Any) -> None:
    """A unit read what was written, and the next start what the declared class has of it."""
    found = Bench(fs.App("bench").Table("kept", value_type=kind))
    with pytest.raises(TypeError, match=f"a {type(value).__name__}, which would be"), found.unit():
        found.table["k"] = value
    with found.unit():
        found.table["k"] = kind(a=1)
    found.commit()
    found.open()
    with found.unit():
        assert found.table["k"] == kind(a=1)


def test_S10_records_of_an_abstract_class_come_back_as_what_they_were() -> None:
    found = Bench(fs.App("bench").Table("kept", value_type=Open))
    with found.unit():
        found.table["k"] = Shut(a=1)
    found.commit()
    found.open()
    with found.unit():
        assert found.table["k"] == Shut(a=1, b=5)


@pytest.mark.parametrize(
    ("kind", "value"), [(Base, Wider(a=1)), (Struct, WiderStruct(1)), (Data, WiderData(1))]
)
def test_a_topic_has_all_that_an_object_of_a_subclass_has(kind: Any, value: Any) -> None:
    """Of pydantic's the fields of the declared class were written alone."""
    topic = fs.App("shop").topic("wide", value_type=kind)
    assert topic.encode_value(value) == b'{"a":1,"b":5}'


class Account(fs.Record):
    """With a bound that only those who make one are held to."""

    balance: int = pydantic.Field(ge=0)


UNFIT: tuple[tuple[Any, Any], ...] = (
    (list[int], ["a"]),
    (list[int], [1.5]),
    (dict[str, int], {"a": None}),
    (dict[int, int], {"a": 1}),
    (tuple[int, int], (1, 2, 3)),
    (set[int], {"a"}),
    (Literal["a"], "b"),
    (Struct, Struct("a")),  # type: ignore[arg-type]
    (Data, Data("a")),  # type: ignore[arg-type]
    (Account, Account.model_construct(balance=-1)),
    (list[Account], [Account.model_construct(balance=-1)]),
    (Undeclared(list), [Account.model_construct(balance=-1)]),
)


@pytest.mark.parametrize(("kind", "value"), UNFIT)
def test_S11_a_value_that_its_type_does_not_fit_inside_is_no_row(kind: Any, value: Any) -> None:
    """It was one, and stopped every worker that needed it, whatever the policy."""
    found = Bench(fs.App("bench").Table("kept", value_type=kind))
    told = r"'kept' .* key 'k' .* could not be read again"
    with pytest.raises(ValueError, match=told), found.unit():
        found.table["k"] = value
    assert found.commit() == {}


def test_S11_a_record_that_is_changed_beyond_its_bounds_fails_its_event_alone() -> None:
    app = fs.App("bank")
    moves = app.topic("moves", key_type=str, value_type=int, partitions=1)
    accounts = app.Table("accounts", value_type=Account)

    @app.agent(moves, on_error="dead_letter")
    async def book(stream: fs.Stream[int]) -> None:
        async for who, amount in stream.items():
            account = accounts.get(who) or Account(balance=0)
            account.balance += amount
            accounts[who] = account

    with app.test_context() as context:
        for amount in (10, -15, 5):
            context.topic(moves).send(amount, key="ada")
            context.crash()
        assert context.table(accounts)["ada"] == Account(balance=15)
        assert [letter.value for letter in context.dead_letters] == [b"-15"]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (tuple[int, str], (1, "a"), ("a", 1)),
        (tuple[int, int], (1, 2), (1, 2, 3)),
        (Struct, Struct(1), Struct("a")),  # type: ignore[arg-type]
        (Data, Data(1), Data("a")),  # type: ignore[arg-type]
        (Literal["a"], "a", "b"),
    ],
)
def test_S11_a_key_that_its_type_does_not_fit_inside_is_no_row(
    kind: Any, good: Any, bad: Any
) -> None:
    """A walk over the rows stopped at it, and so did the next start, where it was the first."""
    store = MemoryStore()
    for _ in range(2):
        found = Bench(fs.App("bench").Table("kept", key_type=kind, value_type=int), store)
        with pytest.raises(ValueError, match="could not be read again"), found.unit():
            found.table[bad] = 1
        with found.unit():
            found.table[good] = 1
            assert bad not in found.table
        found.commit()
        found.open()
        with found.unit():
            assert list(found.table.items()) == [(good, 1)]
