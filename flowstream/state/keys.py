"""Keys as bytes whose order is the order of the values: for scans over a range or a prefix.

Pure. A key of several fields is its fields one after the other, each self-delimiting, so that all
keys that begin alike lie together. `str` and `bytes` alone are as they are. The layout follows the
idea of FoundationDB's tuple layer: a tag, then big-endian magnitudes or escaped text.
"""

from __future__ import annotations

import dataclasses
import struct
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from flowstream.state.key_fields import FIELDS, Read, Write, mismatch, own_bytes

K = TypeVar("K")

_END = 0x00
_MARK = 0x01


def after(prefix: bytes) -> bytes | None:
    """The first key behind all keys that begin with `prefix`; None when there is no such thing.

    >>> after(b"ab"), after(b"a\\xff"), after(b"\\xff")
    (b'ac', b'b', None)
    """
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else None


def after_fields(begun: bytes) -> bytes:
    """The first key behind all keys whose first fields are these. What follows a field is a tag, or
    nothing; 0xff follows only a zero byte of a text that goes on.

    >>> keys = ordered_keys(tuple[str, int])
    >>> low = keys.begin(("a",))
    >>> low <= keys.encode(("a", 1)) < after_fields(low) < keys.encode(("a\\0", 1))
    True
    """
    return begun + b"\xff"


@dataclass(frozen=True, slots=True)
class OrderedKeys(Generic[K]):
    """One key type's encoding. `encode` raises TypeError or ValueError on what is no key of it,
    `decode` ValueError on foreign bytes.
    """

    name: str
    encode: Callable[[K], bytes]
    decode: Callable[[bytes], K]
    begin: Callable[[Any], bytes]
    """The bytes at the start of every key that begins so: part of a text, or the first fields."""
    stop: Callable[[bytes], bytes | None] = after
    """The first key behind all of those, by these bytes."""


@dataclass(frozen=True, slots=True)
class _Part:
    """How one field is written and read."""

    write: Write
    read: Read
    fields: tuple[_Part, ...] | None = None
    rest: _Part | None = None


def ordered_keys(kind: Any) -> OrderedKeys[Any] | None:
    """The encoding of a key type, or None when the type has no order that we can keep.

    Types: int, float, bool, str, bytes, datetime with a time zone, date, UUID, and tuples,
    NamedTuples, frozen dataclasses and frozen msgspec Structs of these.

    >>> keys = ordered_keys(tuple[str, int])
    >>> keys.decode(keys.encode(("a", -5)))
    ('a', -5)
    >>> sorted([("a", 2), ("a", -3), ("", 9)], key=keys.encode)
    [('', 9), ('a', -3), ('a', 2)]
    """
    if kind is str:
        return OrderedKeys("str", str.encode, bytes.decode, str.encode)
    if kind is bytes:
        return OrderedKeys("bytes", own_bytes, bytes, own_bytes)
    part = _part(kind)
    if part is None:
        return None
    name = getattr(kind, "__name__", str(kind))
    encode, decode, begin = _encoder(part), _decoder(part, name), _beginner(part, name)
    return OrderedKeys(name, encode, decode, begin, after_fields)


def _encoder(part: _Part) -> Callable[[Any], bytes]:
    write = part.write

    def encode(value: Any) -> bytes:
        out = bytearray()
        write(out, value)
        return bytes(out)

    return encode


def _decoder(part: _Part, name: str) -> Callable[[bytes], Any]:
    read = part.read

    def decode(data: bytes) -> Any:
        try:
            value, end = read(data, 0)
        except (IndexError, struct.error, OverflowError, TypeError) as error:
            raise ValueError(f"not a key of type {name}: {data!r:.100}") from error
        if end != len(data):
            raise ValueError(f"not a key of type {name}: {data!r:.100}")
        return value

    return decode


