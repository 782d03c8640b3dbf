"""Single fields of a key as bytes in the order of their values, each self-delimiting.

Pure. Tags follow FoundationDB's tuple layer where it has the type. See `keys`.
"""

from __future__ import annotations

import datetime
import struct
from collections.abc import Callable
from typing import Any

from flowstream.state.uuid_field import UUID, read_uuid, write_uuid

Write = Callable[[bytearray, Any], None]
"""Adds a value's bytes; TypeError or ValueError for what is none of the type."""
Read = Callable[[bytes, int], tuple[Any, int]]
"""The value at a place, and the place behind it."""

_END = 0x00
_BYTES, _STR = 0x01, 0x02
_ZERO = 0x14
_SHORT = 8
_NEGATIVE_LONG, _POSITIVE_LONG = 0x0B, 0x1D
_FLOAT, _FALSE, _TRUE = 0x21, 0x26, 0x27
_MOMENT, _DATE = 0x30, 0x31
_LONGEST = 0xFFFF
_SIGN = 1 << 63
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)
_FIRST = (datetime.datetime.min.replace(tzinfo=datetime.UTC) - _EPOCH) // _MICROSECOND
_LAST = (datetime.datetime.max.replace(tzinfo=datetime.UTC) - _EPOCH) // _MICROSECOND


class Mismatch(TypeError):
    """A value is of another type."""


def mismatch(expected: str, value: object) -> Mismatch:
    """The error for a value of another type."""
    return Mismatch(f"expected {expected}, got {type(value).__name__}: {value!r:.100}")


def own_bytes(value: bytes) -> bytes:
    """The value, if it is bytes."""
    if value.__class__ is not bytes:
        raise mismatch("bytes", value)
    return value


def _tag(data: bytes, at: int, *tags: int) -> int:
    tag = data[at]
    if tag not in tags:
        raise ValueError(f"tag {tag:#x} at {at} of {data!r:.100}")
    return tag


def _write_int(out: bytearray, value: Any) -> None:
    if value.__class__ is not int:
        raise mismatch("int", value)
    size = (value.bit_length() + 7) // 8
    if size > _LONGEST:
        raise ValueError("an int of more than 65,535 bytes")
    if value >= 0:
        if size <= _SHORT:
            out.append(_ZERO + size)
        else:
            out += struct.pack(">BH", _POSITIVE_LONG, size)
        out += value.to_bytes(size, "big")
        return
    if size <= _SHORT:
        out.append(_ZERO - size)
    else:
        out += struct.pack(">BH", _NEGATIVE_LONG, _LONGEST - size)
    out += (value + (1 << 8 * size) - 1).to_bytes(size, "big")


def _read_int(data: bytes, at: int) -> tuple[int, int]:
    tag = _tag(data, at, *range(_NEGATIVE_LONG, _POSITIVE_LONG + 1))
    at += 1
    size = abs(tag - _ZERO)
    if size > _SHORT:
        (size,) = struct.unpack_from(">H", data, at)
        size = size if tag == _POSITIVE_LONG else _LONGEST - size
        at += 2
    if at + size > len(data):
        raise IndexError(size)
    value = int.from_bytes(data[at : at + size], "big")
    return (value if tag >= _ZERO else value - (1 << 8 * size) + 1), at + size


def _write_float(out: bytearray, value: Any) -> None:
    if value.__class__ is not float and value.__class__ is not int:
        raise mismatch("float", value)
    try:
        number = float(value)
    except OverflowError as error:
        raise ValueError("an int too large for a float") from error
    if number != value:
        raise ValueError(f"a key that a float cannot hold, or that has no order: {value!r:.100}")
    # -0.0 == 0.0: one key.
    (bits,) = struct.unpack(">Q", struct.pack(">d", number + 0.0))
    out += struct.pack(">BQ", _FLOAT, bits ^ (2 * _SIGN - 1) if bits & _SIGN else bits | _SIGN)


def _read_float(data: bytes, at: int) -> tuple[float, int]:
    _tag(data, at, _FLOAT)
    (bits,) = struct.unpack_from(">Q", data, at + 1)
    bits = bits ^ _SIGN if bits & _SIGN else bits ^ (2 * _SIGN - 1)
    return struct.unpack(">d", struct.pack(">Q", bits))[0], at + 9


def _write_bool(out: bytearray, value: Any) -> None:
    if value.__class__ is not bool:
        raise mismatch("bool", value)
    out.append(_TRUE if value else _FALSE)


def _read_bool(data: bytes, at: int) -> tuple[bool, int]:
    return _tag(data, at, _FALSE, _TRUE) == _TRUE, at + 1


def _write_escaped(out: bytearray, tag: int, value: bytes) -> None:
    out.append(tag)
    out += value.replace(b"\0", b"\0\xff")
    out.append(_END)


def _read_escaped(data: bytes, at: int, tag: int) -> tuple[bytes, int]:
    _tag(data, at, tag)
    end = begin = at + 1
    while True:
        end = data.find(b"\0", end)
        if end < 0:
            raise IndexError(at)
        if data[end + 1 : end + 2] != b"\xff":
            return data[begin:end].replace(b"\0\xff", b"\0"), end + 1
        end += 2


def _write_str(out: bytearray, value: Any) -> None:
    if not isinstance(value, str):
        raise mismatch("str", value)
    _write_escaped(out, _STR, value.encode())


def _read_str(data: bytes, at: int) -> tuple[str, int]:
    text, at = _read_escaped(data, at, _STR)
    return text.decode(), at


def _write_bytes(out: bytearray, value: Any) -> None:
    _write_escaped(out, _BYTES, own_bytes(value))


def _read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    return _read_escaped(data, at, _BYTES)


def _write_moment(out: bytearray, value: Any) -> None:
    if not isinstance(value, datetime.datetime):
        raise mismatch("datetime", value)
    if value.utcoffset() is None:
        raise ValueError(f"a datetime without a time zone has no place in time: {value!r}")
    micros = (value - _EPOCH) // _MICROSECOND
    if not _FIRST <= micros <= _LAST:
        raise ValueError(f"outside the years 1 to 9999 in UTC: {value!r}")
    out += struct.pack(">BQ", _MOMENT, micros + _SIGN)


def _read_moment(data: bytes, at: int) -> tuple[datetime.datetime, int]:
    _tag(data, at, _MOMENT)
    (micros,) = struct.unpack_from(">Q", data, at + 1)
    return _EPOCH + datetime.timedelta(microseconds=micros - _SIGN), at + 9


def _write_date(out: bytearray, value: Any) -> None:
    if not isinstance(value, datetime.date) or isinstance(value, datetime.datetime):
        raise mismatch("date", value)
    out += struct.pack(">BI", _DATE, value.toordinal())


def _read_date(data: bytes, at: int) -> tuple[datetime.date, int]:
    _tag(data, at, _DATE)
    return datetime.date.fromordinal(struct.unpack_from(">I", data, at + 1)[0]), at + 5


FIELDS: dict[object, tuple[Write, Read]] = {
    int: (_write_int, _read_int),
    float: (_write_float, _read_float),
    bool: (_write_bool, _read_bool),
    str: (_write_str, _read_str),
    bytes: (_write_bytes, _read_bytes),
    datetime.datetime: (_write_moment, _read_moment),
    datetime.date: (_write_date, _read_date),
    UUID: (write_uuid, read_uuid),
}
