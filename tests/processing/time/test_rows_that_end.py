"""Rows that end by time, and who is told of it: once, whatever comes in between (S12)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

import flowstream as fs
from flowstream.processing.running.firing import MOST_AT_ONCE
from flowstream.processing.tables import windowed
from flowstream.processing.tables.windowed import WindowedPartition
from flowstream.processing.time.dues import DuePartition
from flowstream.processing.time.windows import STREAM_TIME_KEY, Window, window_key
from flowstream.processing.values.codecs import BYTES, INT
from flowstream.state.memory import MemoryStore
from flowstream.state.overlay import DELETED
from flowstream.state.table import Sealed, TablePartition
from flowstream.testing import Input, assert_exactly_once


def kept_windows(pause_s: float) -> fs.App:
    """Windows that are kept after they have closed, and an agent that takes its time over each."""
    app = fs.App("ending")
    src = app.topic("src", key_type=str, value_type=int, partitions=1)
    told = app.topic("told", key_type=str, value_type=int, partitions=1)
    counts = app.Table("counts", default=int).tumbling(10, expires=10, grace=0)

    @app.agent(src)
    async def count(stream: fs.Stream[int]) -> None:
        async for key, number in stream.items():
            counts[key] += number

    @app.agent(counts.closed, sink=[told])
    async def tell(stream: fs.Stream[Any]) -> AsyncIterator[int]:
        async for window in stream:
            if pause_s:
                await asyncio.sleep(pause_s)
            yield window.value

    return app


def test_S12_a_window_is_kept_until_it_was_told() -> None:
    inputs: list[Input | float] = [Input("src", 1, key=key, timestamp=1000.0) for key in "abc"]
    inputs += [Input("src", 1, key="z", timestamp=2000.0), 60.0]
    assert_exactly_once(lambda: kept_windows(1), inputs)
    with kept_windows(1).test_context() as context:
        for each in inputs[:-1]:
            assert isinstance(each, Input)
            each.put(context, settle=False)
        context.advance(60)
        assert [record.key for record in context.topic("told")] == ["a", "b", "c"]


def test_S12_more_windows_than_are_told_at_once_are_all_told() -> None:
    many = MOST_AT_ONCE + 200
    with kept_windows(0).test_context() as context:
        for number in range(many):
            context.topic("src").send(1, key=f"{number:04}", timestamp=1000.0, settle=False)
        context.topic("src").send(1, key="z", timestamp=2000.0)
        context.advance(60)
        assert [r.key for r in context.topic("told")] == [f"{n:04}" for n in range(many)]


class Rig:
    """A table of windows beside the rows that say which of them nobody was told of yet."""

    def __init__(self) -> None:
        self.window = Window(10, 10, 20, 5)
        self.part = TablePartition("t", 0, MemoryStore(), INT)
        self.untold = TablePartition("t-open", 0, MemoryStore(), BYTES)
        self.closing = DuePartition(self.untold, lambda row, _, __: int(row[-16:]) + 15)
        self.windowed = WindowedPartition(self.part, self.window)
        self.windowed.closing = self.closing
        for start in (0, 10, 100):
            row = window_key(b"k", start)
            self.part.absorb(Sealed(self.part, {row: b"1"}, {row: 1}))
            self.untold.absorb(Sealed(self.untold, {row: b"x"}, {row: b"x"}))
            self.closing.observe({row: b"x"}, 0)
            self.windowed.observe([row], start)

    def left(self, watermark: int) -> list[int]:
        self.windowed.stream_time_ms = watermark
        self.windowed.expire(watermark)
        starts = (0, 10, 100)
        return [s for s in starts if self.part.read(window_key(b"k", s)) is not DELETED]


def test_S12_what_was_told_in_a_unit_that_may_not_commit_is_kept() -> None:
    rig = Rig()
    assert rig.left(90) == [0, 10, 100], "nobody was told"
    first = window_key(b"k", 0)
    assert rig.closing.agenda.pop(90) == (15, first)
    assert rig.left(90) == [0, 10, 100], "it is being told"
    told: dict[bytes, object] = {first: DELETED}
    waits = Sealed(rig.untold, told, told)
    rig.untold.defer(waits)
    assert rig.left(90) == [0, 10, 100], "the unit that was told may be undone"
    rig.untold.merge(waits)
    assert rig.left(29) == [0, 10, 100], "too early"
    assert rig.left(90) == [10, 100]


def test_S8_a_window_that_a_unit_that_waits_has_changed_is_kept() -> None:
    rig = Rig()
    rig.windowed.closing = None
    row = window_key(b"k", 10)
    waits = Sealed(rig.part, {row: b"2"}, {row: 2})
    rig.part.defer(waits)
    assert rig.left(90) == [10, 100]
    rig.part.merge(waits)
    rig.part.overlay.settle()
    assert rig.left(90) == [100]


def test_X3_a_large_window_ends_over_many_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once they could take longer than their transaction may, again and again."""
    monkeypatch.setattr(windowed, "LEAST_ROWS", 20)
    part = TablePartition("t", 0, MemoryStore(), INT)
    table = WindowedPartition(part, Window(10, 10, 0))
    rows: dict[bytes, object] = {window_key(b"%d" % key, 0): 1 for key in range(100)}
    part.absorb(Sealed(part, rows, rows))
    table.observe(rows, 0)
    part.committed(part.close(), None, None)
    table.expire(None)
    table.observe((), 10)
    deleted = []
    for _ in range(7):
        table.expire(None)
        deleted.append(part.dirty)
        part.committed(part.close(), None, None)
    assert deleted == [20] * 5 + [0, 0]
    assert list(part.store.scan()) == []


