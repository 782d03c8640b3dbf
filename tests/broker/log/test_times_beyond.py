"""Timestamps that 64 bits do not hold: a record's is its batch's and a difference, and a producer
may choose both. Java's clients wrap them; so does whatever reads records here. And a horizon that
is never reached.
"""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from flowstream.broker.log.config import LONG_MAX, LogConfig
from flowstream.broker.log.partition import PartitionLog
from flowstream.broker.types import Instant
from flowstream.wire.batch import check_crc, decode_records, encode_batch, read_header
from flowstream.wire.batch_header import HEADER_SIZE, seal
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.frame import encode_response
from flowstream.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from flowstream.wire.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsTopic,
)
from flowstream.wire.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from tests.broker.log.stories import NOW, appended, new_log, refused
from tests.broker.log.test_cleaning import clean, put
from tests.broker.machine import TIME, Machine, batch

BASE_TIMESTAMP_AT = 27
COMPACTED = LogConfig(segment_ms=50, compact=True, delete=False)


def beyond(base: int = LONG_MAX, last: int = 1, *, told: int = NOW, codec: int = 0) -> memoryview:
    """Two records of the times `base` and `base + last`, in a batch that tells of `told`."""
    made = encode_batch([(0, b"a", b"1", ()), (last, b"b", b"2", ())], codec=codec)
    struct.pack_into(">qq", made, BASE_TIMESTAMP_AT, base, told)
    seal(made, 0, len(made))
    return memoryview(made)


def test_they_are_read_as_java_reads_them() -> None:
    assert [r.timestamp for r in decode_records(beyond())] == [LONG_MAX, -LONG_MAX - 1]


@pytest.mark.parametrize(
    ("config", "codec"),
    [
        (LogConfig(codec=4), 0),
        (LogConfig(codec=0), 1),
        (LogConfig(full_validation=True), 0),
    ],
)
def test_where_records_are_read_their_times_are_within_the_bounds(
    config: LogConfig, codec: int
) -> None:
    """As Kafka says it of every batch."""
    _, log = new_log(config)
    found = refused(log, beyond(codec=codec))
    assert found.error == ErrorCode.INVALID_TIMESTAMP
    assert [at for at, _ in found.record_errors] == [0, 1]


def test_L2_X4_a_batch_that_cannot_be_stored_takes_nothing_else_of_its_request_along() -> None:
    """The batches before it were counted as appended and never written: the next start found a hole
    where the log said that it was synced, and refused the directory.
    """
    made = Machine()
    codec = CreatableTopicConfig(name="compression.type", value="zstd")
    wanted = CreatableTopic(name="t", num_partitions=2, replication_factor=1, configs=(codec,))
    assert made.ask(CreateTopicsRequest(topics=(wanted,)), 7).topics[0].error_code == 0
    data = (
        PartitionProduceData(index=0, records=batch(b"x")),
        PartitionProduceData(index=1, records=bytes(beyond(told=TIME))),
    )
    topic = TopicProduceData(name="t", partition_data=data)
    answer = made.ask(ProduceRequest(acks=-1, timeout_ms=1000, topic_data=(topic,)), 8)
    codes = [each.error_code for each in answer.responses[0].partition_responses]
    assert codes == [0, ErrorCode.INVALID_TIMESTAMP]
    made.produce("t", 0, batch(b"y"))
    made.crash()
    assert made.read("t") == [b"x", b"y"]


def test_X4_who_asks_for_a_time_is_answered_whatever_others_wrote() -> None:
    """The answer could not be encoded: everybody who asked lost the connection, again and again."""
    made = Machine()
    wanted = CreatableTopic(name="t", num_partitions=1, replication_factor=1)
    made.ask(CreateTopicsRequest(topics=(wanted,)), 7)
    sent = beyond(TIME, LONG_MAX, told=TIME + 1000)
    assert made.produce("t", 0, bytes(sent)).error_code == 0
    for timestamp in (0, TIME, TIME + 1, LONG_MAX, -3):
        asked = ListOffsetsPartition(partition_index=0, timestamp=timestamp)
        topics = (ListOffsetsTopic(name="t", partitions=(asked,)),)
        answer = made.ask(ListOffsetsRequest(replica_id=-1, topics=topics), 7)
        assert encode_response(2, 7, 1, answer)


def cleaned(log: PartitionLog, at: int) -> list[int]:
    """Clean and see to it that all batches are whole."""
    bases = clean(log, at)
    for stored in log.scan():
        assert check_crc(stored, read_header(stored))
        assert len(stored) >= HEADER_SIZE
    return bases


def test_V2_L7_a_cleaning_keeps_them_as_they_are_read() -> None:
    """It stopped the broker, and so did every start after that."""
    _, log = new_log(COMPACTED)
    appended(log, beyond(), Instant(NOW))
    put(log, 100, b"a", b"3")
    put(log, 200, b"c", b"4")
    assert cleaned(log, 1_000) == [0, 2, 3]
    (kept,) = decode_records(next(iter(log.scan())))
    assert (kept.offset, kept.timestamp, kept.key) == (1, -LONG_MAX - 1, b"b")


def test_V2_L7_tombstones_may_be_kept_for_ever() -> None:
    """delete.retention.ms may be the largest number there is: the first tombstone stopped the
    broker, and every start after that.
    """
    _, log = new_log(replace(COMPACTED, delete_retention_ms=LONG_MAX))
    put(log, 0, b"a", None)
    put(log, 100, b"b", b"1")
    put(log, 200, b"c", b"2")
    assert cleaned(log, 1_000) == [0, 1, 2]
    put(log, 1_000, b"c", b"3")
    put(log, 1_100, b"d", b"4")
    assert cleaned(log, 10**15) == [0, 1, 3, 4]
    header = read_header(next(iter(log.scan())))
    assert (header.has_delete_horizon, header.base_timestamp) == (True, LONG_MAX)
