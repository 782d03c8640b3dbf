"""A batch that expands to far more than it is costs what the settings allow (X3)."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace as replace_config

import pytest

from flowstream.broker.log import cleaning as cleaning_of
from flowstream.broker.log import reading
from flowstream.broker.log.admission import check_client_batch
from flowstream.broker.log.cleaner import Cleaning, plan
from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.contents import NAMED, NAMED_MOST, READ_LEAST, Allowance, Refused
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.batch import BatchHeader, body_of, encode_batch, read_header
from flowstream.wire.batch_header import seal
from flowstream.wire.compression import compress
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from flowstream.wire.messages.produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    TopicProduceData,
)
from flowstream.wire.schema import replace
from tests.broker.log.stories import NOW, appended, new_log
from tests.broker.machine import TIME, Machine
from tests.fuzz.batches import BOMB_BYTES, CODECS, SMALLEST, packed_bomb, with_body

MIB = 1 << 20
TOPIC = CreatableTopic(name="t", num_partitions=1, replication_factor=1)
READING = {
    "another codec": LogConfig(codec=0),
    "compacted": LogConfig(compact=True),
    "read whole": LogConfig(full_validation=True),
    "too new": LogConfig(timestamp_after_max_ms=0),
    "too old": LogConfig(timestamp_before_max_ms=0),
}


def claiming(codec: int, count: int, stamp: int = TIME) -> bytes:
    """A bomb of the smallest records that says it has `count` of them."""
    batch = encode_batch([(TIME, b"k", b"", ())], codec=codec)
    struct.pack_into(">i", batch, 23, count - 1)
    struct.pack_into(">qq", batch, 27, stamp, stamp)
    struct.pack_into(">i", batch, 57, count)
    return with_body(batch, packed_bomb(codec, SMALLEST))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("config", READING.values(), ids=READING)
def test_X3_a_bomb_costs_what_the_settings_allow(config: LogConfig, codec: int) -> None:
    for count in (1, config.max_records, BOMB_BYTES // len(SMALLEST), 2**31 - 1):
        batch = memoryview(claiming(codec, count, TIME + 1))
        with traced(3 * config.max_expanded + MIB):
            refused = check_client_batch(batch, config, Instant(TIME))
        assert isinstance(refused, Refused)


def test_X3_more_records_than_fit_are_refused_so_that_their_producer_splits_them() -> None:
    config = LogConfig()
    for count, error in ((config.max_records, None), (config.max_records + 1, "MESSAGE_TOO_LARGE")):
        answer = check_client_batch(memoryview(claiming(4, count)), config, Instant(TIME))
        assert (answer.error.name if isinstance(answer, Refused) else None) == error


@pytest.mark.parametrize("codec", CODECS)
def test_X3_a_stored_bomb_costs_a_search_by_time_no_more(codec: int) -> None:
    machine = Machine()
    machine.ask(CreateTopicsRequest(topics=(TOPIC,)), 5)
    assert machine.produce("t", 0, claiming(codec, LogConfig().max_records)).error_code == 0
    log = machine.cores.logs.by_name[TopicPartition("t", 0)]
    with traced(3 * log.config.max_expanded + MIB):
        found = log.offset_for_timestamp(TIME)
    assert found is not None
    assert found.offset == 0


@contextmanager
def traced(allowed: int) -> Iterator[None]:
    """What happens inside takes no more memory."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < allowed
    finally:
        tracemalloc.stop()


def same_records(record: bytes, stamp: int = TIME, count: int = LogConfig().max_records) -> bytes:
    """As many records as a batch may have, all the same, so that they take two hundred bytes."""
    batch = encode_batch([(stamp, b"k", b"", ())], codec=4)
    struct.pack_into(">i", batch, 23, count - 1)
    struct.pack_into(">i", batch, 57, count)
    return with_body(batch, compress(4, record * count))


def send(machine: Machine, batches: Sequence[bytes]) -> list[PartitionProduceResponse]:
    """One request that has all of them for one partition; the answers."""
    data = tuple(PartitionProduceData(index=0, records=each) for each in batches)
    topics = (TopicProduceData(name="t", partition_data=data),)
    response = machine.ask(ProduceRequest(acks=-1, timeout_ms=1000, topic_data=topics), 9)
    return list(response.responses[0].partition_responses)


