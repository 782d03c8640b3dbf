"""Transaction records against what a real Kafka wrote and what its dump tool says of them."""

from __future__ import annotations

import pytest

from flowstream.broker.config import BrokerConfig
from flowstream.broker.transactions.coordinator import TransactionCoordinator
from flowstream.broker.transactions.records import (
    TransactionLogError,
    TransactionLogValue,
    decode_value,
)
from flowstream.broker.transactions.states import TransactionState
from flowstream.broker.types import TopicPartition
from flowstream.wire.schema import decode, encode
from tests.broker import golden

PARTITIONS = [f"__transaction_state-{n}" for n in range(3)]


@pytest.mark.parametrize("partition", PARTITIONS)
def test_every_golden_record_encodes_to_the_same_bytes(partition: str) -> None:
    core = TransactionCoordinator(BrokerConfig())
    count = 0
    for record in golden.records(partition):
        decoded = core.decode(record.key, record.value)
        assert decoded is not None
        assert core.encode(decoded) == (record.key, record.value)
        core.apply(decoded)
        count += 1
    assert count > 5


@pytest.mark.parametrize("partition", PARTITIONS)
def test_every_golden_record_says_what_kafkas_dump_says(partition: str) -> None:
    core = TransactionCoordinator(BrokerConfig())
    said = golden.dump(partition)
    ours = list(golden.records(partition))
    assert [offset for offset, _, _ in said] == [record.offset for record in ours]
    for (_, key, payload), record in zip(said, ours, strict=True):
        decoded = core.decode(record.key, record.value)
        assert decoded is not None
        transaction = decoded.transaction
        assert transaction is not None
        data = payload["data"]
        assert decoded.transactional_id == key["data"]["transactionalId"]
        assert transaction.producer_id == data["producerId"]
        assert transaction.previous_producer_id == data["previousProducerId"]
        assert transaction.producer_epoch == data["producerEpoch"]
        assert transaction.timeout_ms == data["transactionTimeoutMs"]
        assert transaction.state == data["transactionStatus"]
        assert transaction.last_update == data["transactionLastUpdateTimestampMs"]
        assert transaction.start == data["transactionStartTimestampMs"]
        assert transaction.client_version == data.get("clientTransactionVersion", 0)
        assert list(transaction.partitions) == [
            TopicPartition(topic["topic"], number)
            for topic in data["transactionPartitions"] or ()
            for number in topic["partitionIds"]
        ]


def test_the_golden_log_ends_in_the_states_kafka_had() -> None:
    core = TransactionCoordinator(BrokerConfig())
    for partition in PARTITIONS:
        for record in golden.records(partition):
            decoded = core.decode(record.key, record.value)
            assert decoded is not None
            core.apply(decoded)
    states = {name: each.state.name for name, each in core.transactions.items()}
    assert states["golden-open"] == "ONGOING"
    assert states["java-tx"] == "COMPLETE_COMMIT"
    assert core.by_producer_id[core.transactions["golden-open"].producer_id] == "golden-open"


def test_a_version_0_value_is_read() -> None:
    value = TransactionLogValue(
        producer_id=7, producer_epoch=3, transaction_timeout_ms=9, transaction_status=4
    )
    data = b"\x00\x00" + encode(value, 0)
    transaction = decode_value(data)
    assert (transaction.producer_id, transaction.producer_epoch) == (7, 3)
    assert transaction.state is TransactionState.COMPLETE_COMMIT
    assert decode(TransactionLogValue, data[2:], 0) == value


@pytest.mark.parametrize(
    "data", [b"", b"\x00\x01", b"\x00\x09" + bytes(40), b"\x00\x00" + bytes(3)]
)
def test_a_value_that_cannot_be_understood_is_refused(data: bytes) -> None:
    with pytest.raises(TransactionLogError):
        decode_value(data)


def test_keys_of_newer_brokers_are_skipped() -> None:
    core = TransactionCoordinator(BrokerConfig())
    assert core.decode(b"\x00\x01anything", b"") is None
    assert core.decode(None, b"") is None
