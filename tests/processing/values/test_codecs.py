"""Codecs: every declared type goes there and back, and refuses what it is not."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowstream as fs
from flowstream.processing.values.codecs import (
    DECODE_ERRORS,
    LARGEST_INT,
    NUMBER,
    codec_of,
    encode_any_key,
)


class Model(fs.Record):
    """A pydantic value."""

    name: str
    tags: list[str]


class Frozen(fs.Record, frozen=True):
    """An immutable pydantic value."""

    name: str


class Packed(msgspec.Struct, frozen=True):
    """A msgspec value."""

    name: str


@dataclasses.dataclass
class Plain:
    """A dataclass value."""

    name: str


@dataclasses.dataclass
class Pair:
    """A dataclass with models in it."""

    models: list[Model]


class Bought(msgspec.Struct, tag=True):
    """One of two things that happen."""

    what: str


class Sold(msgspec.Struct, tag=True):
    """The other one."""

    what: str


class Keyed(TypedDict):
    """A dict with a name for its type."""

    a: int


class Named(NamedTuple):
    """A tuple with a model in it."""

    model: Frozen


class Circle(fs.Record):
    """One of two kinds."""

    kind: Literal["circle"] = "circle"
    radius: float


class Square(fs.Record):
    """The other."""

    kind: Literal["square"] = "square"
    side: float


class Holding(msgspec.Struct):
    """Two libraries' models, one in the other."""

    model: Model


class Opaque:
    """Nobody knows how this is written."""


class Around(msgspec.Struct):
    """Holds itself, and what nobody knows how to write."""

    inner: list[Around]
    opaque: Opaque | None = None


MODEL = Model(name="a", tags=[])
MODEL_JSON = b'{"name":"a","tags":[]}'
Shape = Annotated[Circle | Square, pydantic.Field(discriminator="kind")]


@pytest.mark.parametrize(
    ("kind", "value", "data", "immutable"),
    [
        (list[Model], [MODEL], b"[" + MODEL_JSON + b"]", False),
        (list[Model] | None, [MODEL], b"[" + MODEL_JSON + b"]", False),
        (dict[str, Model], {"x": MODEL}, b'{"x":' + MODEL_JSON + b"}", False),
        (tuple[Model, int], (MODEL, 1), b"[" + MODEL_JSON + b",1]", False),
        (Pair, Pair([MODEL]), b'{"models":[' + MODEL_JSON + b"]}", False),
        (Named, Named(Frozen(name="a")), b'[{"name":"a"}]', False),
        (Circle | Square, Square(side=1.0), b'{"kind":"square","side":1.0}', False),
        (Shape, Circle(radius=2.0), b'{"kind":"circle","radius":2.0}', False),
        (list[Shape], [Circle(radius=2.0)], b'[{"kind":"circle","radius":2.0}]', False),
        (int, -12, b"-12", True),
        (float, 1.5, b"1.5", True),
        (bool, True, b"true", True),
        (str, "ä", "ä".encode(), True),
        (bytes, b"\x00", b"\x00", True),
        (Model, Model(name="a", tags=["b"]), b'{"name":"a","tags":["b"]}', False),
        (Frozen, Frozen(name="a"), b'{"name":"a"}', True),
        (Packed, Packed("a"), b'{"name":"a"}', True),
        (Plain, Plain("a"), b'{"name":"a"}', False),
        (dict, {"a": 1}, b'{"a":1}', False),
        (list[int], [1, 2], b"[1,2]", False),
        (tuple[int, str], (1, "a"), b'[1,"a"]', True),
        (tuple[int, list[int]], (1, [2]), b"[1,[2]]", False),
        (Any, {"a": [None]}, b'{"a":[null]}', False),
        (int | None, 3, b"3", True),
        (int | str, "a", b'"a"', True),
        (int | list[str] | None, None, b"null", False),
        (Bought | Sold, Sold("a"), b'{"type":"Sold","what":"a"}', False),
        (Keyed, {"a": 1}, b'{"a":1}', False),
        (Annotated[int, msgspec.Meta(ge=0)], 1, b"1", False),
    ],
)
def test_there_and_back(kind: Any, value: Any, data: bytes, immutable: bool) -> None:
    codec = codec_of(kind)
    assert codec.encode(value) == data
    assert codec.decode(data) == value
    assert codec.immutable is immutable


