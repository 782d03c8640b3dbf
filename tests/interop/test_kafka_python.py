"""kafka-python against our broker: produce, consume in a group, transactions, admin."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # kafka-python reads its schemas in a way that Python 3.11 calls deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka  # noqa: F401

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, NewTopic

from tests.interop.conftest import BrokerProcess


def read(broker: BrokerProcess, topic: str, count: int, **options: object) -> list[bytes]:
    reader = KafkaConsumer(
        topic,
        bootstrap_servers=broker.address,
        auto_offset_reset="earliest",
        consumer_timeout_ms=10_000,
        **options,
    )
    try:
        return [next(reader).value for _ in range(count)]
    finally:
        reader.close()


def test_produce_and_consume_in_a_group(broker: BrokerProcess) -> None:
    producer = KafkaProducer(bootstrap_servers=broker.address, compression_type="gzip")
    sent = [producer.send("kp-group", b"%d" % n, key=b"k") for n in range(100)]
    assert [each.get(10).offset for each in sent] == list(range(100))
    producer.close()
    assert read(broker, "kp-group", 100, group_id="kp") == [b"%d" % n for n in range(100)]


def test_T8_transactions(broker: BrokerProcess) -> None:
    producer = KafkaProducer(bootstrap_servers=broker.address, transactional_id="kp-tx")
    producer.init_transactions()
    for n in range(4):
        producer.begin_transaction()
        producer.send("kp-tx", b"%d" % n)
        if n % 2:
            producer.commit_transaction()
        else:
            producer.abort_transaction()
    producer.close()
    found = read(broker, "kp-tx", 2, isolation_level="read_committed")
    assert found == [b"1", b"3"]


def test_admin(broker: BrokerProcess) -> None:
    admin = KafkaAdminClient(bootstrap_servers=broker.address)
    admin.create_topics([NewTopic("kp-admin", 2, 1)])
    assert "kp-admin" in admin.list_topics()
    admin.delete_topics(["kp-admin"])
    assert "kp-admin" not in admin.list_topics()
    admin.close()


def test_offsets(broker: BrokerProcess) -> None:
    producer = KafkaProducer(bootstrap_servers=broker.address)
    for n in range(3):
        producer.send("kp-offsets", b"%d" % n, timestamp_ms=1_000_000 + n).get(10)
    producer.close()
    reader = KafkaConsumer(bootstrap_servers=broker.address)
    tp = TopicPartition("kp-offsets", 0)
    assert reader.end_offsets([tp]) == {tp: 3}
    assert reader.beginning_offsets([tp]) == {tp: 0}
    assert reader.offsets_for_times({tp: 1_000_001})[tp].offset == 1
    reader.close()


def test_configurations(broker: BrokerProcess) -> None:
    admin = KafkaAdminClient(bootstrap_servers=broker.address)
    admin.create_topics([NewTopic("kp-configs", 1, 1)])
    for incremental in (True, False):
        changed = ConfigResource("TOPIC", "kp-configs", {"retention.ms": "77"})
        admin.alter_configs([changed], incremental=incremental)
        told = admin.describe_configs([ConfigResource("TOPIC", "kp-configs")])
        assert told["topic"]["kp-configs"]["retention.ms"]["value"] == "77"
    group = ConfigResource("GROUP", "kp-group", {"consumer.session.timeout.ms": "50000"})
    admin.alter_configs([group])
    assert "kp-group" in str(admin.list_config_resources())
    admin.close()
