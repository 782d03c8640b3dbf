"""Fetch: bounds in bytes, order of partitions, isolation, errors per partition."""

from __future__ import annotations

from typing import Any

import pytest

from flowstream.wire.batch import encode_batch, iter_batches
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from flowstream.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from flowstream.wire.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsTopic,
)
from tests.broker.machine import TIME, Machine

PARTITIONS = 3


@pytest.fixture
def machine() -> Machine:
    """A topic with ten records of 1000 bytes in each partition."""
    made = Machine()
    wanted = CreatableTopic(name="t", num_partitions=PARTITIONS, replication_factor=1)
    made.ask(CreateTopicsRequest(topics=(wanted,), timeout_ms=1000), 5)
    for number in range(PARTITIONS):
        for _ in range(10):
            made.produce("t", number, bytes(encode_batch([(TIME, None, b"x" * 1000, ())])))
    return made


def fetch(machine: Machine, *partitions: FetchPartition, **more: Any) -> Any:
    request = FetchRequest(
        **{"max_bytes": 1 << 24, **more},
        topics=(FetchTopic(topic="t", partitions=partitions),),
    )
    return machine.ask(request, 11)


def wanted(number: int = 0, offset: int = 0, most: int = 1 << 20, **more: Any) -> FetchPartition:
    return FetchPartition(partition=number, fetch_offset=offset, partition_max_bytes=most, **more)


def counts(answer: Any) -> list[int]:
    return [
        sum(1 for _ in iter_batches(memoryview(each.records)))
        for each in answer.responses[0].partitions
    ]


def test_L5_whole_batches_within_the_bound_of_a_partition(machine: Machine) -> None:
    assert counts(fetch(machine, wanted(most=3500))) == [3]


def test_the_first_batch_comes_even_when_it_is_too_large(machine: Machine) -> None:
    assert counts(fetch(machine, wanted(most=10), wanted(1, most=10))) == [1, 0]


def test_the_bound_of_the_answer_goes_over_partitions_in_their_order(machine: Machine) -> None:
    answer = fetch(machine, wanted(2), wanted(0), wanted(1), max_bytes=15_000)
    assert counts(answer) == [10, 4, 0] or counts(answer) == [10, 3, 0]


@pytest.mark.parametrize("offset", [-1, 11, 1 << 40])
def test_an_offset_out_of_range(machine: Machine, offset: int) -> None:
    (found,) = fetch(machine, wanted(offset=offset)).responses[0].partitions
    assert found.error_code == ErrorCode.OFFSET_OUT_OF_RANGE
    assert (found.high_watermark, found.log_start_offset) == (-1, -1), "as Kafka answers"


def test_the_end_is_empty_and_no_error(machine: Machine) -> None:
    (found,) = fetch(machine, wanted(offset=10)).responses[0].partitions
    assert (found.error_code, bytes(found.records)) == (0, b"")


@pytest.mark.parametrize(
    ("epoch", "error"),
    [(0, 0), (-1, 0), (1, ErrorCode.UNKNOWN_LEADER_EPOCH)],
)
def test_the_leader_epoch_of_the_reader_is_checked(
    machine: Machine, epoch: int, error: int
) -> None:
    (found,) = fetch(machine, wanted(current_leader_epoch=epoch)).responses[0].partitions
    assert found.error_code == error


@pytest.mark.parametrize(
    ("epoch", "offset", "error", "diverging"),
    [
        (-1, 10, 0, (-1, -1)),
        (0, 10, 0, (-1, -1)),
        (0, 11, 0, (0, 10)),
        (0, 999, 0, (0, 10)),
        (5, 3, ErrorCode.OFFSET_OUT_OF_RANGE, (-1, -1)),
    ],
)
def test_a_reader_learns_where_its_last_epoch_ended(
    machine: Machine, epoch: int, offset: int, error: int, diverging: tuple[int, int]
) -> None:
    place = wanted(offset=offset, last_fetched_epoch=epoch)
    topic = FetchTopic(topic="t", partitions=(place,))
    request = FetchRequest(max_bytes=1 << 24, max_wait_ms=0, min_bytes=0, topics=(topic,))
    (found,) = machine.ask(request, 12).responses[0].partitions
    told = (found.diverging_epoch.epoch, found.diverging_epoch.end_offset)
    assert (found.error_code, told) == (error, diverging)


def test_one_bad_partition_does_not_hide_the_others(machine: Machine) -> None:
    answer = fetch(machine, wanted(7), wanted(0), max_wait_ms=1000, min_bytes=1 << 30)
    bad, good = answer.responses[0].partitions
    assert bad.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert len(good.records) > 0


@pytest.mark.parametrize(
    ("timestamp", "version", "offset"),
    [(-1, 3, 10), (-2, 3, 0), (-3, 7, 0), (-4, 8, 0), (-5, 9, -1), (-6, 11, -1)],
)
def test_ListOffsets_special_timestamps(
    machine: Machine, timestamp: int, version: int, offset: int
) -> None:
    asked = ListOffsetsPartition(partition_index=0, timestamp=timestamp)
    topic = ListOffsetsTopic(name="t", partitions=(asked,))
    answer = machine.ask(ListOffsetsRequest(replica_id=-1, topics=(topic,)), version)
    (found,) = answer.topics[0].partitions
    assert (found.error_code, found.offset) == (0, offset)


@pytest.mark.parametrize(("timestamp", "version"), [(-7, 11), (-3, 6), (-6, 10), (-99, 1)])
def test_ListOffsets_refuses_special_timestamps_it_does_not_know(
    machine: Machine, timestamp: int, version: int
) -> None:
    asked = ListOffsetsPartition(partition_index=0, timestamp=timestamp)
    topic = ListOffsetsTopic(name="t", partitions=(asked,))
    answer = machine.ask(ListOffsetsRequest(replica_id=-1, topics=(topic,)), version)
    assert answer.topics[0].partitions[0].error_code == ErrorCode.UNSUPPORTED_VERSION


def test_ListOffsets_names_a_partition_once(machine: Machine) -> None:
    asked = ListOffsetsPartition(partition_index=0, timestamp=-1)
    topic = ListOffsetsTopic(name="t", partitions=(asked, asked))
    answer = machine.ask(ListOffsetsRequest(replica_id=-1, topics=(topic,)), 5)
    assert {each.error_code for each in answer.topics[0].partitions} == {ErrorCode.INVALID_REQUEST}
