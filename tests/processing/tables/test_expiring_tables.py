"""Rows with a time to live: against a model, over crashes, in slices, and in a worker."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

import flowstream as fs
from flowstream.processing.tables.table import Table
from flowstream.state import expiring
from flowstream.state.expiring import SLICE_ROWS, TIME_ROW
from flowstream.state.memory import MemoryStore
from flowstream.transport.types import NewTopic
from tests.processing.bench import Bench
from tests.processing.conftest import Kit

TTL_MS = 100


def table_of(value: Any = int, **options: Any) -> Table[str, Any]:
    return fs.App("bench").Table("t", value_type=value, ttl=TTL_MS / 1000, **options)


class Expiring(RuleBasedStateMachine):
    """The model: each key's value and the event time of its write; and the greatest time so far."""

    @initialize(value=st.sampled_from([int, list[int]]))
    def begin(self, value: Any) -> None:
        self.lists = value is not int
        self.bench = Bench(table_of(value))
        self.now = self.now_committed = -1
        self.model: dict[str, tuple[int, Any]] = {}
        self.committed: dict[str, tuple[int, Any]] = {}

    @rule(
        key=st.sampled_from("abc"), number=st.integers(0, 9), at=st.integers(0, 400),
        deletes=st.booleans(),
    )  # fmt: skip
    def write(self, key: str, number: int, at: int, deletes: bool) -> None:
        value = [number] if self.lists else number
        lates = self.bench.lates
        seen = max(self.now, at)
        with self.bench.unit(at):
            if deletes:
                assert self.bench.table.pop(key, None) == self.alive(seen).get(key)
                gone = key in self.alive(seen)
            else:
                self.bench.table[key] = value
        is_late = not deletes and at + TTL_MS <= seen
        assert self.bench.lates - lates == is_late
        if is_late or (deletes and not gone):
            return
        self.now = seen
        if deletes:
            self.model.pop(key)
        else:
            self.model[key] = (at, value)

    def alive(self, now: int) -> dict[str, Any]:
        return {k: value for k, (at, value) in self.model.items() if at + TTL_MS > now}

    @rule(at=st.integers(0, 400))
    def read(self, at: int) -> None:
        alive = self.alive(max(self.now, at))
        with self.bench.unit(at):
            assert dict(self.bench.table) == alive
            assert list(self.bench.table.range("b")) == sorted(
                (k, v) for k, v in alive.items() if k >= "b"
            )
            for key in "abc":
                assert self.bench.table.get(key) == alive.get(key)
                assert (key in self.bench.table) is (key in alive)

    @rule()
    def commit(self) -> None:
        self.bench.commit()
        self.committed, self.now_committed = dict(self.model), self.now

    @rule()
    def crash(self) -> None:
        self.bench.open()
        self.model, self.now = dict(self.committed), self.now_committed

    @rule()
    def rebuild(self) -> None:
        """S10: a store made of the changelog alone is the same."""
        rows = dict(self.bench.changelog)
        store = MemoryStore()
        store.write(rows)
        assert dict(store.scan()) == dict(self.bench.store.scan())

    def teardown(self) -> None:
        """Some empty epochs later the store has only what lives."""
        if not hasattr(self, "bench"):
            return
        for _ in range(4):
            self.bench.commit()
        kept = {row.decode() for row, _ in self.bench.store.scan() if row != TIME_ROW}
        assert kept == set(self.alive(self.now))


Expiring.TestCase.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
TestExpiring = Expiring.TestCase


def test_a_large_table_is_swept_in_slices() -> None:
    bench = Bench(table_of())
    with bench.unit(0):
        bench.table.update((f"{n:05}", n) for n in range(3 * SLICE_ROWS))
    bench.commit()
    with bench.unit(TTL_MS):
        assert len(bench.table) == 0, "at once"
        bench.table["a"] = 1
    deleted = []
    while rows := bench.commit():
        deleted.append(sum(row is None for row in rows.values()))
    assert sum(deleted) == 3 * SLICE_ROWS
    assert max(deleted) <= SLICE_ROWS
    assert sorted(dict(bench.store.scan())) == [b"a", TIME_ROW]


