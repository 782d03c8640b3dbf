"""What the declared type of a table does not hold is refused where it is written: keys and values
that would come back as others, or not at all.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections import Counter, defaultdict
from typing import Any, Literal

import msgspec
import pydantic
import pytest

import flowstream as fs
from flowstream.processing.values.round_trips import kept_codec
from flowstream.processing.values.undeclared import Undeclared, kind_of_values
from flowstream.state.memory import MemoryStore
from tests.processing.bench import Bench


@dataclasses.dataclass
class Sized:
    """Keys that are numbers beside what may be anything."""

    sizes: dict[int, int]
    note: Any


OTHER_KEYS: tuple[tuple[Any, Any], ...] = (
    (dict, {1: "a"}),
    (dict, {"a": [{2.5: 1}]}),
    (list, [{"a": 1}, {datetime.date(2026, 1, 1): 1}]),
    (Any, ({"a": {b"k": 1}},)),
    (dict[str, Any], {"a": {1: 1}}),
    (list[dict[str, dict]], [{"a": {0: 1}}]),  # type: ignore[type-arg]
    (dict, {"a": Counter({1: 2})}),
    (dict, {"a": 1, "b": [defaultdict(int, {1: 2})]}),
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
