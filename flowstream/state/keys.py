"""Keys as bytes that sort as the values do, for windows and ranges.

A value is one tag byte and a body; strings and bytes end with 00 (a 00 inside becomes 00 FF), so
no key is a prefix of another and tuples sort element by element. Knows no table.
"""

from __future__ import annotations

import struct
from typing import Any

from flowstream.errors import FlowstreamError

_NONE = 0x05
_BYTES = 0x10
_STR = 0x20
_INT_ZERO = 0x40  # 0x38..0x3f negative by length, 0x41..0x48 positive by length
_INT_LENGTH_MAX = 8
_INT_NEGATIVE_BIG = _INT_ZERO - _INT_LENGTH_MAX - 1
_INT_POSITIVE_BIG = _INT_ZERO + _INT_LENGTH_MAX + 1
_FLOAT = 0x60
_FALSE = 0x70
_TRUE = 0x71
_TUPLE = 0x80
_END = 0x00

_INT64 = struct.Struct(">Q")
_FLOAT64 = struct.Struct(">d")
_SIGN = 1 << 63
_ALL = (1 << 64) - 1
_LENGTH = struct.Struct(">I")

WINDOW_START_MAX = (1 << 63) - (1 << 56) - 1
"""Window starts end here, so that their first byte is never FF: 00 FF is a 00 inside a key."""
WINDOW_START_BYTES = 8
"""What a window adds to the end of its key."""


class KeyEncodingError(FlowstreamError):
    """A value that cannot be a key, or bytes that are no encoded key."""


def encode_key(value: Any) -> bytes:
    """None, bool, int, float, str, bytes, or tuples of these, as sortable bytes. Values of one
    type sort as in Python; types sort None, bytes, str, int, float, bool, tuple.
    """
    out = bytearray()
    _encode(value, out)
    return bytes(out)


def decode_key(data: bytes) -> Any:
    """The value of `encode_key`; raises KeyEncodingError."""
    try:
        value, position = _decode(data, 0)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise KeyEncodingError(f"no key in {data!r}") from error
    if position != len(data):
        raise KeyEncodingError(f"{len(data) - position} bytes left over in {data!r}")
    return value


def window_key(key: bytes, start_ms: int) -> bytes:
    """Key and window start; windows of one key are adjacent and sort by start."""
    if not -_SIGN <= start_ms <= WINDOW_START_MAX:
        raise KeyEncodingError(f"a window cannot start at {start_ms} ms")
    return _terminated(key) + _INT64.pack(start_ms + _SIGN)


def split_window_key(data: bytes) -> tuple[bytes, int]:
    """Key and window start of a `window_key`."""
    if len(data) < WINDOW_START_BYTES + 1:
        raise KeyEncodingError(f"no window key in {data!r}")
    body = data[:-WINDOW_START_BYTES]
    key, position = _read_terminated(body, 0)
    if position != len(body):
        raise KeyEncodingError(f"no window key in {data!r}")
    (start,) = _INT64.unpack(data[-WINDOW_START_BYTES:])
    return key, start - _SIGN


def window_range(key: bytes) -> tuple[bytes, bytes]:
    """Start and stop of a scan over all windows of `key`."""
    first = _terminated(key)
    return first, first + b"\xff"


def prefix_stop(prefix: bytes) -> bytes | None:
    """The first key after all that begin with `prefix`; None when there is no such."""
    stripped = prefix.rstrip(b"\xff")
    if not stripped:
        return None
    return stripped[:-1] + bytes((stripped[-1] + 1,))


def _encode(value: Any, out: bytearray) -> None:
    if value is None:
        out.append(_NONE)
    elif isinstance(value, bool):
        out.append(_TRUE if value else _FALSE)
    elif isinstance(value, int):
        _encode_int(value, out)
    elif isinstance(value, str):
        out.append(_STR)
        out += _terminated(value.encode())
    elif isinstance(value, bytes):
        out.append(_BYTES)
        out += _terminated(value)
    elif isinstance(value, float):
        out.append(_FLOAT)
        (bits,) = _INT64.unpack(_FLOAT64.pack(value + 0.0))  # -0.0 becomes 0.0
        # Negative numbers count backwards: turn all their bits; else only the sign.
        out += _INT64.pack(bits ^ _ALL if bits & _SIGN else bits ^ _SIGN)
    elif isinstance(value, tuple):
        out.append(_TUPLE)
        for element in value:
            _encode(element, out)
        out.append(_END)
    else:
        raise KeyEncodingError(f"{type(value).__name__} cannot be a key")


def _encode_int(value: int, out: bytearray) -> None:
    size = (abs(value).bit_length() + 7) // 8
    # Negative numbers as their complement, so that less sorts first.
    body = (value if value >= 0 else value + (1 << 8 * size) - 1).to_bytes(size, "big")
    if size <= _INT_LENGTH_MAX:
        out.append(_INT_ZERO + (size if value >= 0 else -size))
    else:
        out.append(_INT_POSITIVE_BIG if value > 0 else _INT_NEGATIVE_BIG)
        out += _LENGTH.pack(size if value > 0 else 0xFFFFFFFF - size)
    out += body


def _decode(data: bytes, position: int) -> tuple[Any, int]:
    tag = data[position]
    position += 1
    if _INT_NEGATIVE_BIG <= tag <= _INT_POSITIVE_BIG:
        return _decode_int(data, tag, position)
    if tag == _NONE:
        return None, position
    if tag in (_FALSE, _TRUE):
        return tag == _TRUE, position
    if tag in (_STR, _BYTES):
        body, position = _read_terminated(data, position)
        return (body.decode() if tag == _STR else body), position
    if tag == _FLOAT:
        (bits,) = _INT64.unpack_from(data, position)
        bits = bits ^ _SIGN if bits & _SIGN else bits ^ _ALL
        return _FLOAT64.unpack(_INT64.pack(bits))[0], position + 8
    if tag == _TUPLE:
        return _decode_tuple(data, position)
    raise KeyEncodingError(f"tag {tag:#x} in {data!r}")


def _decode_int(data: bytes, tag: int, position: int) -> tuple[int, int]:
    negative = tag < _INT_ZERO
    size = abs(tag - _INT_ZERO)
    if size > _INT_LENGTH_MAX:
        (size,) = _LENGTH.unpack_from(data, position)
        position += _LENGTH.size
        size = 0xFFFFFFFF - size if negative else size
    body = data[position : position + size]
    if len(body) != size:
        raise KeyEncodingError(f"an integer of {size} bytes in {data!r}")
    value = int.from_bytes(body, "big")
    return (value - (1 << 8 * size) + 1 if negative else value), position + size


def _decode_tuple(data: bytes, position: int) -> tuple[tuple[Any, ...], int]:
    elements = []
    while data[position] != _END:
        element, position = _decode(data, position)
        elements.append(element)
    return tuple(elements), position + 1


def _terminated(body: bytes) -> bytes:
    return body.replace(b"\x00", b"\x00\xff") + b"\x00"


def _read_terminated(data: bytes, position: int) -> tuple[bytes, int]:
    end = position
    while True:
        end = data.find(b"\x00", end)
        if end < 0:
            raise KeyEncodingError(f"no end of string in {data!r}")
        if data[end + 1 : end + 2] != b"\xff":
            return data[position:end].replace(b"\x00\xff", b"\x00"), end + 1
        end += 2
