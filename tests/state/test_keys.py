"""Encoded keys sort as their values do and come back as they were."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstream.state.keys import (
    WINDOW_START_MAX,
    KeyEncodingError,
    decode_key,
    encode_key,
    prefix_stop,
    split_window_key,
    window_key,
    window_range,
)

INTS = st.integers() | st.integers(-300, 300) | st.integers(-(2**200), 2**200)
FLOATS = st.floats(allow_nan=False)
TEXTS = st.text() | st.text(alphabet="\x00\x01ab")
BYTES = st.binary() | st.binary().map(lambda b: b.replace(b"a", b"\x00").replace(b"b", b"\xff"))
SCALARS = st.none() | st.booleans() | INTS | FLOATS | TEXTS | BYTES
KEYS = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=8)
MS = st.integers(-(2**63), WINDOW_START_MAX)


@given(KEYS)
def test_a_key_comes_back(value: Any) -> None:
    found = decode_key(encode_key(value))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "values",
    [INTS, FLOATS, BYTES, st.booleans(), st.tuples(INTS, BYTES), st.lists(INTS).map(tuple)],
)
def test_keys_sort_as_values(values: st.SearchStrategy[Any]) -> None:
    @given(values, values)
    def check(one: Any, two: Any) -> None:
        assert (encode_key(one) < encode_key(two)) == (one < two)

    check()


@given(TEXTS, TEXTS)
def test_texts_sort_by_code_point(one: str, two: str) -> None:
    assert (encode_key(one) < encode_key(two)) == (one < two)


@given(KEYS, KEYS)
def test_no_key_is_a_prefix_of_another(one: Any, two: Any) -> None:
    first, second = encode_key(one), encode_key(two)
    if first != second:
        assert not second.startswith(first)


@given(st.binary(max_size=20))
def test_anything_else_is_refused(data: bytes) -> None:
    with contextlib.suppress(KeyEncodingError):
        value = decode_key(data)
        if not (isinstance(value, float) and math.isnan(value)):
            assert decode_key(encode_key(value)) == value or value != value


@pytest.mark.parametrize("value", [[], {}, object(), {1}])
def test_what_cannot_be_a_key_is_named(value: Any) -> None:
    with pytest.raises(KeyEncodingError, match=type(value).__name__):
        encode_key(value)


@given(BYTES, BYTES, MS, MS)
def test_windows_of_a_key_are_adjacent_and_sorted(
    key: bytes, other: bytes, one: int, two: int
) -> None:
    first, second = window_key(key, one), window_key(key, two)
    assert split_window_key(first) == (key, one)
    assert (first < second) == (one < two)
    start, stop = window_range(key)
    for edge in (-(2**63), WINDOW_START_MAX):
        assert start <= window_key(key, edge) < stop
    assert start <= first < stop
    if other != key:
        assert not start <= window_key(other, one) < stop


def test_a_window_start_out_of_range_is_refused() -> None:
    with pytest.raises(KeyEncodingError, match="cannot start"):
        window_key(b"", WINDOW_START_MAX + 1)


@given(st.binary(max_size=4), st.binary(max_size=4))
def test_prefix_stop_is_the_end_of_a_prefix(prefix: bytes, key: bytes) -> None:
    stop = prefix_stop(prefix)
    assert key.startswith(prefix) == (key >= prefix and (stop is None or key < stop))
