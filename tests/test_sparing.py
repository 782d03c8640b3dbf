"""Lines that come by the thousand: some are told, the others counted, and none is lost count of."""

from __future__ import annotations

import heapq
import logging
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstream.sparing import SparingLog

log = logging.getLogger("flowstream.sparing-test")
WHILE_S = 5.0


class Clock:
    """Time that passes when it is told to, with what is due then."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """As the loop's."""
        heapq.heappush(self._due, (self.now_s + seconds, len(self._due), call))

    def pass_to(self, at_s: float) -> None:
        """Let time pass."""
        while self._due and self._due[0][0] <= at_s:
            self.now_s, _, call = heapq.heappop(self._due)
            call()
        self.now_s = at_s


def test_the_first_is_told_and_the_last_with_the_number_of_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lines, clock = SparingLog(log, WHILE_S), Clock()
    for number in range(1000):
        clock.pass_to(100.0 + number * WHILE_S / 1000)
        lines.warn(f"failure {number}", clock.now_s, clock.later)
    assert caplog.messages == ["failure 0"]
    clock.pass_to(200.0)
    assert caplog.messages[1:] == ["failure 999 (and 998 more before it)"]
    lines.flush()
    assert len(caplog.messages) == 2


def test_what_is_left_out_last_is_told_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    lines, clock = SparingLog(log, WHILE_S, most=2), Clock()
    for number in range(5):
        lines.warn(f"failure {number}", clock.now_s, clock.later)
    lines.flush()
    assert caplog.messages == ["failure 0", "failure 1", "failure 4 (and 2 more before it)"]


def test_a_clock_that_is_put_back_silences_nobody(caplog: pytest.LogCaptureFixture) -> None:
    lines, clock = SparingLog(log, WHILE_S), Clock()
    lines.warn("before", clock.now_s, clock.later)
    lines.warn("after", clock.now_s - 50, clock.later)
    assert caplog.messages == ["before", "after"]


@given(st.lists(st.floats(0, 8), max_size=60), st.integers(1, 3))
def test_every_line_counts_once_and_few_are_told(pauses: list[float], most: int) -> None:
    told: list[tuple[float, str]] = []
    clock = Clock()

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append((clock.now_s, record.getMessage()))

    quiet = logging.Logger("quiet")
    quiet.addHandler(Told())
    lines = SparingLog(quiet, WHILE_S, most)
    for pause in pauses:
        clock.pass_to(clock.now_s + pause)
        lines.warn("line", clock.now_s, clock.later)
    before_end = [at for at, _ in told]
    lines.flush()
    counts = [int(found[1]) if (found := re.search(r"and (\d+) more", text)) else 0
              for _, text in told]  # fmt: skip
    assert len(told) + sum(counts) == len(pauses)
    for at in before_end:
        # Whiles follow each other: any span of one while holds lines of two of them at most.
        assert sum(at <= other < at + WHILE_S for other in before_end) <= 2 * most
