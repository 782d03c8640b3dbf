"""Idempotence and transactions in one partition."""

from __future__ import annotations

import random

import pytest

from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.partition import Accepted, Appended, Duplicate, PartitionLog, Refused
from flowstream.broker.log.producers import Producer
from flowstream.broker.log.snapshots import CorruptSnapshot, decode_snapshot, encode_snapshot
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from tests.broker.log.stories import (
    NOW,
    appended,
    batch_of,
    carry_out,
    end,
    new_log,
    refused,
    reopen,
    send,
)

OUT_OF_ORDER = ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


def with_batches(count: int) -> PartitionLog:
    """Producer 1 sent `count` batches of two records."""
    _, log = new_log()
    for at in range(count):
        appended(log, batch_of(2, producer=(1, 0, 2 * at)))
    return log


@pytest.mark.parametrize("back", range(5))
def test_P1_a_retry_of_the_last_five_gets_the_first_answer(back: int) -> None:
    log = with_batches(8)
    sequence = 14 - 2 * back
    result = send(log, batch_of(2, producer=(1, 0, sequence)))
    assert isinstance(result, Duplicate)
    assert (result.base_offset, result.last_offset) == (sequence, sequence + 1)
    assert log.log_end == 16


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("back", range(5))
def test_P1_also_after_a_restart(back: int, clean: bool) -> None:
    log = reopen(with_batches(8), clean=clean).log
    sequence = 14 - 2 * back
    result = send(log, batch_of(2, producer=(1, 0, sequence)))
    assert isinstance(result, Duplicate)
    assert result.base_offset == sequence
    assert appended(log, batch_of(producer=(1, 0, 16))).base_offset == 16


def test_P1_older_or_other_repetitions_are_out_of_order() -> None:
    log = with_batches(8)
    for count, sequence in ((2, 4), (1, 14), (3, 14), (2, 13), (1, 17), (1, 0)):
        assert refused(log, batch_of(count, producer=(1, 0, sequence))).error == OUT_OF_ORDER
    assert log.log_end == 16


def test_P1_a_retry_after_a_restart_of_what_retention_took_is_out_of_order_as_in_kafka() -> None:
    _, log = new_log(LogConfig(retention_ms=1000))
    for sequence in (0, 2, 4):
        appended(log, batch_of(2, producer=(1, 0, sequence)))
    carry_out(log, log.tick(Instant(NOW + 1001)))
    log = reopen(log, clean=False).log
    # The snapshot has the last batch; where the others were, nobody knows any more.
    assert isinstance(send(log, batch_of(2, producer=(1, 0, 4))), Duplicate)
    for sequence in (0, 2):
        again = refused(log, batch_of(2, producer=(1, 0, sequence)))
        assert again.error == OUT_OF_ORDER
    assert appended(log, batch_of(producer=(1, 0, 6))).base_offset == 6


def test_L2_what_was_never_written_is_no_duplicate() -> None:
    """A producer may begin at any sequence: what lies below may have been refused, and come again
    in smaller batches.
    """
    _, log = new_log()
    appended(log, batch_of(1, producer=(1, 0, 4)))
    for sequence in (0, 2):
        assert refused(log, batch_of(2, producer=(1, 0, sequence))).error == OUT_OF_ORDER


def test_P1_sequences_wrap_to_zero() -> None:
    _, log = new_log()
    last = 2**31 - 1
    appended(log, batch_of(2, producer=(1, 0, last - 2)))
    appended(log, batch_of(3, producer=(1, 0, last)))
    assert isinstance(send(log, batch_of(3, producer=(1, 0, last))), Duplicate)
    appended(log, batch_of(1, producer=(1, 0, 2)))


def test_an_old_epoch_is_fenced_and_a_new_one_begins_with_zero() -> None:
    _, log = new_log()
    appended(log, batch_of(producer=(1, 5, 0)))
    assert refused(log, batch_of(producer=(1, 4, 1))).error == ErrorCode.INVALID_PRODUCER_EPOCH
    assert refused(log, batch_of(producer=(1, 6, 1))).error == OUT_OF_ORDER
    appended(log, batch_of(producer=(1, 6, 0)))
    assert refused(log, batch_of(producer=(1, 5, 0))).error == ErrorCode.INVALID_PRODUCER_EPOCH
    assert log.producer_epoch(1) == 6
    assert log.producer_epoch(2) == -1


def test_KIP_360_an_unknown_producer_may_begin_anywhere_but_not_under_transactions_v2() -> None:
    _, log = new_log()
    appended(log, batch_of(producer=(1, 0, 500)))
    strict = log.admit(
        batch_of(producer=(2, 0, 500), transactional=True), NOW, strict_sequence=True
    )
    assert isinstance(strict, Refused)
    assert strict.error == OUT_OF_ORDER


def test_a_marker_alone_leaves_an_epoch_that_begins_with_zero() -> None:
    _, log = new_log()
    end(log, 1, 3, commit=True)
    assert refused(log, batch_of(producer=(1, 3, 4))).error == OUT_OF_ORDER
    appended(log, batch_of(producer=(1, 3, 0)))


