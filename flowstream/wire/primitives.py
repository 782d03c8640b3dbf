"""Variable-length numbers and the sized values built on them, read at a position of a buffer with
every bound checked.

Knows no message. Readers return `(value, next position)` and raise WireError, never IndexError.
"""

from __future__ import annotations

import struct
from typing import NoReturn

from flowstream.errors import WireError

Buffer = bytes | bytearray | memoryview

INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1

STRING_LENGTH_MAX = 0x7FFF
"""Kafka refuses longer strings even where the compact form could carry them."""

_ONE_BYTE = tuple(bytes((n,)) for n in range(128))
_INT16 = struct.Struct(">h")
_INT32 = struct.Struct(">i")


def _short(what: str, position: int) -> NoReturn:
    raise WireError(f"{what} at byte {position} reaches beyond the end")


def uvarint(value: int) -> bytes:
    """`value` (0 to 2^32-1) as an unsigned varint: seven bits a byte, lowest first (KIP-482)."""
    if 0 <= value < 128:
        return _ONE_BYTE[value]
    if not 0 <= value <= 0xFFFFFFFF:
        raise WireError(f"unsigned varint out of range: {value}")
    return _base128(value)


def _base128(value: int) -> bytes:
    if value < 0x4000:
        return bytes((value & 127 | 128, value >> 7)) if value > 127 else _ONE_BYTE[value]
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def varint(value: int) -> bytes:
    """A signed 32-bit number, zigzag encoded."""
    if -64 <= value < 64:
        return _ONE_BYTE[(value << 1) ^ (value >> 31)]
    if not -0x80000000 <= value <= 0x7FFFFFFF:
        raise WireError(f"varint out of range: {value}")
    return _base128((value << 1) ^ (value >> 31))


def varlong(value: int) -> bytes:
    """A signed 64-bit number, zigzag encoded."""
    if -64 <= value < 64:
        return _ONE_BYTE[(value << 1) ^ (value >> 63)]
    if not -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF:
        raise WireError(f"varlong out of range: {value}")
    return _base128((value << 1) ^ (value >> 63))


def wrapped(value: int) -> int:
    """What 64 bits hold of a sum: a record's timestamp is its batch's and a difference, and Java's
    clients add them like this.

    >>> wrapped(INT64_MAX), wrapped(INT64_MAX + 1) == INT64_MIN
    (9223372036854775807, True)
    """
    return (value - INT64_MIN) % (1 << 64) + INT64_MIN


def read_base128(buffer: Buffer, position: int, bits: int) -> tuple[int, int]:
    """An unsigned varint of at most `bits` bits."""
    value = shift = 0
    start = position
    try:
        while True:
            byte = buffer[position]
            position += 1
            value |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
            if shift >= bits:
                raise WireError(f"varint at byte {start} is longer than {bits} bits")
    except IndexError:
        _short("varint", start)
    if value >> bits:
        raise WireError(f"varint at byte {start} is larger than {bits} bits")
    return value, position


def read_uvarint(buffer: Buffer, position: int) -> tuple[int, int]:
    """An unsigned varint of at most 32 bits in at most 5 bytes."""
    try:
        first = buffer[position]
        if first < 128:
            return first, position + 1
        second = buffer[position + 1]
    except IndexError:
        _short("varint", position)
    if second < 128:
        return first & 127 | second << 7, position + 2
    return read_base128(buffer, position, 32)


def read_varint(buffer: Buffer, position: int) -> tuple[int, int]:
    """A zigzag varint of at most 32 bits in at most 5 bytes."""
    value, position = read_uvarint(buffer, position)
    return (value >> 1) ^ -(value & 1), position


def read_bytes(buffer: Buffer, position: int, length: int) -> tuple[bytes, int]:
    """`length` bytes, copied."""
    end = position + length
    if length < 0 or end > len(buffer):
        _short(f"value of {length} bytes", position)
    return bytes(buffer[position:end]), end


def read_text(buffer: Buffer, position: int, length: int) -> tuple[str, int]:
    """`length` bytes as UTF-8."""
    end = position + length
    if length < 0 or end > len(buffer):
        _short(f"text of {length} bytes", position)
    try:
        return str(buffer[position:end], "utf-8"), end
    except UnicodeDecodeError as error:
        raise WireError(f"text at byte {position} is not UTF-8") from error


def read_string(buffer: Buffer, position: int) -> tuple[str | None, int]:
    """A string with a 16-bit length, -1 for null."""
    try:
        (length,) = _INT16.unpack_from(buffer, position)
    except struct.error:
        _short("string", position)
    if length == -1:
        return None, position + 2
    return read_text(buffer, position + 2, length)


def read_compact_string(buffer: Buffer, position: int) -> tuple[str | None, int]:
    """A string whose length plus one is a varint, 0 for null."""
    length, position = read_uvarint(buffer, position)
    if length == 0:
        return None, position
    if length - 1 > STRING_LENGTH_MAX:
        raise WireError(f"string of {length - 1} bytes at byte {position}")
    return read_text(buffer, position, length - 1)


def string(value: str | None) -> bytes:
    """The inverse of `read_string`."""
    if value is None:
        return b"\xff\xff"
    raw = value.encode()
    if len(raw) > STRING_LENGTH_MAX:
        raise WireError(f"string of {len(raw)} bytes")
    return _INT16.pack(len(raw)) + raw


def string_length(length_plus_one: int) -> bytes:
    """The prefix of a compact string."""
    if length_plus_one > STRING_LENGTH_MAX + 1:
        raise WireError(f"string of {length_plus_one - 1} bytes")
    return uvarint(length_plus_one)


def read_tags(
    buffer: Buffer, position: int, count: int
) -> tuple[tuple[tuple[int, bytes], ...], int]:
    """`count` tagged fields as (tag, bytes), tags strictly ascending (KIP-482)."""
    tags = []
    last = -1
    for _ in range(count):
        tag, position = read_uvarint(buffer, position)
        length, position = read_uvarint(buffer, position)
        if tag <= last:
            raise WireError(f"tag {tag} after tag {last}")
        last = tag
        value, position = read_bytes(buffer, position, length)
        tags.append((tag, value))
    return tuple(tags), position


def tags(fields: list[tuple[int, bytes]]) -> bytes:
    """A section of tagged fields, in ascending order of tag."""
    out = [uvarint(len(fields))]
    last = -1
    for tag, value in sorted(fields):
        if tag <= last:
            raise WireError(f"tag {tag} twice")
        last = tag
        out += (uvarint(tag), uvarint(len(value)), value)
    return b"".join(out)
