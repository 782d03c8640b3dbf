"""Event time of a task, and what is due when."""

from __future__ import annotations

import heapq

from hypothesis import given
from hypothesis import strategies as st

from flowstream.processing.time.agenda import Agenda
from flowstream.processing.time.watermarks import UNKNOWN, EventClock, Watermark


def of(disorder: list[int]) -> tuple[EventClock, Watermark]:
    """A clock of so many sources, and the watermark of all of them."""
    clock = EventClock(disorder, idle_ms=100, now_ms=0)
    return clock, Watermark(clock, range(len(disorder)))


def test_one_source_moves_with_its_newest_event() -> None:
    clock, watermark = of([5])
    assert watermark.value_ms == UNKNOWN
    clock.observe(0, 100)
    assert watermark.value_ms == 95
    clock.observe(0, 40)
    assert watermark.value_ms == 95
    assert watermark.of_unit(0, 110) == 105, "what is late does not depend on agents beside"
    watermark.recall(200)
    assert watermark.of_unit(0, 110) == 200


def test_the_slowest_source_holds_the_others_back() -> None:
    clock, watermark = of([0, 0])
    clock.observe(0, 1_000)
    assert watermark.advance(now_ms=50) == UNKNOWN
    clock.observe(1, 10)
    assert watermark.advance(now_ms=60) == 10
    assert watermark.of_unit(0, 5_000) == 10
    clock.observe(1, 2_000)
    assert watermark.advance(now_ms=70) == 1_000


def test_sources_that_a_table_does_not_come_from_do_not_count() -> None:
    clock = EventClock([0, 0], idle_ms=100, now_ms=0)
    watermark = Watermark(clock, [1])
    clock.observe(0, 1_000)
    assert watermark.advance(now_ms=50) == UNKNOWN
    clock.observe(1, 10)
    assert watermark.value_ms == 10


def test_an_idle_source_holds_nobody_back_and_one_with_records_waiting_does() -> None:
    clock, watermark = of([0, 0])
    clock.observe(0, 1_000)
    clock.fed(0, 150)
    clock.fed(1, 90)
    assert watermark.advance(now_ms=180) == UNKNOWN
    assert watermark.advance(now_ms=190) == 1_000
    clock.observe(1, 10)
    clock.fed(1, 200)
    assert watermark.advance(now_ms=210) == 1_000, "it never goes back"


def test_when_all_are_idle_nobody_holds_back_the_one_that_came_farthest() -> None:
    clock, watermark = of([0, 0])
    clock.observe(0, 10)
    clock.observe(1, 20)
    assert watermark.advance(now_ms=50) == 10
    assert watermark.advance(now_ms=5_000) == 20
    assert watermark.advance(now_ms=9_000) == 20


def test_a_source_with_marks_goes_by_them() -> None:
    clock, watermark = of([0, 0])
    clock.mark(0, 30, idle=False)
    clock.observe(0, 1_000)
    clock.observe(1, 500)
    assert watermark.advance(now_ms=10) == 30
    assert watermark.of_unit(0, 1_000) == 30
    clock.mark(0, 30, idle=True)
    assert watermark.advance(now_ms=20) == 500, "all behind it are idle"
    clock.mark(0, 600, idle=False)
    clock.observe(1, 700)
    assert watermark.advance(now_ms=30) == 600


@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1_000), st.integers(0, 50))),
)
def test_it_never_goes_back_nor_past_an_active_source(
    disorder: list[int], steps: list[tuple[int, int, int]]
) -> None:
    (clock, watermark), now = of(disorder), 0
    tops = [UNKNOWN] * len(disorder)
    before = UNKNOWN
    for source, at, pause in steps:
        source %= len(disorder)
        now += pause
        for each in range(len(disorder)):
            clock.fed(each, now)
        clock.observe(source, at)
        tops[source] = max(tops[source], at)
        found = watermark.advance(now_ms=now)
        assert found >= before
        before = found
        bounds = [t - d if t > UNKNOWN else t for t, d in zip(tops, disorder, strict=True)]
        assert found == max(min(bounds), UNKNOWN)


@given(
    st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c", b"d"]), st.integers(-5, 20) | st.none()))
)
def test_an_agenda_is_a_sorted_dict(steps: list[tuple[bytes, int | None]]) -> None:
    agenda, model = Agenda(), dict[bytes, int]()
    for row, due in steps:
        if due is None:
            agenda.discard(row)
            model.pop(row, None)
        else:
            agenda.put(row, due)
            model[row] = due
        assert len(agenda) == len(model)
        assert agenda.next_ms == min(model.values(), default=None)
    expected = [(due, row) for row, due in model.items() if due <= 10]
    heapq.heapify(expected)
    while (found := agenda.pop(10)) is not None:
        assert found == heapq.heappop(expected)
    assert not expected


def test_X3_an_agenda_whose_rows_move_all_the_time_stays_small() -> None:
    agenda = Agenda()
    for due in range(100_000):
        agenda.put(b"row", due)
    assert len(agenda) == 1
    assert len(agenda._heap) < 2_000
