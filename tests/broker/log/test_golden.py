"""What a real Kafka wrote is read right; what we write of the same batches is the same bytes."""

from __future__ import annotations

from itertools import product

import pytest

from flowstream.broker.log import names
from flowstream.broker.types import TopicPartition
from flowstream.wire.batch import decode_records, read_header
from tests.broker.log.golden import (
    METADATA,
    NOW,
    contents_of,
    dumped,
    files,
    open_golden,
    partitions,
    storage_of,
)

REBUILT = (names.INDEX, names.TIMEINDEX, names.TXNINDEX, names.SNAPSHOT)
PARTITIONS = [str(name) for name in partitions("clean")]


def named(directory: str) -> TopicPartition:
    topic, _, number = directory.rpartition("-")
    return TopicPartition(topic, int(number))


def clean_files(directory: str) -> dict[str, bytes]:
    prefix = directory + "/"
    found = files("clean")
    return {path.removeprefix(prefix): found[path] for path in found if path.startswith(prefix)}


def test_both_directories_hold_the_same_topics() -> None:
    assert len(PARTITIONS) == 24
    assert [str(name) for name in partitions("crashed")] == PARTITIONS


@pytest.mark.parametrize(
    ("state", "directory"),
    # Of the metadata log the dump knows only what the clean directory holds: it grew meanwhile.
    [("clean", str(METADATA)), *product(("clean", "crashed"), PARTITIONS)],
)
def test_batches_and_records_are_those_that_kafka_dumps(state: str, directory: str) -> None:
    storage = storage_of(files(state), directory)
    log = open_golden(storage, named(directory), clean=state == "clean", recovery_point=0).log
    expected = [
        batch
        for segment in log.segments
        for batch in dumped().get(segment.path, [])
        if batch.last_offset >= log.log_start
    ]
    found = [(read_header(batch), decode_records(batch)) for batch in log.scan()]
    assert len(found) == len(expected)
    for (header, records), batch in zip(found, expected, strict=True):
        assert (
            header.base_offset,
            header.last_offset,
            header.count,
            header.base_sequence,
            header.last_sequence,
            header.producer_id,
            header.producer_epoch,
            header.leader_epoch,
            header.is_transactional,
            header.is_control,
            header.max_timestamp,
            header.size,
            header.crc,
        ) == batch[:-1]
        assert [
            (r.offset, r.timestamp, _size(r.key), _size(r.value)) for r in records
        ] == batch.records


def _size(data: bytes | None) -> int:
    return -1 if data is None else len(data)


@pytest.mark.parametrize("directory", PARTITIONS)
def test_opening_and_closing_a_clean_directory_changes_no_byte(directory: str) -> None:
    storage = storage_of(files("clean"), directory)
    opened = open_golden(storage, named(directory), clean=True)
    storage.sync(storage.perform(opened.log.close_clean(NOW)))
    assert opened.report == []
    assert contents_of(storage, directory) == clean_files(directory)


@pytest.mark.parametrize("directory", PARTITIONS)
def test_P3_indexes_and_snapshots_rebuilt_from_the_segments_equal_kafkas(directory: str) -> None:
    bare = {p: data for p, data in files("clean").items() if not p.endswith(REBUILT)}
    storage = storage_of(bare, directory)
    opened = open_golden(storage, named(directory), clean=False, recovery_point=0)
    storage.sync(storage.perform(opened.log.close_clean(NOW)))
    assert contents_of(storage, directory) == clean_files(directory)


@pytest.mark.parametrize("directory", PARTITIONS)
def test_D5_the_crashed_directory_recovers_to_kafkas_bytes(directory: str) -> None:
    storage = storage_of(files("crashed"), directory)
    open_golden(storage, named(directory), clean=False)
    log = open_golden(storage, named(directory), clean=False).log
    # Kafka's leader took a new epoch when it started again.
    leader_epoch = clean_files(directory)[names.LEADER_EPOCHS].split(b"\n")[-2].split(b" ")[0]
    storage.perform(log.lead(int(leader_epoch)))
    storage.sync(storage.perform(log.close_clean(NOW)))
    assert contents_of(storage, directory) == clean_files(directory)


def test_the_open_transaction_holds_the_last_stable_offset() -> None:
    for state in ("clean", "crashed"):
        log = open_golden(
            storage_of(files(state), "tx-0"), TopicPartition("tx", 0), clean=False
        ).log
        assert log.open_transactions == {2: (0, 27)}
        assert (log.log_start, log.last_stable, log.high_watermark, log.log_end) == (
            0,
            27,
            530,
            530,
        )


def test_aborted_transactions_are_listed_as_in_the_txnindex() -> None:
    log = open_golden(storage_of(files("clean"), "tx-1"), TopicPartition("tx", 1), clean=True).log
    listed = [tuple(aborted) for segment in log.segments for aborted in segment.aborted]
    read = log.read(0, 1 << 20, committed_only=True, upto="last_stable")
    assert len(listed) == 2
    assert read.aborted is not None
    assert set(read.aborted) <= {(producer, first) for producer, first, _, _ in listed}


def test_the_log_start_of_deleted_records_is_kept() -> None:
    log = open_golden(
        storage_of(files("crashed"), "rolled-0"), TopicPartition("rolled", 0), clean=False
    ).log
    assert (log.log_start, log.log_end, len(log.segments)) == (100, 600, 3)
    assert log.read(99, 1).error != 0
    assert read_header(log.read(100, 1).buffers[0]).base_offset <= 100


@pytest.mark.parametrize("offset", [100, 259, 260, 400, 519, 520, 599])
def test_every_offset_of_a_rolled_log_is_found(offset: int) -> None:
    log = open_golden(
        storage_of(files("clean"), "rolled-0"), TopicPartition("rolled", 0), clean=True
    ).log
    read = log.read(offset, 1)
    (batch,) = read.buffers
    header = read_header(batch)
    assert header.base_offset <= offset <= header.last_offset
    assert read.next_offset == header.last_offset + 1


def test_timestamps_lead_to_the_first_record_that_is_not_older() -> None:
    log = open_golden(
        storage_of(files("clean"), "rolled-0"), TopicPartition("rolled", 0), clean=True
    ).log
    records = [r for batch in log.scan() for r in decode_records(batch) if r.offset >= 100]
    for wanted in (0, records[0].timestamp, records[250].timestamp, records[-1].timestamp):
        first = next(r for r in records if r.timestamp >= wanted)
        found = log.offset_for_timestamp(wanted)
        assert found is not None
        assert (found.timestamp, found.offset) == (first.timestamp, first.offset)
    assert log.offset_for_timestamp(records[-1].timestamp + 1) is None


def test_the_remembered_batches_are_read_back_behind_a_snapshot() -> None:
    """A `.snapshot` keeps one batch per producer; a retry across the restart may be the fifth."""
    log = open_golden(
        storage_of(files("clean"), "idempotent-0"), TopicPartition("idempotent", 0), clean=True
    ).log
    (producer,) = log.producers
    assert [(last, offset) for last, offset, _, _ in producer.batches] == [
        (159, 159), (169, 169), (179, 179), (189, 189), (199, 199),
    ]  # fmt: skip