def _beginner(part: _Part, name: str) -> Callable[[Any], bytes]:
    fields, rest = part.fields, part.rest
    if fields is None and rest is None:
        return _encoder(part)

    def begin(leading: Any) -> bytes:
        values = _values(leading)
        if fields is not None and len(values) > len(fields):
            raise ValueError(
                f"{name} has {len(fields)} fields, not {len(values)}: {leading!r:.100}"
            )
        out = bytearray()
        for index, value in enumerate(values):
            (fields[index] if fields is not None else typing.cast("_Part", rest)).write(out, value)
        return bytes(out)

    return begin


def _values(value: Any) -> Sequence[Any]:
    if isinstance(value, tuple):
        return value
    names = _field_names(type(value))
    if names is None:
        raise TypeError(f"expected a tuple of fields, got {type(value).__name__}: {value!r:.100}")
    return [getattr(value, name) for name in names]


def _field_names(kind: type) -> tuple[str, ...] | None:
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_fields__
    return None


def _part(kind: Any) -> _Part | None:
    simple = FIELDS.get(kind)
    if simple is not None:
        return _Part(*simple)
    if typing.get_origin(kind) is tuple:
        arguments = typing.get_args(kind)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            item = _part(arguments[0])
            return None if item is None else _many(item)
        return _fixed(arguments, tuple, _tuple_of)
    if not isinstance(kind, type):
        return None
    untyped: Any = kind
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        hints = typing.get_type_hints(kind)
        return _fixed([hints.get(name, object) for name in kind._fields], tuple, untyped._make)
    return _record(kind)


def _record(kind: type) -> _Part | None:
    """A frozen dataclass or Struct."""
    untyped: Any = kind
    frozen = (
        untyped.__dataclass_params__.frozen
        if dataclasses.is_dataclass(kind)
        else issubclass(kind, msgspec.Struct) and kind.__struct_config__.frozen
    )
    names = _field_names(kind)
    if not frozen or names is None:
        return None
    hints = typing.get_type_hints(kind)

    def make(values: list[Any]) -> Any:
        return kind(**dict(zip(names, values, strict=True)))

    return _fixed([hints[name] for name in names], kind, make)


def _tuple_of(values: list[Any]) -> tuple[Any, ...]:
    return tuple(values)


def _fixed(kinds: Sequence[Any], expected: type, make: Callable[[list[Any]], Any]) -> _Part | None:
    found = [_part(kind) for kind in kinds]
    fields = tuple(part for part in found if part is not None)
    if len(fields) != len(found) or not fields:
        return None

    def write(out: bytearray, value: Any) -> None:
        if not isinstance(value, expected):
            raise mismatch(expected.__name__, value)
        values = _values(value)
        if len(values) != len(fields):
            raise ValueError(f"expected {len(fields)} fields, got {len(values)}: {value!r:.100}")
        for part, each in zip(fields, values, strict=True):
            part.write(out, each)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        values = []
        for part in fields:
            value, at = part.read(data, at)
            values.append(value)
        return make(values), at

    return _Part(write, read, fields=fields)


def _many(item: _Part) -> _Part:
    """A tuple of any length: its items, then an end that is less than what stands before an item.

    Items that are tuples themselves may begin with an end, so a byte of their own goes before them.
    """
    marked = item.rest is not None or item.fields is not None

    def write_item(out: bytearray, value: Any) -> None:
        if marked:
            out.append(_MARK)
        item.write(out, value)

    def write(out: bytearray, value: Any) -> None:
        if not isinstance(value, tuple):
            raise mismatch("tuple", value)
        for each in value:
            write_item(out, each)
        out.append(_END)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        values = []
        while data[at] != _END:
            value, at = item.read(data, at + marked)
            values.append(value)
        return tuple(values), at + 1

    return _Part(write, read, rest=_Part(write_item, item.read))


def shown_key(row: bytes) -> str:
    """A row's name in a message: as text where it is one."""
    try:
        text = row.decode()
    except UnicodeDecodeError:
        return f"{row!r:.80}"
    return f"{(text if text.isprintable() else row)!r:.80}"
