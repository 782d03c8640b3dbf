"""The broker's clock never goes back, whatever happens to the machine's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowstream import clock
from flowstream.clock import SteadyClock

SECOND = 1_000_000_000


class Times:
    """The wall and the monotonic clock of a machine, as a test moves them."""

    def __init__(self) -> None:
        self.wall = 1_700_000_000 * SECOND
        self.monotonic = 5 * SECOND
        self.clock = SteadyClock(lambda: self.wall, lambda: self.monotonic)

    def wait(self, seconds: float) -> int:
        self.wall += int(seconds * SECOND)
        self.monotonic += int(seconds * SECOND)
        return self.clock.now_ms()


def test_it_is_the_wall_clock_while_that_is_steady() -> None:
    times = Times()
    assert times.wait(3) == times.wall // 1_000_000


def test_V1_after_a_step_back_it_goes_on_at_half_speed_until_the_wall_has_caught_up() -> None:
    times = Times()
    before = times.wait(0)
    times.wall -= 10 * SECOND
    assert times.wait(4) == before + 2_000
    assert times.wait(16) == before + 10_000 == times.wall // 1_000_000
    assert times.wait(1) == times.wall // 1_000_000


def test_a_step_forward_is_followed_at_once() -> None:
    times = Times()
    before = times.wait(0)
    times.wall += 3600 * SECOND
    assert times.wait(1) == before + 3_601_000


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(-7200, 7200)), max_size=20))
def test_T10_it_never_goes_back_and_never_stands_still(moves: list[tuple[float, int]]) -> None:
    times = Times()
    last = times.wait(0)
    for seconds, step in moves:
        times.wall += step * SECOND
        now = times.wait(seconds)
        assert now >= last + int(seconds * 1000) // 2 - 1
        last = now


def test_a_test_kit_reads_other_clocks_within_a_block() -> None:
    with clock.replaced(lambda: 5_000_000, lambda: 7_000_000):
        assert (clock.wall_ms(), clock.monotonic_ms()) == (5, 7)
    assert clock.wall_ms() > 1_700_000_000_000
