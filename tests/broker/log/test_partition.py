"""Reading, rolling, timestamps, epochs and retention of one log."""

from __future__ import annotations

import pytest

from flowstream.broker.log import names
from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.epochs import LeaderEpochs
from flowstream.broker.log.partition import PartitionLog
from flowstream.broker.log.reading import EARLIEST, LATEST, MAX_TIMESTAMP
from flowstream.broker.log.segment import Segment
from flowstream.broker.types import Instant
from flowstream.wire.batch import iter_batches, read_header
from flowstream.wire.error_codes import ErrorCode
from tests.broker.log.stories import NOW, appended, batch_of, carry_out, new_log, reopen

SMALL = LogConfig(segment_bytes=1000, index_interval_bytes=200, retention_ms=-1)
SIZE = len(batch_of(value=bytes(100)))


def filled(batches: int = 20, config: LogConfig = SMALL) -> PartitionLog:
    _, log = new_log(config)
    for at in range(batches):
        appended(log, batch_of(value=b"%0100d" % at, timestamp=NOW + at))
    return log


def test_offsets_are_given_in_order_and_written_into_the_batch() -> None:
    _, log = new_log()
    log.lead(7)
    assert [appended(log, batch_of(count)).base_offset for count in (1, 3, 2)] == [0, 1, 4]
    found = [(h.base_offset, h.leader_epoch) for b in log.scan() for h in [read_header(b)]]
    assert found == [(0, 7), (1, 7), (4, 7)]
    assert log.log_end == log.high_watermark == 6


def test_nothing_is_read_before_it_is_durable() -> None:
    _, log = new_log()
    first = appended(log, batch_of(), durable=False)
    assert (log.log_end, log.high_watermark) == (1, 0)
    assert log.read(0, 1000).size == 0
    assert log.read(0, 1000, upto="log_end").size > 0
    carry_out(log, first.effects[1:])
    assert log.read(0, 1000).next_offset == 1


def test_reads_outside_the_log_are_out_of_range_and_at_its_end_empty() -> None:
    log = filled()
    carry_out(log, log.delete_before(5))
    assert log.read(4, 1).error == ErrorCode.OFFSET_OUT_OF_RANGE
    assert log.read(21, 1).error == ErrorCode.OFFSET_OUT_OF_RANGE
    assert (log.read(20, 1).error, log.read(20, 1).size) == (0, 0)
    assert log.read(5, 1).size == SIZE


@pytest.mark.parametrize("clean", [None, True, False])
def test_L5_every_offset_and_size_gives_whole_batches(clean: bool | None) -> None:
    log = filled()
    if clean is not None:
        log = reopen(log, clean=clean).log
    for offset in range(20):
        for limit in (0, 1, SIZE - 1, SIZE, SIZE + 1, 3 * SIZE, 5000):
            read = log.read(offset, limit)
            headers = [h for _, h in iter_batches(b"".join(read.buffers))]
            assert sum(h.size for h in headers) == read.size
            assert headers[0].base_offset == offset
            assert len(headers) == 1 or read.size <= limit
            assert read.next_offset == headers[-1].last_offset + 1
            empty = log.read(offset, limit, min_one=False)
            assert empty.size == (read.size if limit >= SIZE else 0)


def test_segments_roll_by_size_and_name_the_offset_they_begin_with() -> None:
    log = filled()
    per_segment = SMALL.segment_bytes // SIZE
    assert [s.base_offset for s in log.segments] == list(range(0, 20, per_segment))
    assert all(s.size <= SMALL.segment_bytes for s in log.segments)


def test_segments_roll_by_the_time_of_records_or_by_the_clock_without_them() -> None:
    _, log = new_log(LogConfig(segment_ms=1000))
    for timestamp in (NOW - 5000, NOW - 4000, NOW - 3999, NOW - 2000):
        appended(log, batch_of(timestamp=timestamp))
    assert [s.base_offset for s in log.segments] == [0, 2, 3]
    _, log = new_log(LogConfig(segment_ms=1000))
    for elapsed in (0, 1000, 1001):
        appended(log, batch_of(timestamp=-1), Instant(NOW + elapsed))
    assert [s.base_offset for s in log.segments] == [0, 2]


def test_segments_roll_earlier_by_a_jitter_of_their_own() -> None:
    _, log = new_log(LogConfig(segment_ms=1000, segment_jitter_ms=5000))
    for at in range(40):
        appended(log, batch_of(timestamp=NOW + 100 * at))
    ages = [
        b.base_offset - a.base_offset for a, b in zip(log.segments, log.segments[1:], strict=False)
    ]
    assert all(1 <= age <= 11 for age in ages)
    assert len(set(ages)) > 2
    again = Segment(log.storage, log.directory, 0, NOW, log.config)
    assert again.jitter == log.segments[0].jitter


def test_segments_roll_when_an_index_is_full() -> None:
    _, log = new_log(LogConfig(segment_index_bytes=36, index_interval_bytes=0))
    for at in range(8):
        appended(log, batch_of(timestamp=NOW + at))
    assert [s.base_offset for s in log.segments] == [0, 3, 6]


def test_timestamps_lead_to_offsets() -> None:
    log = filled()
    for at in range(20):
        found = log.offset_for_timestamp(NOW + at)
        assert found is not None
        assert (found.timestamp, found.offset) == (NOW + at, at)
    assert log.offset_for_timestamp(NOW + 20) is None
    carry_out(log, log.delete_before(8))
    found = log.offset_for_timestamp(0)
    assert found is not None
    assert found.offset == 8
    special = {t: log.offset_for_timestamp(t) for t in (LATEST, EARLIEST, MAX_TIMESTAMP)}
    assert {t: place.offset if place else None for t, place in special.items()} == {
        LATEST: 20,
        EARLIEST: 8,
        MAX_TIMESTAMP: 19,
    }


