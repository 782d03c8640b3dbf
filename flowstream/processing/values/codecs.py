"""Codecs: how a declared type becomes bytes and back, for keys and for values.

Pure. Knows types, nothing about topics or tables. A codec says whether its values are immutable
(handed out as they are) and whether encoding may wait until the epoch closes (it cannot fail).
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar, cast

import msgspec
import pydantic

from flowstream.processing.errors import AppError
from flowstream.processing.values.models import Adapted, holds_models
from flowstream.state.key_fields import mismatch

T = TypeVar("T")

DECODE_ERRORS: tuple[type[Exception], ...] = (
    ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError,
    RuntimeError, msgspec.MsgspecError,
)  # fmt: skip
"""What a decoder may raise on foreign bytes: RecursionError for lists in lists without an end, and
whatever a validator of the user's does with a value that it did not expect. No error of our own is
among them: one of those is about something else than the bytes.
"""

_IMMUTABLE = (
    str, int, float, bool, bytes, type(None), datetime.datetime, datetime.date, datetime.time,
    datetime.timedelta, decimal.Decimal,
)  # fmt: skip


LARGEST_INT = 10**4_000 - 1
SMALLEST_INT = -LARGEST_INT


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """One type's two directions.

    `encode` raises TypeError or ValueError on a value of another type; `decode` raises one of
    DECODE_ERRORS. A `check` makes a later `encode` infallible.
    """

    name: str
    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]
    immutable: bool = False
    nullable: bool = False
    check: Callable[[T], None] | None = None


def _check_int(value: object) -> None:
    if type(value) is not int:
        raise mismatch("int", value)
    if not SMALLEST_INT <= value <= LARGEST_INT:
        # Python itself writes no more as decimal text (CVE-2020-10735).
        raise ValueError("an int of more than 4,000 digits")


def _check_float(value: object) -> None:
    if type(value) is int:
        try:
            float(value)
        except OverflowError as error:
            raise ValueError("an int too large for a float") from error
    elif type(value) is not float:
        raise mismatch("float", value)


def _check_bool(value: object) -> None:
    if type(value) is not bool:
        raise mismatch("bool", value)


def _check_bytes(value: object) -> None:
    if type(value) is not bytes:
        raise mismatch("bytes", value)


def _encode_int(value: int) -> bytes:
    _check_int(value)
    return b"%d" % value


def _decode_int(data: bytes) -> int:
    # int() also takes blanks and underscores, which are no numbers anywhere else.
    if not data.removeprefix(b"-").isdigit():
        raise ValueError(f"not a whole number: {data!r:.100}")
    return int(data)


def _encode_float(value: float) -> bytes:
    _check_float(value)
    return repr(float(value)).encode()


def _check_number(value: object) -> None:
    # A count is the most frequent of all: whole numbers pass at the first look.
    if type(value) is int and SMALLEST_INT <= value <= LARGEST_INT:
        return
    if type(value) is int:
        _check_int(value)
    elif type(value) is not float:
        raise mismatch("int or float", value)


def _encode_number(value: float) -> bytes:
    if type(value) is int and SMALLEST_INT <= value <= LARGEST_INT:
        return b"%d" % value
    _check_number(value)
    return repr(value).encode()


def _decode_number(data: bytes) -> float:
    if data.isdigit():
        return int(data)
    return _decode_int(data) if data.removeprefix(b"-").isdigit() else float(data)


def _encode_bool(value: bool) -> bytes:
    _check_bool(value)
    return b"true" if value else b"false"


def _decode_bool(data: bytes) -> bool:
    if data == b"true":
        return True
    if data == b"false":
        return False
    raise ValueError(f"not true or false: {data!r:.100}")


def _encode_bytes(value: bytes) -> bytes:
    _check_bytes(value)
    return value


def _decode_bytes(data: bytes) -> bytes:
    return data


INT: Codec[int] = Codec("int", _encode_int, _decode_int, immutable=True, check=_check_int)
FLOAT: Codec[float] = Codec("float", _encode_float, float, immutable=True, check=_check_float)
NUMBER: Codec[float] = Codec(
    "int or float", _encode_number, _decode_number, immutable=True, check=_check_number
)
"""A whole number as such, any other as a float."""
BOOL: Codec[bool] = Codec("bool", _encode_bool, _decode_bool, immutable=True, check=_check_bool)
BYTES: Codec[bytes] = Codec(
    "bytes", _encode_bytes, _decode_bytes, immutable=True, check=_check_bytes
)
STR: Codec[str] = Codec("str", str.encode, bytes.decode, immutable=True)


def _refuse_unknown(value: object) -> NoReturn:
    """Called for what JSON does not know, by itself or inside of something else."""
    name = type(value).__name__
    if isinstance(value, pydantic.BaseModel):
        raise TypeError(
            f"there is a {name}, of which the declared type says nothing: it would be read back as"
            f" a dict. Say value_type={name}, or value_type=list[{name}] and the like"
        )
    raise TypeError(f"a {name} cannot be written as JSON")


_to_json = msgspec.json.Encoder(enc_hook=_refuse_unknown).encode
JSON: Codec[Any] = Codec("json", _to_json, msgspec.json.Decoder().decode)


def readable(codec: Codec[Any], data: bytes | None) -> Any:
    """What bytes say, for people to read: the bytes themselves where the codec refuses them.

    >>> readable(INT, b"7"), readable(INT, b"x"), readable(INT, None)
    (7, b'x', None)
    """
    try:
        return None if data is None else codec.decode(data)
    except DECODE_ERRORS:
        return data


class Number:
    """Stands for the type of a value that begins as `int()` and may become a float."""


_PLAIN: dict[object, Codec[Any]] = {
    int: INT, float: FLOAT, bool: BOOL, bytes: BYTES, str: STR, Number: NUMBER,
}  # fmt: skip


def codec_of(kind: type[T] | object) -> Codec[T]:
    """The codec of a declared type: plain types as text, all others as JSON.

    Numbers are decimal text, `str` is UTF-8, `bytes` are as they are; pydantic models validate
    from JSON text; msgspec Structs, dataclasses, dicts, lists, tuples and unions are JSON.
    """
    if kind is Any or kind is None or kind is object:
        return JSON
    plain = _PLAIN.get(kind)
    if plain is not None:
        return cast("Codec[T]", plain)
    own = getattr(kind, "__flowstream_codec__", None)
    if own is not None:
        return cast("Codec[T]", own())
    if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
        return cast("Codec[T]", model_codec(kind))
    optional = _optional(kind)
    if optional is not None:
        return cast("Codec[T]", dataclasses.replace(codec_of(optional), nullable=True))
    return cast("Codec[T]", _json(kind))


def as_json(kind: Any) -> Codec[Any]:
    """The codec of a type as JSON, also where it would be text or another's by itself."""
    if isinstance(kind, Codec):
        return kind
    own = getattr(kind, "__flowstream_codec__", None)
    if own is not None:
        return cast("Codec[Any]", own(serialized=False))
    if kind is Any or kind is None or kind is object:
        return JSON
    return _json(kind) if kind in _PLAIN else codec_of(kind)


