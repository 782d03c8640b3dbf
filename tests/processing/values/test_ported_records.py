"""Records with the fields and the options of Faust's."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Any

import pydantic
import pytest

import flowstream as faust
from flowstream.models.fields import (
    BooleanField,
    BytesField,
    DatetimeField,
    DecimalField,
    FloatField,
    IntegerField,
    StringField,
)
from flowstream.processing.errors import AppError

NOON = datetime.datetime(2024, 2, 1, 12, tzinfo=datetime.UTC)


def day(text: Any) -> datetime.datetime:
    """A time of day.month.year."""
    return datetime.datetime.strptime(text, "%d.%m.%Y").replace(hour=12, tzinfo=datetime.UTC)


class Person(faust.Record, validation=True):
    """Somebody."""

    name: str = StringField(max_length=5, trim_whitespace=True)
    age: int = IntegerField(min_value=18, max_value=99)
    height: float = FloatField(required=False, max_value=3)
    owes: decimal.Decimal = DecimalField(
        default=decimal.Decimal("0"), max_digits=4, max_decimal_places=2
    )
    joined: datetime.datetime = DatetimeField(required=False, date_parser=day)
    key: bytes = BytesField(default=b"k", min_length=1, encoding="latin-1")
    likes: bool = BooleanField(default=False)
    note: str = StringField(default="", allow_blank=True)


def test_fields_take_what_fits() -> None:
    ada = Person(name=" Ada ", age=36, joined="01.02.2024", key="é")  # type: ignore[arg-type]
    assert (ada.name, ada.joined, ada.key, ada.note) == ("Ada", NOON, b"\xe9", "")
    assert ada.height is None
    assert Person.loads(b'{"name":"Ada","age":36,"height":null}').height is None
    assert Person.name == "name"
    assert Person.is_valid(ada)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Augusta"), ("name", ""), ("name", "  "), ("name", None), ("age", 17),
        ("age", 100), ("age", "x"), ("height", 3.5), ("owes", "123.45"), ("owes", "1.234"),
        ("joined", "2024"), ("key", b""), ("likes", "perhaps"),
    ],
)  # fmt: skip
def test_fields_refuse_what_does_not_fit(field: str, value: object) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        Person(**{"name": "Ada", "age": 36, field: value})  # type: ignore[arg-type]
    assert [error["loc"] for error in caught.value.errors()] == [(field,)]


def test_a_needed_field_is_needed() -> None:
    with pytest.raises(pydantic.ValidationError, match="age"):
        Person(name="Ada")  # type: ignore[call-arg]


class Coerced(faust.Record):
    """Whose fields make values, or never do."""

    text: str = StringField(coerce=True, default="")
    number: int = IntegerField(coerce=True, default=0)
    truth: bool = BooleanField(coerce=True, default=False)
    strict: int = IntegerField(coerce=False, default=0)


def test_fields_coerce_or_do_not() -> None:
    found = Coerced(text=5, number=2.9, truth="yes", strict=1)  # type: ignore[arg-type]
    assert (found.text, found.number, found.truth, found.strict) == ("5", 2, True, 1)
    with pytest.raises(pydantic.ValidationError, match="strict"):
        Coerced(strict="1")  # type: ignore[arg-type]


class Renamed(faust.Record):
    """Whose fields have other names in JSON."""

    number: int = IntegerField(input_name="id")
    text: str = StringField(output_name="t", default="")
    secret: str = StringField(exclude=True, default="s")


class Apart(faust.Record):
    """Whose field is written otherwise than it is read."""

    number: int = IntegerField(input_name="in", output_name="out")


def test_fields_have_other_names_in_json() -> None:
    found = Renamed(number=1, text="x")
    assert found.dumps() == b'{"id":1,"t":"x"}'
    assert Renamed.loads(found.dumps()) == found
    assert found.to_representation() == {"id": 1, "t": "x"}
    assert Renamed.number == "number"
    apart = Apart.loads(b'{"in":1}')
    assert apart.dumps() == b'{"out":1}'
    with pytest.raises(AppError, match="would be lost"):
        faust.App("shop").Table("apart", value_type=Apart)


@pytest.mark.parametrize(
    ("field", "option", "value"),
    [
        (StringField, "max", 5), (IntegerField, "tag", None), (FloatField, "max_length", 5),
        (DatetimeField, "required", "no"), (BooleanField, "input_name", 5), (BytesField, "type", 5),
    ],
)  # fmt: skip
def test_what_a_field_does_not_take_is_refused(field: Any, option: str, value: object) -> None:
    with pytest.raises(TypeError, match=rf"^{field.__name__}\({option}=\) is"):
        field(**{option: value})


class Money:
    """A class that pydantic knows nothing of."""

    def __init__(self, cents: int) -> None:
        self.cents = cents


class Order(
    faust.Record,
    coercions={Money: lambda cents: Money(int(cents))},
    date_parser=day,
    namespace="shop.Order",
    allow_blessed_key=False,
):
    """Whose values are made of others."""

    at: datetime.datetime
    prices: list[Money] = []  # noqa: RUF012 - pydantic copies it
    paid: datetime.datetime | None = None
    id: uuid.UUID | None = None


class Larger(Order):
    """A subclass, with a field of its own."""

    sent: dict[str, datetime.datetime] = {}  # noqa: RUF012


def test_values_of_a_type_are_made_of_others() -> None:
    order = Order(at="01.02.2024", prices=["5", 6, Money(7)])  # type: ignore[arg-type, list-item]
    assert (order.at, [price.cents for price in order.prices]) == (NOON, [5, 6, 7])
    larger = Larger.loads(b'{"at":"01.02.2024","paid":"01.02.2024","sent":{"a":"01.02.2024"}}')
    assert (larger.at, larger.paid, larger.sent) == (NOON, NOON, {"a": NOON})
    assert larger.derive(at=NOON).at == NOON
    with pytest.raises(ValueError, match=r"does not match format"):
        Order(at="yesterday")  # type: ignore[arg-type]
    assert faust.App("shop").topic("orders", value_type=Order, timestamp="at").event_ms is not None


def test_a_namespace_is_what_names_a_record() -> None:
    class Named(faust.Record, namespace="shop.Named", include_metadata=True):
        a: int

    assert Named(a=1).to_representation() == {"a": 1, "__faust": {"ns": "shop.Named"}}
    with pytest.raises(TypeError, match="another word for ns="):

        class Twice(faust.Record, namespace="a", ns="b"):
            a: int


def test_a_lazy_record_is_built_when_it_is_used() -> None:
    class Lazy(faust.Record, lazy_creation=True, coercions={int: round}):
        a: int

    class LazyToo(faust.Record, lazy_creation=True):
        a: int

    assert not Lazy.__pydantic_complete__
    Lazy.make_final()
    assert Lazy.__pydantic_complete__
    assert Lazy(a=2.6).a == 3  # type: ignore[arg-type]
    assert faust.App("shop").topic("lazy", value_type=LazyToo).value_codec.decode(
        b'{"a":5}'
    ) == LazyToo(a=5)


def test_records_tell_what_is_wrong_with_them() -> None:
    person = Person(name="Ada", age=36)
    assert person.validate() == []
    person.age = 5
    assert [error["loc"] for error in person.validate()] == [("age",)]


def test_what_would_have_no_effect_is_refused() -> None:
    with pytest.raises(TypeError, match="never says what a record is"):

        class Blessed(faust.Record, allow_blessed_key=True):
            a: int

    with pytest.raises(TypeError, match="a function for each type"):

        class Odd(faust.Record, coercions={"int": int}):  # type: ignore[dict-item]
            a: int

    with pytest.raises(TypeError, match="need the types of all fields"):

        class Early(faust.Record, date_parser=day):
            later: Undeclared  # type: ignore[name-defined]  # noqa: F821
