"""Stories of markers and segments; then random transactions, aborted data, tombstones and segment
sizes: the same view before and after cleanings, after a restart and a crash at every operation.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest

from flowstream.broker.log.cleaner import Cleaning, groups, plan
from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.index import OffsetIndex, TimeIndex
from flowstream.broker.log.partition import PartitionLog
from flowstream.broker.storage.memory import Crashed
from flowstream.broker.types import Instant
from flowstream.wire.batch import encode_batch, read_header
from tests.broker.log.compacted import RETENTION_MS, Compacted, read_all
from tests.broker.log.stories import NOW, appended, end, new_log

CONFIG = LogConfig(segment_ms=50, compact=True, delete=False, delete_retention_ms=RETENTION_MS)


def put(log: PartitionLog, at: int, key: bytes, value: bytes | None, transaction: int = -1) -> None:
    """One record of the time `at` after NOW; more than 50 apart begin a segment each."""
    producer = None
    if transaction >= 0:
        known = log.producers.by_id.get(transaction)
        producer = (transaction, 0, 0 if known is None else known.next_sequence)
    batch = encode_batch(
        [(NOW + at, key, value, ())],
        producer_id=-1 if producer is None else producer[0],
        producer_epoch=-1 if producer is None else producer[1],
        base_sequence=-1 if producer is None else producer[2],
        transactional=producer is not None,
    )
    appended(log, memoryview(batch), Instant(NOW + at))


def clean(log: PartitionLog, at: int) -> list[int]:
    """Clean the log at a time after NOW; the base offsets of the batches that stay."""
    now = Instant(NOW + at)
    found = plan(log, now)
    if found is not None:
        cleaning = Cleaning(log, found, now, keys=100, flush=True)
        while (operations := cleaning.step()) is not None:
            log.storage.sync(log.storage.perform(operations))
        log.clean_end = cleaning.end or 0
    return [read_header(batch).base_offset for batch in log.scan()]


def test_X3_the_horizon_of_a_clock_that_was_set_back_counts_anew() -> None:
    """Of a tombstone, and of a marker without data."""
    _, log = new_log(CONFIG)
    put(log, 0, b"b", b"1", transaction=7)
    end(log, 7, 0, commit=True)
    del log.producers.by_id[7]
    put(log, 100, b"b", b"2")
    put(log, 200, b"c", b"1")
    clean(log, 300)  # the marker's data goes
    put(log, 300, b"a", None)
    put(log, 400, b"d", b"0")
    clean(log, 10**12)
    put(log, 500, b"d", b"1")
    ahead = [h.base_offset for b in log.scan() if (h := read_header(b)).has_delete_horizon]
    assert ahead == [1, 4]
    clean(log, 1_000)
    put(log, 600, b"d", b"2")
    assert set(ahead) <= set(clean(log, 1_000 + RETENTION_MS - 1))
    put(log, 700, b"d", b"3")
    assert not set(ahead) & set(clean(log, 1_000 + RETENTION_MS))


def test_C1_a_marker_stays_with_its_data_and_then_for_the_horizon() -> None:
    """KAFKA-8351, KAFKA-14055: a marker that goes too early leaves a transaction without an end."""
    _, log = new_log(CONFIG)
    put(log, 0, b"a", b"1", transaction=7)
    end(log, 7, 0, commit=True)
    put(log, 100, b"b", b"2")
    put(log, 200, b"c", b"3")
    assert clean(log, 300) == [0, 1, 2, 3]
    assert not any(read_header(batch).has_delete_horizon for batch in log.scan())
    del log.producers.by_id[7]  # it expired: its last batch need not stay
    put(log, 10_000, b"c", b"3")
    put(log, 10_100, b"d", b"4")
    assert clean(log, 20_000) == [0, 1, 2, 4, 5], "the data is there, however old"
    put(log, 20_000, b"a", b"5")
    put(log, 20_100, b"d", b"6")
    assert clean(log, 30_000) == [1, 2, 4, 5, 6, 7], "its data goes with this cleaning"
    put(log, 30_000, b"d", b"7")
    put(log, 30_100, b"d", b"8")
    assert clean(log, 40_000) == [1, 2, 4, 6, 8, 9], "nothing is left: the horizon begins"
    marker = read_header(next(iter(log.scan())))
    assert (marker.is_control, marker.base_timestamp) == (True, NOW + 40_000 + RETENTION_MS)
    put(log, 40_000, b"d", b"9")
    put(log, 40_100, b"d", b"10")
    assert clean(log, 40_000 + RETENTION_MS - 1) == [1, 2, 4, 6, 10, 11]
    put(log, 50_000, b"d", b"11")
    put(log, 50_100, b"d", b"12")
    assert clean(log, 50_200) == [2, 4, 6, 12, 13]


def test_C1_aborted_data_goes_at_once_and_nothing_undecided_is_touched() -> None:
    """KAFKA-13727: the last stable offset bounds the cleaning."""
    _, log = new_log(CONFIG)
    put(log, 0, b"a", b"1")
    put(log, 100, b"a", b"2", transaction=7)
    put(log, 200, b"b", b"3")
    put(log, 300, b"b", b"4")
    assert clean(log, 400) == [0, 1, 2, 3], "nothing below the open transaction is superseded"
    end(log, 7, 0, commit=False)
    put(log, 500, b"c", b"5")
    put(log, 600, b"c", b"6")
    assert clean(log, 700) == [0, 1, 3, 4, 5, 6], "b=3 is superseded, a=2 is empty"
    assert [record.value for record in read_all(log, 1 << 20)] == [b"1", b"4", b"5", b"6"]


def test_small_segments_become_one_as_far_as_a_segment_may_grow() -> None:
    _, log = new_log(replace(CONFIG, segment_bytes=1000))
    for at in range(30):
        put(log, 100 * at, b"k%d" % at, bytes(50))
    assert len(log.segments) == 30
    grouped = groups(log, log.active.base_offset)
    assert sum(len(group) for group in grouped) == 29
    assert all(sum(segment.size for segment in group) <= 1000 for group in grouped)
    clean(log, 5_000)
    assert [segment.base_offset for segment in log.segments[:-1]] == [
        g[0].base_offset for g in grouped
    ]
    assert plan(log, Instant(NOW + 5_000)) is None, "all of it is clean"


def test_a_cleaning_that_changes_nothing_writes_nothing() -> None:
    storage, log = new_log(replace(CONFIG, segment_bytes=200))
    for at in range(10):
        put(log, 100 * at, b"k%d" % at, bytes(100))
    before = storage.operations
    clean(log, 5_000)
    assert storage.operations == before
    assert log.clean_end == 9


@pytest.mark.parametrize("seed", range(10))
def test_C1_L7_a_reader_sees_the_same_before_and_after_cleaning(seed: int) -> None:
    log = Compacted(seed)
    for _ in range(6):
        log.live(60)
        log.check()
        keys = log.rng.choice([2, 3, 1000])
        log.clean_all(keys)
        log.check()
        log.check_clean()
    assert log.cleanings > 3


@pytest.mark.parametrize("seed", range(50, 60))
def test_L8_records_are_deleted_while_a_cleaning_goes_on(seed: int) -> None:
    log = Compacted(seed)
    log.deletes = True
    for turn in range(6):
        log.live(60)
        log.clean_all()
        log.check()
        if turn % 2:
            log.recover(clean=turn % 3 == 0)
            log.check()


@pytest.mark.parametrize("seed", range(100, 106))
def test_P3_producers_are_the_same_after_cleaning_and_recovery(seed: int) -> None:
    log = Compacted(seed)
    for turn in range(5):
        log.live(60)
        log.clean()
        before = log.producers()
        log.recover(clean=turn % 2 == 0)
        assert log.producers() == before
        log.check()


def copied(log: Compacted) -> Compacted:
    """The same life once more; compiled formats are not copied."""
    shared = (OffsetIndex.ENTRY, TimeIndex.ENTRY)
    return deepcopy(log, {id(each): each for each in shared})


@pytest.mark.parametrize("seed", range(200, 202))
def test_D5_a_crash_at_every_operation_of_a_cleaning_loses_no_record(seed: int) -> None:
    prepared = Compacted(seed)
    prepared.slices = [2000]
    prepared.live(30)
    prepared.clean()
    prepared.live(30)
    first = prepared.storage.operations
    log = copied(prepared)
    assert log.clean()
    total = log.storage.operations
    assert total - first > 20
    for operation in range(first, total):
        log = copied(prepared)
        log.storage.crash_at(operation)
        try:
            with pytest.raises(Crashed):
                log.clean()
            log.storage.crash(log.rng)
            log.recover()
            log.check()
            log.live(10)
            log.clean()
            log.check()
        except BaseException as error:
            error.add_note(f"seed {seed}, crash at operation {operation} of {first}..{total}")
            raise