def plain(value: Any) -> Any:
    """A value as dicts, lists, texts and numbers: what any serializer takes."""
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json")
    return msgspec.to_builtins(value, builtin_types=(bytes, bytearray))


def _optional(kind: object) -> object | None:
    """`X` for `X | None` (a value that may be a tombstone), else None."""
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return None
    rest = [argument for argument in typing.get_args(kind) if argument is not type(None)]
    if len(rest) == 1 and len(typing.get_args(kind)) == 2:
        return cast("object", rest[0])
    return None


def model_codec(model: type[pydantic.BaseModel]) -> Codec[pydantic.BaseModel]:
    """The codec of a pydantic model, as JSON."""
    # The compiled validator and serializer directly: half the cost of model_validate_json and
    # of model_dump_json().encode().
    to_json = model.__pydantic_serializer__.to_json

    def encode(value: pydantic.BaseModel) -> bytes:
        if value.__class__ is not model:
            if not isinstance(value, model):
                raise mismatch(model.__name__, value)
            # The model's own serializer would leave out what only the subclass has.
            return value.__pydantic_serializer__.to_json(value)
        return to_json(value)

    decode = model.__pydantic_validator__.validate_json
    frozen = bool(model.model_config.get("frozen"))
    return Codec(model.__name__, encode, decode, immutable=frozen)


