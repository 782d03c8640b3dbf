"""Windows of a stream against naive models, on events in any order."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstream.processing.time.aggregates import (
    Aggregate,
    Collect,
    Count,
    Distinct,
    Max,
    Mean,
    Min,
    Reduce,
    Several,
    Sum,
)
from flowstream.processing.time.dues import DuePartition
from flowstream.processing.time.watermarks import UNKNOWN
from flowstream.processing.time.windowing import (
    FixedWindows,
    SessionWindows,
    SlidingWindows,
    Windowing,
)
from flowstream.processing.time.windows import Window
from flowstream.processing.values.codecs import INT, JSON, codec_of
from flowstream.state.memory import MemoryStore
from flowstream.state.table import TablePartition
from flowstream.state.table_view import TableView

Event = tuple[bytes, int, int]
"""Key, instant, value."""

DISORDER = 30
EVENTS = st.lists(
    st.tuples(st.sampled_from([b"a", b"b"]), st.integers(0, 200), st.integers(-5, 5)), max_size=40
)
"""In an order of arrival that a bound of disorder does not cover, so that some come late."""


class Rig:
    """Windows over a store, an agenda and a watermark, as an agent's instances have them."""

    def __init__(self, windowing: Windowing) -> None:
        self.windowing = windowing
        self.store = MemoryStore()
        self.told: list[tuple[bytes, int, int, Any]] = []
        self.late: list[Event] = []
        self.watermark = UNKNOWN
        self.open()

    def open(self) -> None:
        """Begin on what is in the store."""
        codec = dataclasses.replace(codec_of(self.windowing.kept_type), immutable=True)
        self.part = TablePartition("windows", 0, self.store, codec)
        self.view = TableView(self.part)
        self.due = DuePartition(
            self.part,
            lambda row, value, _: self.windowing.due_ms(row, value),
            by_value=self.windowing.by_value,
        )
        for _ in self.due.load():
            pass

    def restart(self) -> None:
        """Commit, and go on from the store."""
        self.part.committed(self.part.close(), 1, 1)
        self.open()

    def complete(self) -> None:
        """End a unit."""
        self.due.observe(self.view.writes, self.watermark)
        self.part.absorb(self.view.seal())
        self.view.clear()

    def take(self, key: bytes, at: int, value: int) -> None:
        """One event, and then what is due."""
        if self.windowing.add(self.view, key, at, value, self.watermark) is None:
            self.late.append((key, at, value))
        self.complete()
        self.watermark = max(self.watermark, at - DISORDER)
        self.fire()

    def fire(self) -> None:
        """Tell everything that is due."""
        while (found := self.due.agenda.pop(self.watermark)) is not None:
            due_ms, row = found
            told = self.windowing.told(row, self.view, due_ms)
            if told is not None:
                span = told.span
                result = self.windowing.aggregate.result(span.kept)
                self.told.append((told.key, span.start_ms, span.end_ms, result))
            self.windowing.settle(row, self.view, due_ms)
            self.complete()

    def finish(self, events: Iterable[Event], restarts: bool = False) -> None:
        """All events, then the end of time."""
        for event in events:
            self.take(*event)
            if restarts:
                self.restart()
        self.watermark = 10_000
        self.fire()
        assert not self.due.agenda
        assert not list(self.view.scan()), "what is over leaves nothing behind"

    @property
    def accepted(self) -> bool:
        """Whether no event was late."""
        return not self.late


@given(EVENTS, st.sampled_from([(10, 10), (10, 5), (30, 10)]), st.integers(0, 20), st.booleans())
def test_S12_fixed_windows_are_those_of_a_naive_count(
    events: list[Event], shape: tuple[int, int], grace: int, restarts: bool
) -> None:
    window = Window(*shape, None, grace)
    rig = Rig(FixedWindows(Sum(), window))
    rig.finish(events, restarts)
    model: dict[tuple[bytes, int], int] = defaultdict(int)
    watermark, late = UNKNOWN, 0
    for key, at, value in events:
        open_starts = [
            start for start in window.starts(at) if start + window.size_ms + grace > watermark
        ]
        late += not open_starts
        for start in open_starts:
            model[key, start] += value
        watermark = max(watermark, at - DISORDER)
    assert len(rig.late) == late
    told = [(key, start, value) for key, start, _, value in rig.told]
    assert sorted(told) == sorted((*at, value) for at, value in model.items())
    assert [end for _, _, end, _ in rig.told] == sorted(end for _, _, end, _ in rig.told)


