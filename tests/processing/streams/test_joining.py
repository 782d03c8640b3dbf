"""Joins of streams against a naive model, on events in any order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from flowstream.processing.streams.joining import ENTRIES, How, Side, StreamJoin
from flowstream.processing.time.dues import DuePartition
from flowstream.processing.time.watermarks import UNKNOWN
from flowstream.state.memory import MemoryStore
from flowstream.state.table import TablePartition
from flowstream.state.table_view import TableView

Event = tuple[Side, bytes, int]
DISORDER = 30
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["left", "right"]), st.sampled_from([b"a", b"b"]), st.integers(0, 150)
    ),
    max_size=30,
)
HOWS = st.sampled_from(["inner", "left", "outer"])


class Rig:
    """A join over a store, an agenda and a watermark."""

    def __init__(self, join: StreamJoin) -> None:
        self.join = join
        self.store = MemoryStore()
        self.told: list[tuple[bytes, int | None, int | None]] = []
        self.late: list[int] = []
        self.watermark = UNKNOWN
        self.open()

    def open(self) -> None:
        self.part = TablePartition("join", 0, self.store, ENTRIES)
        self.view = TableView(self.part)
        self.due = DuePartition(self.part, lambda r, v, _: self.join.due_ms(r, v), by_value=True)
        for _ in self.due.load():
            pass

    def restart(self) -> None:
        self.part.committed(self.part.close(), 1, 1)
        self.open()

    def complete(self) -> None:
        self.due.observe(self.view.writes, self.watermark)
        self.part.absorb(self.view.seal())
        self.view.clear()

    def take(self, number: int, side: Side, key: bytes, at: int) -> None:
        met = self.join.meet(self.view, side, key, at, b"%d" % number, self.watermark)
        if met is None:
            self.late.append(number)
        for _, _, other in met or ():
            pair = (number, int(other)) if side == "left" else (int(other), number)
            self.told.append((key, *pair))
        self.complete()
        self.watermark = max(self.watermark, at - DISORDER)
        self.fire()

    def fire(self) -> None:
        while (found := self.due.agenda.pop(self.watermark)) is not None:
            due_ms, row = found
            entry = self.join.lone(row, self.view, due_ms)
            if entry is not None:
                number = int(entry[2])
                pair: tuple[Any, Any] = (number, None) if row[:2] == b"l=" else (None, number)
                self.told.append((row[2:], *pair))
            self.join.settle(row, self.view, due_ms)
            self.complete()

    def finish(self, events: Iterable[Event], *, restarts: bool) -> None:
        for number, event in enumerate(events):
            self.take(number, *event)
            if restarts:
                self.restart()
        self.watermark = 10_000
        self.fire()
        assert not self.due.agenda
        assert not list(self.view.scan()), "what is over leaves nothing behind"


@example([("left", b"a", 138), ("right", b"a", 88)], -1, 5, 20, "outer", False)
@given(EVENTS, st.integers(-5, 20), st.integers(5, 20), st.integers(0, 20), HOWS, st.booleans())
def test_every_pair_within_the_bounds_meets_once_and_the_rest_is_told_alone(
    events: list[Event], before: int, after: int, grace: int, how: How, restarts: bool
) -> None:
    join = StreamJoin(before, after, grace, how)
    rig = Rig(join)
    rig.finish(events, restarts=restarts)
    watermark, late = UNKNOWN, []
    for number, (_, _, at) in enumerate(events):
        if at + grace < watermark:
            late.append(number)
        watermark = max(watermark, at - DISORDER)
    assert rig.late == late
    taken = [(n, *event) for n, event in enumerate(events) if n not in late]
    pairs = {
        (key, left, right)
        for left, side, key, at in taken
        for right, other, other_key, other_at in taken
        if (side, other, key) == ("left", "right", other_key)
        and at - before <= other_at <= at + after
    }
    met = {left for _, left, _ in pairs} | {right for _, _, right in pairs}
    wanted: set[tuple[Any, ...]] = set(pairs)
    for number, side, key, _ in taken:
        if number not in met and side == "left" and how in ("left", "outer"):
            wanted.add((key, number, None))
        if number not in met and side == "right" and how == "outer":
            wanted.add((key, None, number))
    assert len(rig.told) == len(set(rig.told))
    assert set(rig.told) == wanted