@pytest.mark.parametrize(
    ("kind", "value"),
    [(int, True), (int, "1"), (float, "1"), (bool, 1), (str, 1), (bytes, "a"), (Model, {"name": 1}),
     (Packed, Plain("a")), (dict, [1]), (Keyed, [1]),
     (Annotated[int, msgspec.Meta(ge=0)], "1")],
)  # fmt: skip
def test_values_of_another_type_are_refused(kind: Any, value: Any) -> None:
    codec: Any = codec_of(kind)
    with pytest.raises(TypeError):
        codec.encode(value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [(list[Circle], [Square(side=1.0)]), (list[Model], MODEL), (list[Model], [1]),
     (dict[str, Model], {1: MODEL}), (Circle | Square, MODEL), (Pair, MODEL),
     (list[Model], [MODEL.model_copy(update={"tags": 5})])],
)  # fmt: skip
def test_what_is_no_model_of_the_type_is_refused_also_deep_inside(kind: Any, value: Any) -> None:
    codec: Any = codec_of(kind)
    with pytest.raises(ValueError, match=r"."):
        codec.encode(value)


@pytest.mark.parametrize(
    ("kind", "words"),
    [(Holding, "Holding has pydantic models in it"), (Opaque, "Opaque cannot be written"),
     (list[Opaque], "Opaque cannot be written"), (Around, "Opaque cannot be written")],
)  # fmt: skip
def test_a_type_that_could_never_be_written_is_refused_where_it_is_declared(
    kind: Any, words: str
) -> None:
    with pytest.raises(fs.AppError, match=words):
        codec_of(kind)


def test_a_model_where_none_is_declared_is_refused_with_what_to_declare() -> None:
    table = codec_of(list)
    with pytest.raises(TypeError, match=r"value_type=list\[Model\]"):
        table.encode([MODEL])
    untyped: Any = codec_of(None)
    with pytest.raises(TypeError, match="value_type=Model"):
        untyped.encode({"a": MODEL})
    with pytest.raises(TypeError, match="a Opaque cannot be written as JSON"):
        untyped.encode(Opaque())


@given(st.binary(max_size=40), st.sampled_from([int, float, bool, str, Model, Packed, list[int]]))
def test_foreign_bytes_give_a_value_or_a_decode_error(data: bytes, kind: Any) -> None:
    codec = codec_of(kind)
    try:
        codec.decode(data)
    except DECODE_ERRORS:
        return


@given(st.integers())
def test_a_checked_value_always_encodes(number: int) -> None:
    codec = codec_of(int)
    assert codec.check is not None
    codec.check(number)
    assert codec.decode(codec.encode(number)) == number


@given(st.integers() | st.floats(allow_nan=False))
def test_a_number_is_what_it_was(number: float) -> None:
    found = NUMBER.decode(NUMBER.encode(number))
    assert (type(found), found) == (type(number), number)
    # What it writes of a whole number is what a table of these alone writes and reads.
    if isinstance(number, int):
        assert NUMBER.encode(number) == codec_of(int).encode(number)


@pytest.mark.parametrize("wrong", [True, "1", None, 1j, LARGEST_INT + 1])
def test_a_number_is_an_int_or_a_float(wrong: Any) -> None:
    assert NUMBER.check is not None
    for fails in (NUMBER.check, NUMBER.encode):
        with pytest.raises((TypeError, ValueError), match=r"expected int or float|4,000 digits"):
            fails(wrong)


@pytest.mark.parametrize("sign", [1, -1])
def test_an_int_that_does_not_encode_does_not_pass_its_check(sign: int) -> None:
    codec = codec_of(int)
    assert codec.check is not None
    codec.check(sign * LARGEST_INT)
    assert codec.decode(codec.encode(sign * LARGEST_INT)) == sign * LARGEST_INT
    for fails in (codec.check, codec.encode):
        with pytest.raises(ValueError, match="4,000 digits"):
            fails(sign * (LARGEST_INT + 1))


def test_keys_without_a_type() -> None:
    assert encode_any_key(None) is None
    assert encode_any_key(b"k") == b"k"
    assert encode_any_key("k") == b"k"
    assert encode_any_key(7) == b"7"
    assert encode_any_key((1, "a")) == b'[1,"a"]'


def test_optional_types_take_tombstones() -> None:
    assert codec_of(Model | None).nullable
    assert not codec_of(Model).nullable


@pytest.mark.parametrize("sign", [1, -1])
def test_S11_an_int_that_no_float_holds_is_refused_in_its_unit(sign: int) -> None:
    """What passes its check is encoded when the epoch closes, where it would end the worker."""
    codec = codec_of(float)
    assert codec.check is not None
    codec.check(sign * 10**308)
    assert codec.decode(codec.encode(sign * 10**308)) == sign * 1e308
    for fails in (codec.check, codec.encode):
        with pytest.raises(ValueError, match="too large for a float"):
            fails(sign * 10**309)