def sessions(joined: bool) -> fs.App:
    app = fs.App("ending")
    src = app.topic("src", key_type=str, value_type=int, partitions=1)
    out = app.topic("out", key_type=str, value_type=str, partitions=1)
    table = app.Table("t", key_type=str, value_type=int, ttl=10)
    names = app.Table("names", key_type=str, value_type=str)

    @app.agent(src)
    async def keep(stream: fs.Stream[int]) -> None:
        async for key, number in stream.items():
            table[key] = number
            names[key] = key.upper()

    if joined:

        @app.agent(app.join(table, names), sink=[out])
        async def pair(stream: fs.Stream[Any]) -> AsyncIterator[str]:
            async for key, both in stream.items():
                yield f"{key}={both and (both.left, both.right)}"

    else:

        @app.agent(table.changes, sink=[out])
        async def tell(stream: fs.Stream[int | None]) -> AsyncIterator[str]:
            async for key, number in stream.items():
                yield f"{key}={number}"

    return app


@pytest.mark.parametrize("joined", [False, True])
def test_S11_S12_who_reads_changes_is_told_of_rows_whose_time_is_over(joined: bool) -> None:
    """Undisturbed, and with a kill at some steps of the commits on the way."""
    sent = [("a", 1000.0), ("b", 1005.0), ("c", 1012.0), ("a", 1013.0), ("d", 1100.0)]
    wanted = [
        ("a", 0, 1000.0), ("b", 1, 1005.0), ("a", None, 1010.0), ("c", 2, 1012.0), ("a", 3, 1013.0),
        ("b", None, 1015.0), ("c", None, 1022.0), ("a", None, 1023.0), ("d", 4, 1100.0),
    ]  # fmt: skip
    for step, times in [("close", 99), *itertools.product(("produce", "end", "store"), (2, 4, 6))]:
        with sessions(joined).test_context() as context:
            context.crash_at(step, times=times)
            for number, (key, at) in enumerate(sent):
                context.topic("src").send(number, key=key, timestamp=at)
            assert context.crashes == (times != 99)
            told = [(record.value, record.timestamp) for record in context.topic("out")]
            assert sorted(told) == sorted(
                (f"{key}={(value, key.upper()) if joined and value is not None else value}", at)
                for key, value, at in wanted
            )


class Visit(msgspec.Struct):
    """A value that no number decodes to."""

    pages: int


def test_what_a_table_keeps_of_time_is_no_window_of_it() -> None:
    """Also where a user's key looks like a row of the table's own."""
    app = fs.App("ending")
    src = app.topic("src", key_type=str, value_type=int, partitions=1)
    out = app.topic("out", key_type=str, value_type=list[str], partitions=1)
    visits = app.Table("v", key_type=str, value_type=Visit).tumbling(10, expires=100, grace=50)

    @app.agent(src, sink=[out])
    async def count(stream: fs.Stream[int]) -> AsyncIterator[list[str]]:
        async for key, number in stream.items():
            visits[key] = Visit(number)
            yield sorted(key for key, _, _ in visits.items())

    with app.test_context() as context:
        context.topic(src).send(1, key="@marks src", timestamp=1000.0)
        context.topic(src).send(1, key="b", timestamp=1001.0)
        context.crash()
        context.topic(src).send(1, key="c", timestamp=1002.0)
        assert context.topic(out).values[-1] == ["@marks src", "b", "c"]
        assert STREAM_TIME_KEY.decode() not in dict(context.table(visits))