def test_nothing_is_looked_at_before_something_can_be_over(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(table_of())
    for at in (50, 10, 20):
        with bench.unit(at):
            bench.table[str(at)] = 1
        bench.commit()
    bench.commit()
    looked: list[int] = []
    sweep = expiring.ExpiringPartition._slice

    def counting(part: Any, start: bytes, most: int) -> dict[bytes, int]:
        looked.append(part.stream_time_ms)
        return sweep(part, start, most)

    monkeypatch.setattr(expiring.ExpiringPartition, "_slice", counting)
    for at in (60, 100, 109, 110, 111, 119, 120):
        with bench.unit(at):
            bench.table["now"] = 1
        bench.commit()
    assert looked == [110, 120]


def test_X3_a_table_does_not_grow_faster_than_it_is_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each epoch writes more new keys than the least slice looks at."""
    monkeypatch.setattr(expiring, "SLICE_ROWS", 5)
    bench, each, step_ms = Bench(table_of()), 10, 10
    alive = each * TTL_MS // step_ms
    for epoch in range(150):
        with bench.unit(epoch * step_ms):
            bench.table.update({f"{epoch * each + n}": 1 for n in range(each)})
        bench.commit()
        assert len(list(bench.store.scan())) <= 2 * alive + 2 * each + 1


def test_V1_a_sweep_goes_by_the_keys_that_are_written_not_by_their_events(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten thousand events of one key would have twice as many rows looked at, between two commits:
    it took 40 ms of each 100.
    """
    looked: list[int] = []
    sweep = expiring.ExpiringPartition._slice

    def counting(part: Any, start: bytes, most: int) -> dict[bytes, int]:
        looked.append(most)
        return sweep(part, start, most)

    monkeypatch.setattr(expiring.ExpiringPartition, "_slice", counting)
    monkeypatch.setattr(expiring, "SLICE_ROWS", 5)
    bench = Bench(table_of())
    for epoch in range(2):
        for _ in range(50):
            with bench.unit(epoch * TTL_MS):
                bench.table["hot"] = 1
        bench.commit()
    with bench.unit(2 * TTL_MS):
        bench.table.update({str(number): 1 for number in range(20)})
    bench.commit()
    assert looked == [5, 5, 40]


def test_a_row_written_again_is_not_swept() -> None:
    bench = Bench(table_of())
    with bench.unit(0):
        bench.table.update(a=1, b=2)
    bench.commit()
    with bench.unit(TTL_MS):
        assert "a" not in bench.table
        bench.table["a"] = 3
    assert bench.commit()[b"b"] is None
    with bench.unit(TTL_MS):
        assert dict(bench.table) == {"a": 3}


def test_bad_declarations() -> None:
    with pytest.raises(fs.AppError, match="at least one millisecond"):
        fs.App("bench").Table("t", default=int, ttl=0)
    with pytest.raises(fs.AppError, match="expires="):
        fs.App("bench").Table("t", default=int, ttl=datetime.timedelta(1)).tumbling(1)
    table = fs.App("bench").Table("t", key_type=bytes, default=int, ttl=1)
    with Bench(table).unit(), pytest.raises(ValueError, match="keeps its time"):
        table[TIME_ROW] = 1


def counting(kit: Kit, name: str, **settings: Any) -> tuple[fs.App, fs.Topic[str, str]]:
    """An app that counts words and forgets one that was not seen for ten seconds."""
    app = kit.app(name, **settings)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)
    counts = app.Table("counts", default=int, ttl=10)

    @app.agent(words, sink=[out])
    async def count(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            counts[word] += 1
            yield f"{word}{counts[word]}/{len(counts)}"

    return app, words


@pytest.mark.parametrize("loses_its_store", [False, True])
async def test_S10_time_to_live_survives_a_restart(
    kit: Kit, name: str, loses_its_store: bool
) -> None:
    app, words = counting(kit, name)
    await kit.admin.create_topics([NewTopic(words.name, 1), NewTopic(f"{name}-out", 1)])
    for word, at in (("a", 1.0), ("b", 5.0), ("a", 6.0)):
        await words.send(key="k", value=word, timestamp=at)
    await kit.run_until(app, kit.count(f"{name}-out", 3))
    other = kit.directory / "other" if loses_its_store else None
    again, words = counting(kit, name, **({"data_dir": other} if other else {}))
    # `a` was written at 6 and `b` at 5; `old` comes when its own time is over already.
    for word, at in (("c", 15.0), ("b", 15.0), ("a", 15.9), ("a", 25.9), ("old", 15.9)):
        await words.send(key="k", value=word, timestamp=at)
    worker = await kit.run_until(again, kit.count(f"{name}-out", 8))
    told = [value.decode() for value in await kit.values(f"{name}-out") if value]
    assert told[:3] == ["a1/1", "b1/2", "a2/2"]
    assert told[3:] == ["c1/2", "b1/3", "a3/3", "a1/1", "old0/1"]
    assert worker.counts.late == 1
    last = {r.key: r.value for r in await kit.records(again.changelog("counts"))}
    assert last[TIME_ROW] == b"25900"
    assert last[b"a"] is not None


async def test_rows_of_another_declaration_are_refused(kit: Kit, name: str) -> None:
    app, words = counting(kit, name)
    await kit.admin.create_topics([NewTopic(words.name, 1), NewTopic(f"{name}-out", 1)])
    await words.send(key="k", value="a", timestamp=1.0)
    await kit.run_until(app, kit.count(f"{name}-out", 1))
    changed = kit.app(name)
    plain = changed.Table("counts", default=int)

    @changed.agent(changed.topic(words.name, key_type=str, value_type=str))
    async def count(stream: fs.Stream[str]) -> None:
        async for word in stream:
            plain[word] += 1

    with pytest.raises(fs.AppError, match="were written with ttl="):
        await fs.Worker(changed, kit.address).run()


async def test_changes_of_ordered_and_expiring_tables_are_told_by_key(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=int, value_type=int, partitions=1)
    out = app.topic(f"{name}-out", key_type=int, value_type=str, partitions=1)
    table = app.Table("t", key_type=int, value_type=int, ordered=True, ttl=10)

    @app.agent(words)
    async def keep(stream: fs.Stream[int]) -> None:
        async for key, value in stream.items():
            table[key] = value

    @app.agent(table.changes, sink=[out])
    async def tell(changes: fs.Stream[int | None]) -> AsyncIterator[str]:
        async for key, value in changes.items():
            yield f"{key}:{value}"

    await kit.admin.create_topics([NewTopic(words.name, 1), NewTopic(out.name, 1)])
    async with kit.running(app):
        for count, key in enumerate((7, -300), 1):
            await words.send(key=key, value=count, timestamp=1.0)
            await kit.until(kit.count(out.name, count))
    told = {(record.key, record.value) for record in await kit.records(out.name)}
    assert told == {(b"7", b"7:1"), (b"-300", b"-300:2")}
    other = app.Table("u", key_type=int, default=int)
    with pytest.raises(fs.AppError, match="ordered=True, or none"):
        app.join(table, other)