def test_X4_what_one_request_may_have_read_of_its_batches_is_bounded() -> None:
    machine = Machine()
    compacted = CreatableTopicConfig(name="cleanup.policy", value="compact")
    machine.ask(CreateTopicsRequest(topics=(replace(TOPIC, configs=(compacted,)),)), 5)
    keyed = b"\x0c\0\0\0\0\1\0"
    left = [same_records(keyed)] * 9
    rounds = 0
    while left:
        answers = send(machine, left)
        errors = [each.error_code for each in answers]
        taken = errors.count(ErrorCode.NONE)
        assert 1 <= taken <= 4
        assert errors == [0] * taken + [ErrorCode.NOT_ENOUGH_REPLICAS] * (len(left) - taken)
        left, rounds = left[taken:], rounds + 1
    assert rounds >= 3
    log = machine.cores.logs.by_name[TopicPartition("t", 0)]
    assert log.log_end == 9 * LogConfig().max_records
    assert send(machine, [same_records(keyed)])[0].error_code == 0


def test_X4_a_request_that_brings_more_may_have_more_read() -> None:
    small, large = Allowance(200), Allowance(10 << 20)
    batch = memoryview(same_records(SMALLEST))
    header, config = read_header(batch), LogConfig()
    read = [0, 0]
    for at, allowance in enumerate((small, large)):
        while not allowance.is_spent:
            allowance.body_of(batch, header, config.max_expanded)
            read[at] += 1
    assert (read[0] <= 4, read[1] >= 10) == (True, True)


def test_X3_refusals_name_a_bounded_number_of_records() -> None:
    machine = Machine()
    machine.ask(CreateTopicsRequest(topics=(TOPIC,)), 5)
    answers = send(machine, [same_records(SMALLEST, TIME + 10**8)] * 3)
    assert {each.error_code for each in answers} == {ErrorCode.INVALID_TIMESTAMP}
    assert [len(each.record_errors) for each in answers] == [NAMED_MOST] * 3
    few = bytes(encode_batch([(TIME + 10**8, b"k", b"v", ())] * NAMED_MOST))
    answers = send(machine, [few] * 100)
    assert {each.error_code for each in answers} == {ErrorCode.INVALID_TIMESTAMP}
    assert len(answers[0].record_errors) == NAMED_MOST
    named = sum(len(each.record_errors) for each in answers)
    assert NAMED_MOST < named <= 2 * READ_LEAST // NAMED


def test_X4_a_search_by_time_reads_one_batch_whose_header_lies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine()
    machine.ask(CreateTopicsRequest(topics=(TOPIC,)), 5)
    lying = bytearray(same_records(SMALLEST))
    struct.pack_into(">q", lying, 35, TIME + 1000)  # the largest timestamp
    seal(lying, 0, len(lying))
    for _ in range(3):
        assert machine.produce("t", 0, bytes(lying)).error_code == 0
    assert machine.produce("t", 0, batch_at(TIME + 2000)).error_code == 0
    read: list[int] = []

    def counted(batch: memoryview, header: BatchHeader, limit: int) -> bytes:
        read.append(len(batch))
        return body_of(batch, header, limit)

    monkeypatch.setattr(reading, "body_of", counted)
    log = machine.cores.logs.by_name[TopicPartition("t", 0)]
    for timestamp, offset in ((TIME + 500, 0), (TIME + 1500, log.log_end - 1)):
        read.clear()
        found = log.offset_for_timestamp(timestamp)
        assert found is not None
        assert (found.offset, len(read)) == (offset, 1)


def batch_at(timestamp: int) -> bytes:
    return bytes(encode_batch([(timestamp, b"k", b"v", ())]))


def test_X4_a_slice_of_a_cleaning_takes_one_batch_that_expands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, log = new_log(LogConfig(segment_ms=1000))
    expanding = same_records(b"\x0c\0\0\0\0\1\0", NOW, 3000)
    bomb = with_body(encode_batch([(NOW, b"k", b"", ())], codec=4), compress(4, bytes(4 * MIB)))
    for sent in [expanding] * 3 + [bomb] * 3:
        appended(log, memoryview(bytearray(sent)))
    for later in (5000, 10_000):
        appended(log, memoryview(encode_batch([(NOW + later, b"k", b"", ())])))
    log.config = replace_config(log.config, compact=True, delete=False)
    planned = plan(log, NOW)
    assert planned is not None
    cleaning = Cleaning(log, planned, NOW, keys=1000, flush=False)
    read: list[int] = []
    slices = []

    def counted(batch: memoryview, header: BatchHeader) -> bytes:
        read.append(len(batch))
        return body_of(batch, header)

    monkeypatch.setattr(cleaning_of, "body_of", counted)
    while (operations := cleaning.step()) is not None:
        log.storage.perform(operations)
        slices.append(len(read))
        read.clear()
    assert sum(slices) >= 12
    assert max(slices) <= 2