@given(EVENTS, st.integers(1, 30), st.integers(0, 20), st.booleans())
def test_S12_sessions_are_those_of_a_naive_walk(
    events: list[Event], gap: int, grace: int, restarts: bool
) -> None:
    rig = Rig(SessionWindows(Count(), gap, grace))
    rig.finish(events, restarts)
    told = sum(count for *_, count in rig.told)
    assert told + len(rig.late) == len(events)
    if rig.accepted and not any(_reopens(events, gap, grace)):
        model: list[tuple[bytes, int, int, int]] = []
        for key in (b"a", b"b"):
            session: list[int] = []
            for at in [*sorted(at for k, at, _ in events if k == key), 10**9]:
                if session and at - session[-1] >= gap:
                    model.append((key, session[0], session[-1] + gap, len(session)))
                    session = []
                session.append(at)
        assert sorted(rig.told) == sorted(model)


def _reopens(events: list[Event], gap: int, grace: int) -> Iterable[bool]:
    """Whether an event comes near to a session that is final by then: it begins another."""
    watermark = UNKNOWN
    for number, (key, at, _) in enumerate(events):
        for k, before, _ in events[:number]:
            yield k == key and abs(before - at) < gap and before + gap + grace <= watermark
        watermark = max(watermark, at - DISORDER)


@given(EVENTS, st.integers(1, 40), st.integers(0, 20), st.booleans())
def test_S12_a_sliding_window_ends_with_each_event(
    events: list[Event], size: int, grace: int, restarts: bool
) -> None:
    rig = Rig(SlidingWindows(Sum(), size, grace))
    rig.finish(events, restarts)
    taken = list(events)
    for late in rig.late:
        taken.remove(late)
    model = {
        (key, at): sum(v for k, t, v in taken if k == key and at - size < t <= at)
        for key, at, _ in taken
    }
    assert sorted((key, end - 1, value) for key, _, end, value in rig.told) == sorted(
        (*at, value) for at, value in model.items()
    )


@given(st.lists(st.integers(-100, 100), min_size=1), st.integers(0, 100))
def test_aggregates_do_not_depend_on_how_they_are_merged(values: list[int], cut: int) -> None:
    cut = min(cut, len(values))
    cases: list[tuple[Aggregate[Any], Any]] = [
        (Count(), len(values)),
        (Sum(), sum(values)),
        (Min(), min(values)),
        (Max(), max(values)),
        (Collect(), values),
        (Reduce(lambda a, b: a * 3 + b, type=int), None),
        (Several({"n": Count(), "top": Max()}), {"n": len(values), "top": max(values)}),
    ]
    for aggregate, expected in cases:
        aggregate.bind(INT)
        codec: Any = codec_of(aggregate.kept)
        halves = []
        for half in (values[:cut], values[cut:]):
            kept = None
            for value in half:
                kept = aggregate.first(value) if kept is None else aggregate.add(kept, value)
            halves.append(kept)
        one, two = halves
        kept = two if one is None else one if two is None else aggregate.merge(one, two)
        kept = codec.decode(codec.encode(kept))
        if expected is not None:
            assert aggregate.result(kept) == expected, aggregate
    mean = Mean()
    kept = mean.first(values[0])
    for value in values[1:]:
        kept = mean.add(kept, value)
    assert mean.result(kept) == pytest.approx(sum(values) / len(values))


def test_distinct_is_near_the_truth() -> None:
    distinct = Distinct()
    kept = distinct.first("0")
    for number in range(5_000):
        kept = distinct.add(kept, str(number % 1_000))
    other = distinct.first("x")
    assert distinct.result(distinct.merge(kept, other)) == pytest.approx(1_001, rel=0.05)


def test_a_sum_of_what_json_does_not_bring_back_must_say_its_type() -> None:
    from decimal import Decimal

    with pytest.raises(TypeError, match="type=Decimal"):
        Sum().first(Decimal("1.5"))
    total = Sum(type=Decimal)
    codec: Any = codec_of(total.kept)
    kept = codec.decode(codec.encode(total.first(Decimal("1.5"))))
    assert total.add(kept, Decimal("2.5")) == Decimal("4.0")
    assert JSON is not codec