def test_T1_a_transactional_batch_needs_a_confirmed_or_open_transaction() -> None:
    _, log = new_log()
    first = batch_of(producer=(1, 0, 0), transactional=True)
    result = log.admit(first, NOW, transaction_ok=False)
    assert isinstance(result, Refused)
    assert result.error == ErrorCode.INVALID_TXN_STATE
    assert not log.in_transaction(1, 0)
    appended(log, first)
    assert log.in_transaction(1, 0)
    assert not log.in_transaction(1, 1)
    second = batch_of(producer=(1, 0, 1), transactional=True)
    assert isinstance(log.admit(second, NOW, transaction_ok=False), Accepted)
    plain = refused(log, batch_of(producer=(1, 0, 1)))
    assert plain.error == ErrorCode.INVALID_TXN_STATE


def test_T2_a_late_batch_of_a_finished_transaction_is_fenced_by_the_bumped_epoch() -> None:
    _, log = new_log()
    appended(log, batch_of(producer=(1, 0, 0), transactional=True))
    end(log, 1, 1, commit=False)
    late = refused(log, batch_of(producer=(1, 0, 1), transactional=True))
    assert late.error == ErrorCode.INVALID_PRODUCER_EPOCH
    assert log.last_stable == log.log_end == 2


def test_the_last_stable_offset_waits_for_the_oldest_transaction_and_its_durable_marker() -> None:
    _, log = new_log()
    appended(log, batch_of())
    appended(log, batch_of(producer=(1, 0, 0), transactional=True))
    appended(log, batch_of(producer=(2, 0, 0), transactional=True))
    assert (log.last_stable, log.open_transactions) == (1, {1: (0, 1), 2: (0, 2)})
    marker = log.append_marker(1, 0, True, 0, NOW)
    assert (log.last_stable, log.high_watermark) == (1, 3)
    carry_out(log, marker.effects)
    assert (log.last_stable, log.high_watermark) == (2, 4)
    end(log, 2, 0, commit=False)
    assert log.last_stable == log.log_end == 5


def test_T6_readers_are_told_exactly_the_aborted_transactions_they_meet() -> None:
    _, log = new_log(LogConfig(segment_bytes=400))
    for at in range(6):
        appended(log, batch_of(value=bytes(60), producer=(1, at, 0), transactional=True))
        appended(log, batch_of(value=bytes(60)))
        end(log, 1, at, commit=at % 2 == 0)
    assert len(log.segments) > 3
    aborted = {3: 3, 9: 9, 15: 15}
    for offset in range(log.log_end):
        read = log.read(offset, 1, committed_only=True, upto="last_stable")
        expected = [(1, s) for s in aborted if s < read.next_offset and s + 2 >= offset]
        assert read.aborted == expected
    assert log.read(0, 1).aborted is None


def test_P2_a_producer_expires_by_arrival_not_by_its_records_time() -> None:
    _, log = new_log(LogConfig(retention_ms=-1, producer_expiration_ms=1000))
    appended(log, batch_of(timestamp=5, producer=(1, 0, 0)))
    appended(log, batch_of(producer=(2, 0, 0), transactional=True))
    log.tick(Instant(NOW + 1000))
    assert isinstance(send(log, batch_of(timestamp=5, producer=(1, 0, 0))), Duplicate)
    log.tick(Instant(NOW + 1001))
    assert log.producer_epoch(1) == -1
    assert log.in_transaction(2, 0)


def test_coordinators_write_in_a_producers_transaction() -> None:
    _, log = new_log()
    result = log.append_records([(b"k", b"v"), (b"k2", None)], NOW, producer=(4, 2))
    carry_out(log, result.effects)
    assert (result.base_offset, result.last_offset) == (0, 1)
    assert log.open_transactions == {4: (2, 0)}
    again = log.append_records([(b"k", b"w")], NOW, producer=(4, 2))
    assert isinstance(again, Appended)
    carry_out(log, again.effects)
    opened = reopen(log, clean=False)
    assert opened.log.open_transactions == {4: (2, 0)}


def test_snapshots_round_trip_in_kafkas_order() -> None:
    rng = random.Random(1)
    producers = []
    for producer_id in rng.sample(range(5000), 40):
        producer = Producer(producer_id, 3, NOW)
        if producer_id % 3:
            producer.remember((10, producer_id, 2, 99))
            producer.timestamp = 99
        producers.append(producer)
    data = encode_snapshot(producers)
    decoded = decode_snapshot(data, NOW)
    assert encode_snapshot(decoded) == data
    assert {p.producer_id for p in decoded} == {p.producer_id for p in producers}
    # 40 entries make Java's table 64 buckets wide.
    assert [p.producer_id % 64 for p in decoded] == sorted(p.producer_id % 64 for p in decoded)


def test_D6_any_changed_byte_of_a_snapshot_is_noticed() -> None:
    data = encode_snapshot([Producer(1, 0, NOW), Producer(2, 0, NOW)])
    for at in range(len(data)):
        bad = bytearray(data)
        bad[at] ^= 0x10
        with pytest.raises(CorruptSnapshot):
            decode_snapshot(bytes(bad), NOW)
    for size in range(len(data)):
        with pytest.raises(CorruptSnapshot):
            decode_snapshot(data[:size], NOW)