def _json(kind: object) -> Codec[Any]:
    name = getattr(kind, "__name__", str(kind))
    if holds_models(kind):
        both = Adapted(name, kind)
        return Codec(name, both.encode, both.decode)
    try:
        decoder = msgspec.json.Decoder(cast("type[Any]", kind))
    except TypeError as error:
        raise AppError(
            f"{name} cannot be read from JSON ({error}): use a pydantic model, a msgspec.Struct,"
            " a dataclass or a builtin type"
        ) from error
    opaque = _opaque_in(kind)
    if opaque is not None:
        raise AppError(
            f"{opaque} cannot be written as JSON: make it a pydantic model (flowstream.Record), a"
            " msgspec.Struct or a dataclass"
        )
    expected = _class_of(kind)
    if expected is None:
        return Codec(name, _to_json, decoder.decode, immutable=_is_immutable(kind))

    def encode(value: object) -> bytes:
        if not isinstance(value, expected):
            raise mismatch(name, value)
        return _to_json(value)

    return Codec(name, encode, decoder.decode, immutable=_is_immutable(kind))


def _class_of(kind: object) -> type | None:
    """The class of which every value of a type is an object; None where there is none such.

    >>> _class_of(dict[str, int]), _class_of(int | str)
    (<class 'dict'>, None)
    """
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return _class_of(typing.get_args(kind)[0])
    found = origin or kind
    if typing.is_typeddict(found):
        return dict
    # As a union is said by `|` its origin is a class, of which no value is an object.
    return found if isinstance(found, type) and found is not types.UnionType else None


def _opaque_in(kind: object) -> str | None:
    """A class, in the type, that msgspec takes for the user's to convert: no value of it passes."""
    waiting: list[object] = [msgspec.inspect.type_info(kind)]
    seen = set[int]()
    while waiting:
        found = waiting.pop()
        if id(found) in seen:  # A type may hold itself.
            continue
        seen.add(id(found))
        if isinstance(found, msgspec.inspect.CustomType):
            return found.cls.__name__
        if isinstance(found, tuple):
            waiting += found
        elif isinstance(found, msgspec.inspect.Type | msgspec.inspect.Field):
            waiting += (getattr(found, name) for name in found.__struct_fields__)
    return None


def _is_immutable(kind: object) -> bool:
    if kind in _IMMUTABLE:
        return True
    origin = typing.get_origin(kind)
    if origin is tuple or origin in (typing.Union, types.UnionType):
        arguments = [a for a in typing.get_args(kind) if a is not Ellipsis]
        return bool(arguments) and all(_is_immutable(a) for a in arguments)
    if not isinstance(kind, type):
        return False
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_config__.frozen
    if dataclasses.is_dataclass(kind):
        return bool(kind.__dataclass_params__.frozen)  # type: ignore[attr-defined]
    return issubclass(kind, enum.Enum)


def refusal(
    codec: Codec[Any], value: object, error: Exception, what: str, option: str
) -> TypeError | ValueError:
    """The error to raise instead of a codec's own, which does not know `what` the value was to be,
    nor the `option` that declares its type.
    """
    kind = TypeError if isinstance(error, TypeError) else ValueError
    if codec.encode is not str.encode or isinstance(value, str):
        return kind(f"{what}: {error}")
    # The builtin is the fastest encoder there is, and its error speaks of descriptors.
    given = type(value).__name__
    return kind(f"{what}: {mismatch('str', value)}; convert it, or declare {option}={given}")


def encode_any_key(key: object) -> bytes | None:
    """A key of no declared type, by what it is: text, number, tuple or model."""
    if key is None or isinstance(key, bytes):
        return key
    codec: Codec[Any] = codec_of(type(key))
    return codec.encode(key)
