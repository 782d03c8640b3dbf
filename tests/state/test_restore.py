"""S4: restores over every kind of changelog end, in every order of truth."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowstream.state.changelog import changelog_configs, changelog_topic, fold
from flowstream.state.memory import MemoryStore
from flowstream.state.restore import Chunk, Rebuild, Refuse, RestorePlan, plan
from flowstream.state.store import StoreError


class Entry(NamedTuple):
    """One offset of a changelog: a record, or a marker without key."""

    offset: int
    key: bytes | None
    value: bytes | None
    committed: bool = True


@dataclass
class Log:
    """A changelog partition as its broker has it."""

    entries: list[Entry] = field(default_factory=list)
    start: int = 0
    end: int = 0

    def transaction(self, rows: list[tuple[bytes, bytes | None]], *, commit: bool) -> None:
        for key, value in rows:
            self.entries.append(Entry(self.end, key, value, commit))
            self.end += 1
        self.entries.append(Entry(self.end, None, None))
        self.end += 1

    def compact(self, rng: random.Random, *, below: int, tombstones: bool) -> None:
        """Drop what may be dropped below an offset, each or not; the last entry always stays."""
        last: dict[bytes, int] = {e.key: e.offset for e in self.entries if e.key and e.committed}

        def stays(entry: Entry) -> bool:
            if entry.offset >= below or entry.offset == self.end - 1:
                return True
            if entry.key is None or not entry.committed:
                return rng.random() < 0.5
            if last[entry.key] != entry.offset:
                return rng.random() < 0.5
            return entry.value is not None or not tombstones

        self.entries = [entry for entry in self.entries if stays(entry)]

    def read(self, position: int, rng: random.Random) -> tuple[list[Entry], int]:
        """Some visible records from `position`, and the position after them."""
        ahead = [entry for entry in self.entries if entry.offset >= position]
        taken = ahead[: rng.randint(1, 4)]
        position = taken[-1].offset + 1 if taken else position
        return [entry for entry in taken if entry.key and entry.committed], position

    def table(self) -> dict[bytes, bytes]:
        folded = fold(entry for entry in self.entries if entry.key and entry.committed)
        return {key: value for key, value in folded.items() if value is not None}


def carry_out(
    log: Log, store: MemoryStore, rng: random.Random, decided: RestorePlan
) -> RestorePlan:
    """What the worker does with a plan; may crash in between."""
    position = decided.start
    chunk = Chunk(rows=3)
    while not decided.done(position):
        records, moved = log.read(position, rng)
        assert moved > position, "a reader below the high watermark always gets on"
        position = moved
        chunk.add(records, 1)
        if chunk.full:
            store.write(chunk.take(), changelog_offset=position)
            if rng.random() < 0.2:
                store.crash()
                found = plan(store.changelog_offset, log.start, log.end)
                assert isinstance(found, RestorePlan)
                return carry_out(log, store, rng, found)
    store.write(chunk.take(), changelog_offset=position)
    return decided


ROWS = st.lists(
    st.tuples(st.sampled_from([b"a", b"b", b"c", b"d"]), st.none() | st.binary(max_size=2)),
    max_size=5,
)
TRANSACTIONS = st.lists(st.tuples(ROWS, st.booleans()), max_size=8)


@given(TRANSACTIONS, TRANSACTIONS, st.integers(0, 2**32), st.booleans())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_S4_S10_restored_equals_rebuilt_equals_the_fold(
    before: list[tuple[list[tuple[bytes, bytes | None]], bool]],
    after: list[tuple[list[tuple[bytes, bytes | None]], bool]],
    seed: int,
    compacted_first: bool,
) -> None:
    rng = random.Random(seed)
    log = Log()
    for rows, commit in before:
        log.transaction(rows, commit=commit)
    store = MemoryStore(flush_every=2)
    if compacted_first:
        log.compact(rng, below=log.end, tombstones=True)
    first = plan(None, log.start, log.end)
    assert isinstance(first, RestorePlan)
    carry_out(log, store, rng, first)
    assert dict(store.scan()) == log.table()
    for rows, commit in after:
        log.transaction(rows, commit=commit)
    table = log.table()
    # Tombstones that the store has not seen stay: it was away less than the retention.
    log.compact(rng, below=rng.randint(0, log.end), tombstones=False)
    second = plan(store.changelog_offset, log.start, log.end, missed_ms=0, delete_retention_ms=1)
    assert isinstance(second, RestorePlan)
    carry_out(log, store, rng, second)
    again = plan(store.changelog_offset, log.start, log.end)
    assert again == RestorePlan(log.end, log.end), "S2: restoring twice is restoring once"
    rebuilt = MemoryStore()
    carry_out(log, rebuilt, rng, RestorePlan(log.start, log.end))
    assert dict(store.scan()) == dict(rebuilt.scan()) == table == log.table()


@given(st.integers(0, 50), st.integers(0, 50), st.none() | st.integers(0, 60))
def test_a_plan_never_skips_and_never_goes_past_the_end(
    log_start: int, length: int, stored: int | None
) -> None:
    end = log_start + length
    found = plan(stored, log_start, end)
    if isinstance(found, Refuse):
        assert stored is not None
        assert stored > end
        return
    if isinstance(found, Rebuild):
        assert stored is not None
        assert stored < log_start
        found = found.plan
        assert found.start == log_start
    elif stored is not None:
        assert found.start == stored
    assert (found.end, found.done(found.end)) == (end, True)
    assert found.done(found.start) == (found.start >= end)


@pytest.mark.parametrize(("start", "end"), [(0, 0), (0, 1), (5, 5)])
def test_an_empty_or_single_changelog_is_a_plan(start: int, end: int) -> None:
    assert plan(None, start, end) == RestorePlan(start, end)


def test_a_cut_changelog_is_refused_with_the_remedy() -> None:
    found = plan(10, 0, 9)
    assert isinstance(found, Refuse)
    assert "delete the store's directory" in found.reason
    assert plan(10, 0, 10) == RestorePlan(10, 10)


def test_a_store_that_missed_tombstones_is_rebuilt() -> None:
    found = plan(5, 2, 9, missed_ms=1_000, delete_retention_ms=1_000)
    assert isinstance(found, Rebuild)
    assert found.plan == RestorePlan(2, 9)
    assert "1000 ms" in found.reason
    assert plan(9, 2, 9, missed_ms=5_000, delete_retention_ms=1_000) == RestorePlan(9, 9)
    assert plan(5, 2, 9, missed_ms=999, delete_retention_ms=1_000) == RestorePlan(5, 9)


def test_a_changelog_that_lost_its_start_means_rebuild() -> None:
    found = plan(3, 4, 9)
    assert isinstance(found, Rebuild)
    assert "starts at offset 4" in found.reason


def test_X3_a_chunk_holds_last_values_and_ends_by_rows_or_bytes() -> None:
    chunk = Chunk(rows=2, size=100)
    chunk.add([Entry(0, b"b", b"1"), Entry(1, b"b", b"2")], 99)
    assert not chunk.full
    chunk.add([Entry(2, b"a", b"2"), Entry(3, b"b", None)], 0)
    assert chunk.full
    assert list(chunk.take().items()) == [(b"a", b"2"), (b"b", None)], "in key order"
    assert chunk.take() == {}
    chunk.add([Entry(0, b"b", b"1")], 100)
    assert chunk.full


def test_records_without_key_are_no_changelog() -> None:
    with pytest.raises(StoreError, match="not a changelog"):
        fold([Entry(0, None, b"x")])


def test_names_and_settings() -> None:
    assert changelog_topic("fraud", "cards") == "fraud-cards-changelog"
    assert changelog_configs({"segment.ms": "1"})["cleanup.policy"] == "compact"
