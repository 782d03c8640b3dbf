"""Records and their options."""

from __future__ import annotations

import datetime
import decimal
import json
import types
from typing import Any, ClassVar

import pydantic
import pytest

import flowstream as fs
from flowstream.processing.errors import AppError
from flowstream.processing.values.codecs import codec_of
from flowstream.processing.values.serializers import typed
from tests.processing.conftest import Kit


class Order(fs.Record):
    """A value."""

    account: str
    at: datetime.date


class Packed(fs.Record, serializer="json|gzip"):
    """A value that travels compressed."""

    account: str


class Happened(fs.Record, abstract=True):
    """One of several."""

    at: float


class Opened(Happened, ns="shop.opened"):
    """One of them."""

    account: str


class Closed(Happened, include_metadata=True, isodates=True, decimals=True, validation=True):
    """Another."""

    rest: decimal.Decimal


def test_records_have_their_representations() -> None:
    order = Order(account="a", at=datetime.date(2026, 1, 2))
    assert order.asdict() == {"account": "a", "at": datetime.date(2026, 1, 2)}
    assert order.to_representation() == {"account": "a", "at": "2026-01-02"}
    assert order.dumps() == b'{"account":"a","at":"2026-01-02"}'
    assert Order.loads(order.dumps()) == Order.from_data(order.to_representation()) == order
    with pytest.raises(ValueError, match="account"):
        Order.from_data({"at": "2026-01-02"})


def test_a_record_travels_by_its_serializer() -> None:
    data = Packed(account="a").dumps()
    assert data == codec_of(Packed).encode(Packed(account="a"))
    assert data.startswith(b"\x1f\x8b")
    assert Packed.loads(data) == Packed(account="a")
    assert Packed(account="a").dumps(serializer="json") == b'{"account":"a"}'
    assert Packed.loads('{"account":"a"}', serializer="json") == Packed(account="a")
    # A topic's own serializer is instead of the record's, not after it.
    assert typed(Packed, "json").encode(Packed(account="a")) == b'{"account":"a"}'
    with pytest.raises(AppError, match="no serializer 'avro'"):

        class Avro(fs.Record, serializer="avro"):
            pass


def test_the_subclasses_of_an_abstract_record_are_told_apart() -> None:
    codec = codec_of(Happened)
    for event in (Opened(at=1.0, account="a"), Closed(at=2.0, rest=decimal.Decimal("1.50"))):
        found: Any = codec.decode(codec.encode(event))
        assert (type(found), found) == (type(event), event)
    assert json.loads(codec.encode(Opened(at=1.0, account="a"))) == {
        "at": 1.0, "account": "a", "__faust": {"ns": "shop.opened"},
    }  # fmt: skip
    closed = Closed(at=2.0, rest=decimal.Decimal("1.50"))
    named = {"ns": f"{__name__}.Closed"}
    assert closed.to_representation() == {"at": 2.0, "rest": "1.50", "__faust": named}
    assert Closed.loads(closed.dumps()) == codec.decode(closed.dumps()) == closed
    # Alone, it writes no metadata that nobody asked for, and reads what has some.
    assert Opened(at=1.0, account="a").dumps() == b'{"at":1.0,"account":"a"}'
    for data in (b'{"at":1.0}', b'{"__faust":{"ns":"os.system"}}', b'{"__faust":3}', b"[1]", b"{"):
        with pytest.raises(ValueError, match=r"names no subclass|Expecting"):
            codec.decode(data)
    with pytest.raises(TypeError, match="expected Happened"):
        codec.encode(Order(account="a", at=datetime.date(2026, 1, 2)))


async def test_a_topic_of_several_records(kit: Kit, name: str) -> None:
    app = kit.app(name)
    events = app.topic(f"{name}-events", value_type=Happened, partitions=1)
    seen: list[Any] = []

    @app.agent(events, on_error="skip")
    async def see(stream: fs.Stream[Happened]) -> None:
        async for event in stream:
            seen.append(event)

    await kit.create(app)
    async with kit.running(app) as worker:
        await events.send(value=Opened(at=1.0, account="a"))
        await app.topic(events.name, value_type=dict).send(value={"at": 1.0})
        await events.send(value=Closed(at=2.0, rest=decimal.Decimal(1)))
        await kit.until(kit.committed(app, events.name, 3))
        assert worker.counts.skipped == 1
    assert seen == [Opened(at=1.0, account="a"), Closed(at=2.0, rest=decimal.Decimal(1))]


def test_a_record_that_takes_nothing_of_another_type() -> None:
    class Strict(fs.Record, coerce=False):
        number: int

    class Lenient(Strict, coerce=True):
        pass

    assert Lenient(number="3").number == 3  # type: ignore[arg-type]
    with pytest.raises(pydantic.ValidationError, match="valid integer"):
        Strict(number="3")  # type: ignore[arg-type]
    with pytest.raises(pydantic.ValidationError, match="valid integer"):
        codec_of(Strict).decode(b'{"number":"3"}')


def test_a_record_derived_from_others() -> None:
    order = Order(account="a", at=datetime.date(2026, 1, 2))
    other = Order(account="b", at=datetime.date(2026, 1, 3))
    assert order.derive() == order
    assert order.derive(account="c") == Order(account="c", at=order.at)
    assert order.derive(other, account="c") == Order(account="c", at=other.at)
    with pytest.raises(pydantic.ValidationError, match="account"):
        order.derive(account=3)


