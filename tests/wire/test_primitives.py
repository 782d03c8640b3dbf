"""Varints, strings and tag sections: round trips, limits, and refusal of everything else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstream.errors import WireError
from flowstream.wire import primitives as p

quick = settings(max_examples=200, deadline=None, derandomize=True, database=None)


@quick
@given(st.integers(0, (1 << 32) - 1))
def test_unsigned_varints_round_trip(value: int) -> None:
    raw = p.uvarint(value)
    assert p.read_uvarint(b"x" + raw, 1) == (value, 1 + len(raw))
    assert len(raw) == max(1, (value.bit_length() + 6) // 7)


@quick
@given(st.integers(-(1 << 31), (1 << 31) - 1))
def test_varints_round_trip(value: int) -> None:
    raw = p.varint(value)
    assert p.read_varint(raw, 0) == (value, len(raw))


def read_varlong(raw: bytes) -> tuple[int, int]:
    """As the loops over records read it in place."""
    number, position = p.read_base128(raw, 0, 64)
    return (number >> 1) ^ -(number & 1), position


@quick
@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_varlongs_round_trip(value: int) -> None:
    raw = p.varlong(value)
    assert read_varlong(raw) == (value, len(raw))


@pytest.mark.parametrize(
    ("write", "value"),
    [
        (p.uvarint, -1),
        (p.uvarint, 1 << 32),
        (p.varint, 1 << 31),
        (p.varint, -(1 << 31) - 1),
        (p.varlong, 1 << 63),
    ],
)
def test_numbers_out_of_range_are_refused(write: object, value: int) -> None:
    with pytest.raises(WireError):
        write(value)  # type: ignore[operator]


@pytest.mark.parametrize(
    "raw",
    [b"", b"\x80", b"\xff" * 4, b"\x80" * 5 + b"\1", b"\xff\xff\xff\xff\x10", b"\xff" * 11],
)
def test_varints_too_long_or_too_short_are_refused(raw: bytes) -> None:
    for read in (p.read_uvarint, p.read_varint):
        with pytest.raises(WireError):
            read(raw, 0)


def test_varlongs_have_ten_bytes_at_most() -> None:
    assert read_varlong(b"\xff" * 9 + b"\1") == (-(1 << 63), 10)
    for raw in (b"\xff" * 9 + b"\2", b"\x80" * 10 + b"\0"):
        with pytest.raises(WireError):
            read_varlong(raw)


def compact_string(value: str | None) -> bytes:
    """As the schema writes it."""
    raw = b"" if value is None else value.encode()
    return p.string_length(0 if value is None else len(raw) + 1) + raw


@quick
@given(st.none() | st.text(max_size=300))
def test_strings_round_trip(value: str | None) -> None:
    assert p.read_string(p.string(value), 0) == (value, len(p.string(value)))
    raw = compact_string(value)
    assert p.read_compact_string(raw, 0) == (value, len(raw))


def test_strings_end_at_32767_bytes() -> None:
    longest = "x" * 0x7FFF
    assert p.read_string(p.string(longest), 0)[0] == longest
    assert p.read_compact_string(compact_string(longest), 0)[0] == longest
    with pytest.raises(WireError):
        p.string(longest + "x")
    with pytest.raises(WireError):
        compact_string(longest + "x")
    with pytest.raises(WireError):
        p.read_compact_string(p.uvarint(0x8001) + b"x" * 0x8000, 0)


@pytest.mark.parametrize("raw", [b"", b"\0", b"\0\2x", b"\x80\0", b"\xff\xfe", b"\0\1\xff"])
def test_bad_strings_are_refused(raw: bytes) -> None:
    with pytest.raises(WireError):
        p.read_string(raw, 0)


def test_tags_are_written_in_order_and_read_in_order_only() -> None:
    raw = p.tags([(300, b"c"), (0, b""), (7, b"ab")])
    count, position = p.read_uvarint(raw, 0)
    expected = ((0, b""), (7, b"ab"), (300, b"c"))
    assert p.read_tags(raw, position, count) == (expected, len(raw))
    with pytest.raises(WireError):
        p.tags([(1, b""), (1, b"")])
    for bad in (b"\2\1\0\0\0", b"\2\1\0\1\0", b"\1\1\5x"):
        with pytest.raises(WireError):
            p.read_tags(bad, 1, bad[0])
