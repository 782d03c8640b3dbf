"""Window arithmetic, row names and expiry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstream.processing.time.windows import (
    Expiry,
    Window,
    split_window_key,
    window_bounds,
    window_key,
)

spans = st.integers(1, 1000)
instants = st.integers(-(10**13), 10**13)


@given(spans, spans, instants)
def test_an_instant_is_in_exactly_the_windows_that_hold_it(size: int, step: int, at: int) -> None:
    step = min(size, step)
    window = Window(size, step)
    starts = list(window.starts(at))
    assert starts == [s for s in range(at - size, at + 1) if s % step == 0 and s <= at < s + size]
    assert window.earliest(at) == starts[0]
    assert window.current(at) == starts[-1]


@given(st.binary(max_size=30), st.integers(-(10**15) + 1, 10**15))
def test_a_row_name_splits_back(key: bytes, start: int) -> None:
    assert split_window_key(window_key(key, start)) == (key, start)


@given(st.binary(max_size=30), st.integers(-(10**15) + 1, 10**15))
def test_a_keys_windows_are_within_its_bounds(key: bytes, start: int) -> None:
    low, high = window_bounds(key)
    assert low <= window_key(key, start) < high


@given(st.binary(max_size=12))
def test_short_rows_are_no_windows(row: bytes) -> None:
    assert split_window_key(row) is None


def test_S12_rows_expire_once_and_oldest_first() -> None:
    expiry = Expiry(Window(10, 10, expires_ms=5))
    for start in (20, 0, 10):
        expiry.add(window_key(b"k", start))
    expiry.add(b"@stream-time")
    assert expiry.due(14, 9) == []
    assert expiry.due(25, 9) == [window_key(b"k", 0), window_key(b"k", 10)]
    assert expiry.due(25, 9) == []
    assert expiry.due(10**6, 9) == [window_key(b"k", 20)]


def test_X3_rows_expire_so_many_at_a_time() -> None:
    """A window may have more of them than a transaction can take."""
    expiry = Expiry(Window(10, 10))
    assert expiry.due(10**6, 9) == []
    expiry = Expiry(Window(10, 10, expires_ms=5))
    rows = [window_key(b"%d" % key, start) for start in (0, 10) for key in range(5)]
    for row in reversed(rows):
        expiry.add(row)
    taken = [expiry.due(25, 3) for _ in range(5)]
    assert [len(each) for each in taken] == [3, 3, 3, 1, 0]
    found = [row for each in taken for row in each]
    assert sorted(found[:5]) == rows[:5], "oldest first"
    assert sorted(found) == sorted(rows), "each once"


@pytest.mark.parametrize(("size", "step"), [(0, 1), (1, 0), (5, 6)])
def test_windows_that_lose_events_are_refused(size: int, step: int) -> None:
    with pytest.raises(ValueError):
        Window(size, step)
