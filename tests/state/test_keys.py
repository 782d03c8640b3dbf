"""Encoded keys: their order is the values' order, and they come back as they were."""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstream.state.keys import OrderedKeys, ordered_keys


class Seat(NamedTuple):
    row: str
    number: int


@dataclass(frozen=True, order=True)
class Spot:
    zone: bytes
    seat: Seat
    free: bool


class Reading(msgspec.Struct, frozen=True, order=True):
    sensor: uuid.UUID
    at: datetime.datetime


@dataclass
class Changing:
    field: int


NUMBERS = st.one_of(
    st.integers(), st.integers(-300, 300), st.sampled_from([2**64, 2**64 - 1, -(2**64), 2**600])
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
DATA = st.binary(max_size=5)
MOMENTS = st.datetimes(
    min_value=datetime.datetime(2, 1, 1),
    max_value=datetime.datetime(9998, 1, 1),
    timezones=st.sampled_from(
        [datetime.UTC, *(datetime.timezone(datetime.timedelta(hours=h)) for h in (-11, 3, 14))]
    ),
)
SEATS = st.builds(Seat, TEXTS, NUMBERS)
FLOATS = st.floats(allow_nan=False)
KINDS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, NUMBERS),
    (float, FLOATS),
    (bool, st.booleans()),
    (str, TEXTS),
    (bytes, DATA),
    (datetime.datetime, MOMENTS),
    (datetime.date, st.dates()),
    (uuid.UUID, st.uuids()),
    (tuple[str, int], st.tuples(TEXTS, NUMBERS)),
    (tuple[bytes, float, bool], st.tuples(DATA, FLOATS, st.booleans())),
    (tuple[str, ...], st.lists(TEXTS, max_size=4).map(tuple)),
    (tuple[tuple[bytes, ...], ...], st.lists(st.lists(DATA).map(tuple), max_size=4).map(tuple)),
    (tuple[tuple[int, ...], str], st.tuples(st.lists(NUMBERS, max_size=3).map(tuple), TEXTS)),
    (Seat, SEATS),
    (Spot, st.builds(Spot, DATA, SEATS, st.booleans())),
    (Reading, st.builds(Reading, st.uuids(), MOMENTS)),
]


def keys_of(kind: Any) -> OrderedKeys[Any]:
    found = ordered_keys(kind)
    assert found is not None
    return found


@given(data=st.data(), kind=st.sampled_from(KINDS))
@settings(max_examples=600, deadline=None)
def test_the_order_of_encodings_is_the_order_of_values(
    data: st.DataObject, kind: tuple[Any, st.SearchStrategy[Any]]
) -> None:
    keys = keys_of(kind[0])
    one, other = data.draw(kind[1]), data.draw(kind[1])
    encoded, beside = keys.encode(one), keys.encode(other)
    assert keys.decode(encoded) == one
    assert (encoded < beside) is (one < other)
    assert (encoded == beside) is (one == other)


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_keys_that_begin_alike_lie_together(data: st.DataObject) -> None:
    keys = keys_of(tuple[str, ...])
    values = st.lists(TEXTS, max_size=3).map(tuple)
    leading, value = data.draw(values), data.draw(values)
    low = keys.begin(leading)
    high = keys.stop(low)
    encoded = keys.encode(value)
    inside = low <= encoded and (high is None or encoded < high)
    assert inside is (value[: len(leading)] == leading)
    assert keys.encode(leading) >= low
    assert keys.begin((*leading, "x")).startswith(low)


@pytest.mark.parametrize("more", ["\x00", "\x00b", "b"])
def test_S8_a_text_that_goes_on_is_another_first_field(more: str) -> None:
    keys = keys_of(tuple[str, int])
    low = keys.begin(("a",))
    high = keys.stop(low)
    assert high is not None
    assert low <= keys.encode(("a", 2**70)) < high
    assert not low <= keys.encode((f"a{more}", 1)) < high


@given(data=st.binary(max_size=30), kind=st.sampled_from(KINDS))
@settings(max_examples=600, deadline=None)
def test_D7_foreign_bytes_are_refused_or_a_key(data: bytes, kind: tuple[Any, Any]) -> None:
    keys = keys_of(kind[0])
    try:
        value = keys.decode(data)
    except ValueError:
        return
    keys.encode(value)


def test_text_and_bytes_stay_as_they_are() -> None:
    assert keys_of(str).encode("käse") == "käse".encode()
    assert keys_of(bytes).encode(b"\0\xff") == b"\0\xff"
    assert keys_of(str).begin("kä") == "kä".encode()


def test_the_bytes_of_each_type() -> None:
    assert keys_of(int).encode(0) == b"\x14"
    assert [keys_of(int).encode(n) for n in (1, 255, 256)] == [b"\x15\1", b"\x15\xff", b"\x16\1\0"]
    assert [keys_of(int).encode(n) for n in (-1, -256)] == [b"\x13\xfe", b"\x12\xfe\xff"]
    assert keys_of(bool).encode(True) == b"\x27"
    assert keys_of(float).encode(-0.0) == keys_of(float).encode(0) == b"\x21\x80" + bytes(7)
    assert keys_of(Seat).encode(Seat("a\0", 1)) == b"\2a\0\xff\0\x15\1"
    assert keys_of(Seat).begin(("a",)) == b"\2a\0"
    assert keys_of(Spot).begin(Spot(b"", Seat("", 0), False)) == b"\1\0\2\0\x14\x26"


@pytest.mark.parametrize(
    "kind", [dict, list[int], Any, Changing, tuple[str, list[int]], tuple, int | None, object]
)
def test_types_without_an_order_have_no_encoding(kind: Any) -> None:
    assert ordered_keys(kind) is None


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        (int, True, "expected int"),
        (int, "1", "expected int"),
        (float, float("nan"), "no order"),
        (float, 2**53 + 1, "cannot hold"),
        (bool, 1, "expected bool"),
        (datetime.datetime, datetime.datetime(2026, 1, 1), "time zone"),
        (datetime.date, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "expected date"),
        (uuid.UUID, "x", "expected UUID"),
        (tuple[str, int], ("a",), "expected 2 fields"),
        (tuple[str, int], ["a", 1], "expected tuple"),
        (tuple[str, ...], "a", "expected tuple"),
        (Spot, (b"", Seat("", 0), True), "expected Spot"),
        (bytes, "a", "expected bytes"),
        (float, 10**310, "too large"),
    ],
)
def test_what_is_no_key_of_the_type_is_refused(kind: Any, value: Any, told: str) -> None:
    with pytest.raises((TypeError, ValueError), match=told):
        keys_of(kind).encode(value)


def test_an_int_has_an_end() -> None:
    with pytest.raises(ValueError, match="65,535"):
        keys_of(int).encode(1 << 8 * 65_535)


def test_more_leading_fields_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="2 fields, not 3"):
        keys_of(Seat).begin(("a", 1, 2))
    with pytest.raises(TypeError, match="tuple of fields"):
        keys_of(Seat).begin("a")