def test_an_empty_log_knows_no_timestamp() -> None:
    _, log = new_log()
    assert log.offset_for_timestamp(0) is None
    assert log.offset_for_timestamp(MAX_TIMESTAMP) is None
    assert (log.log_start, log.last_stable, log.high_watermark, log.log_end) == (0, 0, 0, 0)


def test_L8_the_log_start_only_moves_forward_and_takes_whole_segments_along() -> None:
    log = filled()
    carry_out(log, log.delete_before(12))
    assert (log.log_start, log.segments[0].base_offset) == (12, 10)
    assert log.delete_before(3) == []
    assert log.log_start == 12
    carry_out(log, log.delete_before(100))
    assert (log.log_start, log.log_end) == (20, 20)
    kept = [n for n in log.storage.names(log.directory) if n.endswith(names.LOG)]
    assert kept == ["00000000000000000015.log"]
    assert reopen(log, clean=False, log_start=20).log.log_start == 20


def test_retention_by_time_deletes_what_is_old_even_the_active_segment() -> None:
    log = filled(20, LogConfig(segment_bytes=1000, retention_ms=1000))
    log.tick(Instant(NOW + 1000))
    assert log.log_start == 0
    carry_out(log, log.tick(Instant(NOW + 1005)))
    assert log.log_start == 5
    carry_out(log, log.tick(Instant(NOW + 5000)))
    assert (log.log_start, log.log_end, log.size) == (20, 20, 0)
    assert appended(log, batch_of()).base_offset == 20
    assert reopen(log, clean=False).log.log_start == 20


def test_X3_retention_does_not_wait_for_a_time_that_the_topic_would_not_take() -> None:
    """The clock was set back while the broker was down: what it took before seems to be of days to
    come, and all behind it would stay with it. An hour to come is fine."""
    config = LogConfig(segment_bytes=1000, retention_ms=1000)
    early, hour = Instant(NOW - 10**9), 3_600_000
    log = filled(10, config)
    appended(log, batch_of(value=bytes(100), timestamp=early + hour))
    log = reopen(log, clean=True, now=early).log
    carry_out(log, log.tick(Instant(early + 1000)))
    assert log.log_start == 0
    carry_out(log, log.tick(Instant(early + 1001)))
    assert log.log_start == 10


def test_L7_a_segment_of_a_clock_that_was_set_back_since_has_an_end() -> None:
    """It would be the active one, which is never compacted, for as long as that was."""
    log = filled(1, LogConfig(segment_ms=1000))
    early = Instant(NOW - 10**9)
    log = reopen(log, clean=True, now=early).log
    appended(log, batch_of(timestamp=early + 1000), Instant(early + 1000))
    assert len(log.segments) == 1
    appended(log, batch_of(timestamp=early + 1001), Instant(early + 1001))
    assert len(log.segments) == 2


def test_retention_by_size_keeps_at_least_so_many_bytes() -> None:
    config = LogConfig(segment_bytes=1000, retention_ms=-1, retention_bytes=2 * 5 * SIZE + 1)
    log = filled(20, config)
    carry_out(log, log.tick(NOW))
    assert log.log_start == 5
    assert log.size >= config.retention_bytes


def test_X4_retention_takes_some_segments_at_a_time_until_all_are_gone() -> None:
    log = filled(200, LogConfig(segment_bytes=1000, retention_ms=1000))
    lengths, later = [len(log.segments)], Instant(NOW + 10_000)
    while effects := log.tick(later):
        carry_out(log, effects)
        lengths.append(len(log.segments))
    assert lengths == [40, 24, 8, 1]
    assert (log.log_start, log.log_end, log.size) == (200, 200, 0)
    assert reopen(log, clean=False).log.log_start == 200


def test_retention_takes_the_bytes_of_a_segment_whose_records_were_all_deleted() -> None:
    log = filled(3, LogConfig(retention_ms=1000))
    carry_out(log, log.delete_before(3))
    assert (log.log_start, log.size) == (3, 3 * SIZE)
    carry_out(log, log.tick(Instant(NOW + 10_000)))
    assert (log.log_start, log.log_end, log.size) == (3, 3, 0)
    assert log.tick(Instant(NOW + 10_000)) == []
    assert appended(log, batch_of()).base_offset == 3


def test_retention_leaves_compacted_topics_and_what_is_not_durable_alone() -> None:
    log = filled(20, LogConfig(segment_bytes=1000, retention_ms=1, delete=False, compact=True))
    assert log.tick(Instant(NOW + 10**9)) == []
    _, log = new_log(LogConfig(segment_bytes=1000, retention_ms=1))
    for _ in range(20):
        appended(log, batch_of(value=bytes(100)), durable=False)
    assert log.tick(Instant(NOW + 10**9)) == []


def test_leader_epochs_answer_where_they_end() -> None:
    epochs = LeaderEpochs([(0, 0), (2, 10), (5, 20)])
    ends = {epoch: epochs.end_of(epoch, 30) for epoch in (-1, 0, 1, 2, 4, 5, 6)}
    assert ends == {
        -1: (-1, -1),
        0: (0, 10),
        1: (0, 10),
        2: (2, 20),
        4: (2, 20),
        5: (5, 30),
        6: (-1, -1),
    }
    assert not epochs.assign(5, 25)
    assert epochs.assign(6, 20)
    assert epochs.entries == [(0, 0), (2, 10), (6, 20)]
    assert epochs.cut_start(12)
    assert epochs.entries == [(2, 12), (6, 20)]
    assert epochs.cut_end(20)
    assert epochs.entries == [(2, 12)]
