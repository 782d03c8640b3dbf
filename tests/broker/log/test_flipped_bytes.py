"""D6: a changed byte in what an earlier process left is noticed or harmless, never served as if
nothing had happened. Index entries, base offsets, lengths and magics have no CRC.
"""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import pytest

from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.partition import PartitionLog
from flowstream.broker.log.reading import MAX_TIMESTAMP
from flowstream.broker.log.recovery import open_log
from flowstream.broker.storage.memory import MemoryStorage
from flowstream.errors import CorruptLog
from flowstream.wire.batch_header import iter_batches
from tests.broker.log.stories import NAME, NOW, TOPIC_ID, appended, batch_of, carry_out, new_log

RECORDS = 40
CONFIG = LogConfig(segment_bytes=1500, index_interval_bytes=100)
BATCH = 70


@cache
def stopped_cleanly() -> MemoryStorage:
    storage, log = new_log(CONFIG)
    for number in range(RECORDS):
        appended(log, batch_of(timestamp=NOW + number))
    assert len(log.segments) == 2
    assert log.active.size % BATCH == 0
    storage.sync(storage.perform(log.close_clean(NOW)))
    return storage


def opened(storage: MemoryStorage) -> PartitionLog:
    found = open_log(
        storage, NAME, TOPIC_ID, CONFIG, NOW, clean=True, recovery_point=RECORDS, log_start=0
    )
    storage.perform(found.operations)
    return found.log


def read_from(log: PartitionLog, start: int) -> list[int] | None:
    """Offsets that a consumer gets from `start` on; None when it is told of an error. An answer
    without records below the end would leave it waiting for ever.
    """
    log.cursors.clear()
    offsets: list[int] = []
    while start < RECORDS:
        read = log.read(start, 150)
        if read.error:
            return None
        assert read.size, f"nothing at {start}"
        for buffer in read.buffers:
            offsets += [header.base_offset for _, header in iter_batches(buffer)]
        start = read.next_offset
    return offsets


def judge(name: str, position: int) -> bool:
    """Flip one byte; whether everything still reads as it was written, False when it is noticed."""
    storage = deepcopy(stopped_cleanly())
    storage.flip(f"{NAME}/{name}", position)
    where = f"{name} byte {position}"
    try:
        log = opened(storage)
        for start in range(0, RECORDS, 6):
            offsets = read_from(log, start)
            if offsets is None:
                return False
            assert offsets == list(range(start, RECORDS)), where
        for number in range(0, RECORDS, 6):
            found = log.offset_for_timestamp(NOW + number)
            assert found is not None, where
            assert found.offset == number, where
        largest = log.offset_for_timestamp(MAX_TIMESTAMP)
        assert largest is not None, where
        assert largest.offset == RECORDS - 1, where
        assert [header.base_offset for b in log.scan() for _, header in iter_batches(b)] == list(
            range(RECORDS)
        ), where
    except CorruptLog:
        return False
    return True


@pytest.mark.parametrize("suffix", ["index", "timeindex"])
def test_D6_a_flipped_byte_of_an_index_costs_time_and_nothing_else(suffix: str) -> None:
    for name in [n for n in stopped_cleanly().names(str(NAME)) if n.endswith(f".{suffix}")]:
        size = stopped_cleanly().size(f"{NAME}/{name}") or 0
        assert size
        for position in range(size):
            assert judge(name, position), f"{name} byte {position}"


@pytest.mark.parametrize("at", [0, 7, 8, 9, 10, 11, 16, 17, 23, 26, 57, 60, 65])
def test_D6_a_flipped_byte_of_a_batch_is_noticed(at: int) -> None:
    """Offset, length, magic, CRC, attributes, offset delta, count, record: in every third batch."""
    for name in [n for n in stopped_cleanly().names(str(NAME)) if n.endswith(".log")]:
        size = stopped_cleanly().size(f"{NAME}/{name}") or 0
        for position in range(at, size, 3 * BATCH):
            assert not judge(name, position), f"{name} byte {position}"


def with_aborted_transactions() -> tuple[MemoryStorage, PartitionLog]:
    """Two producers; the first aborts twice, the second once, their transactions interleaved."""
    storage, log = new_log(CONFIG)
    for sequence in range(2):
        for producer_id in (7, 8):
            if sequence == 0 or producer_id == 7:
                producer = (producer_id, 0, sequence)
                appended(log, batch_of(producer=producer, transactional=True))
        appended(log, batch_of())
        carry_out(log, log.append_marker(7, 0, False, 0, NOW).effects)
    carry_out(log, log.append_marker(8, 0, False, 0, NOW).effects)
    appended(log, batch_of())
    storage.sync(storage.perform(log.close_clean(NOW)))
    return storage, log


def test_T8_D6_a_flipped_byte_of_the_aborted_index_never_shows_aborted_records() -> None:
    storage, log = with_aborted_transactions()
    end = log.log_end
    truth = set(log.read(0, 1 << 20, committed_only=True).aborted or ())
    assert len(truth) == 3
    path = log.active.file(".txnindex")
    noticed = 0
    for position in range(storage.size(path) or 0):
        changed = deepcopy(storage)
        changed.flip(path, position)
        opened = open_log(
            changed, NAME, TOPIC_ID, CONFIG, NOW, clean=True, recovery_point=end, log_start=0
        )
        read = opened.log.read(0, 1 << 20, committed_only=True)
        noticed += read.error != 0
        assert read.error or set(read.aborted or ()) == truth, f"byte {position}"
    assert noticed > 50