def test_what_was_assigned_to_a_record_is_checked_when_asked() -> None:
    order = Order(account="a", at=datetime.date(2026, 1, 2))
    assert order.is_valid()
    order.validate_or_raise()
    order.account = 3  # type: ignore[assignment]
    assert not order.is_valid()
    assert [error["loc"] for error in order.validation_errors] == [("account",)]
    with pytest.raises(pydantic.ValidationError):
        order.validate_or_raise()


def test_a_record_whose_annotations_came_later() -> None:
    class Early(fs.Record):
        later: Later  # noqa: F821

    globals()["Later"] = int
    try:
        Early.make_final()
        assert Early(later=3).later == 3
    finally:
        del globals()["Later"]


@pytest.mark.parametrize("option", ["isodates", "decimals", "validation"])
def test_what_is_always_so_cannot_be_turned_off(option: str) -> None:
    with pytest.raises(TypeError, match=f"record Old: {option}=False cannot be given: "):
        type("Old", (fs.Record,), {}, **{option: False})


def test_a_class_argument_that_a_record_does_not_know_is_refused() -> None:
    with pytest.raises(TypeError, match=r"record Old: Record\(polymorphic_fields=\) is not"):

        class Old(fs.Record, polymorphic_fields=True):  # type: ignore[call-arg]
            pass

    class Frozen(fs.Record, frozen=True):
        pass

    assert Frozen.model_config == {"frozen": True}


def test_a_field_of_a_record_class_is_its_name() -> None:
    class Order(fs.Record):
        account: str
        amount: float = 1.5
        currency: ClassVar[str] = "EUR"

    class Paid(Order):
        """Its fields are its own again, and begin with nothing."""

        account: str
        amount: float

    assert (Order.account, Order.amount, Order.currency) == ("account", "amount", "EUR")
    assert (Paid.account, Paid.amount) == ("account", "amount")
    assert [field.is_required() for field in Paid.model_fields.values()] == [True, True]
    assert Order(account="a").amount == 1.5
    with pytest.raises(AttributeError, match="acount"):
        Order.acount  # type: ignore[attr-defined]  # noqa: B018


def test_a_field_of_a_record_class_that_waits_for_a_name() -> None:
    class Order(fs.Record):
        account: str
        item: Item

    class Item(fs.Record):
        id: int

    Order.model_rebuild(_types_namespace={"Item": Item})
    assert (Order.item, Item.id) == ("item", "id")
    assert Order(account="a", item=Item(id=1)).item.id == 1
    with pytest.raises(AttributeError):
        Item.account  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("extra", ["forbid", "allow"])
def test_what_names_a_records_class_is_no_extra_entry(extra: str) -> None:
    line = types.new_class("Line", (fs.Record,), {"extra": extra}, annotated({"at": datetime.date}))
    page = types.new_class(
        "Page", (fs.Record,), {"extra": extra, "include_metadata": True, "coerce": False},
        annotated({"lines": list[line]}),  # type: ignore[valid-type]
    )  # fmt: skip
    made: Any = page(lines=[line(at=datetime.date(2026, 1, 2))])
    assert page.loads(made.dumps()) == made
    # As Faust writes records inside of records.
    theirs = b'{"lines":[{"at":"2026-01-02","__faust":{"ns":"x"}}],"__faust":{"ns":"y"}}'
    assert page.loads(theirs) == page.from_data(made.to_representation()) == made
    assert page.loads(theirs).model_extra in (None, {})
    if extra == "forbid":
        with pytest.raises(pydantic.ValidationError, match="Extra inputs"):
            page.loads(b'{"lines":[],"more":1}')


def annotated(fields: dict[str, Any]) -> Any:
    """The body of a class with these fields."""
    return lambda body: body.update(__annotations__=fields, __module__=__name__)


def test_a_field_that_is_none_is_refused_with_what_was_meant() -> None:
    with pytest.raises(
        AttributeError, match=r"^record Order has no field 'acount': is it 'account'"
    ):
        Order.acount  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match=r"no field 'zone' \(there are account, at\)"):
        Order.zone  # type: ignore[attr-defined]  # noqa: B018
    assert not hasattr(Order, "_anything")
    order = Order(account="a", at=datetime.date(2026, 1, 2))
    with pytest.raises(TypeError, match=r"record Order has no field 'acount': is it 'account'"):
        order.derive(acount="b")
    assert order.derive(account="b").account == "b"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"serialiser": "json"}, r"Record\(serialiser=\) is not taken: is it serializer=\?"),
        ({"forzen": True}, r"Record\(forzen=\) is not taken: is it frozen=\?"),
        ({"ns": 5}, "ns= is a text, not 5"),
        ({"include_metadata": "no"}, "include_metadata= is True or False, not 'no'"),
        ({"abstract": 1}, "abstract= is True or False, not 1"),
        ({"coerce": True, "strict": True}, "coerce= is the contrary of strict="),
    ],
)
def test_class_arguments_that_nothing_would_come_of_are_refused(
    options: dict[str, Any], said: str
) -> None:
    with pytest.raises(TypeError, match=f"^record Order: {said}"):
        types.new_class("Order", (fs.Record,), options)
