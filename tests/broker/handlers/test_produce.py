"""Produce: what a topic's configuration does to a batch, and what is said of single records."""

from __future__ import annotations

import pytest

from flowstream.broker.cores import TRANSACTIONS_TOPIC
from flowstream.broker.metadata.topic_configs import log_settings
from flowstream.broker.types import TopicPartition
from flowstream.wire.batch import decode_records, encode_batch, read_header
from flowstream.wire.batch_header import seal
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from flowstream.wire.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from tests.broker.machine import TIME, Machine, batch


def machine(settings: dict[str, str] | None = None, **configs: str) -> Machine:
    made = Machine(**(settings or {}))
    wanted = CreatableTopic(
        name="t",
        num_partitions=1,
        replication_factor=1,
        configs=tuple(
            CreatableTopicConfig(name=name.replace("_", "."), value=value)
            for name, value in configs.items()
        ),
    )
    assert made.ask(CreateTopicsRequest(topics=(wanted,)), 7).topics[0].error_code == 0
    return made


def keyless() -> bytes:
    return bytes(encode_batch([(TIME, b"k", b"1", ()), (TIME, None, b"2", ())]))


def test_the_records_without_a_key_are_named() -> None:
    made = machine(cleanup_policy="compact")
    made.produce("t", 0, batch(b"x"))
    answer = made.produce("t", 0, keyless(), version=8)
    assert answer.error_code == ErrorCode.INVALID_RECORD
    assert [each.batch_index for each in answer.record_errors] == [1]
    assert "key" in answer.record_errors[0].batch_index_error_message
    assert "1 record errors" in answer.error_message
    assert (answer.base_offset, answer.log_start_offset) == (-1, 0)
    assert made.produce("t", 0, keyless(), version=7).error_code == ErrorCode.INVALID_RECORD
    assert made.read("t") == [b"x"]


def test_no_replica_is_missing_on_one_node() -> None:
    """min.insync.replicas counts up to the number of replicas, as in Kafka since 4.0."""
    made = machine(min_insync_replicas="3")
    for acks in (-1, 1):
        assert made.produce("t", 0, batch(b"x"), acks=acks).error_code == 0


def test_P1_a_batch_in_the_topics_codec_is_recognised_when_it_comes_again() -> None:
    made = machine(compression_type="zstd")
    owner = made.init(None)
    sent = bytes(
        encode_batch(
            [(TIME + at, b"k", b"v" * 100, (("h", b"x"),)) for at in range(3)],
            producer_id=owner.producer_id,
            producer_epoch=owner.producer_epoch,
            base_sequence=0,
            codec=1,
        )
    )
    assert [made.produce("t", 0, sent).base_offset for _ in range(2)] == [0, 0]
    (stored,) = made.cores.logs.by_name[TopicPartition("t", 0)].scan()
    header = read_header(stored)
    assert (header.codec, header.count, header.last_offset_delta) == (4, 3, 2)
    assert (header.base_timestamp, header.max_timestamp) == (TIME, TIME + 2)
    assert [r.headers for r in decode_records(stored)] == [(("h", b"x"),)] * 3


def lie() -> bytes:
    """A batch whose header and CRC are right, and whose record is not."""
    made = encode_batch([(TIME, b"k", b"value", ())])
    made[61] += 2
    seal(made, 0, len(made))
    return bytes(made)


@pytest.mark.parametrize(
    ("validation", "error"), [("header", 0), ("full", ErrorCode.INVALID_RECORD)]
)
def test_D6_record_validation_says_what_is_read(validation: str, error: int) -> None:
    made = machine({"record_validation": validation})
    assert made.produce("t", 0, lie()).error_code == error
    assert made.produce("t", 0, batch(b"x")).error_code == 0
    made.crash()
    log = made.cores.logs.by_name[TopicPartition("t", 0)]
    assert log.config.full_validation == (validation == "full")


def test_P2_the_expiry_of_producers_reaches_the_logs() -> None:
    made = machine({"producer_id_expiration_ms": "1234"})
    assert log_settings(made.config, {})["producer.id.expiration.ms"] == "1234"
    log = made.cores.logs.by_name[TopicPartition("t", 0)]
    assert log.config.producer_expiration_ms == 1234


def test_X4_T1_the_partitions_of_a_request_join_with_one_record() -> None:
    made = Machine()
    topic = CreatableTopic(name="t", num_partitions=60, replication_factor=1)
    made.ask(CreateTopicsRequest(topics=(topic,)), 7)
    owner = made.init("x")
    sent = encode_batch(
        [(TIME, b"k", b"v", ())],
        producer_id=owner.producer_id,
        producer_epoch=owner.producer_epoch,
        base_sequence=0,
        transactional=True,
    )
    data = tuple(PartitionProduceData(index=at, records=bytes(sent)) for at in (*range(60), 60))
    topics = (TopicProduceData(name="t", partition_data=data),)
    request = ProduceRequest(transactional_id="x", acks=-1, timeout_ms=1000, topic_data=topics)
    (answered,) = made.ask(request, 12).responses
    errors = [each.error_code for each in answered.partition_responses]
    assert errors == [0] * 60 + [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]
    logs = made.cores.logs.by_name.values()
    written = [
        record
        for log in logs
        if log.name.topic == TRANSACTIONS_TOPIC
        for batch in log.scan()
        for record in decode_records(batch)
    ]
    assert len(written) == 2, "the producer's epoch, and the partitions"
    assert made.end(owner.producer_id, owner.producer_epoch, name="x").error_code == 0
    assert [made.read("t", at) for at in range(60)] == [[b"v"]] * 60
