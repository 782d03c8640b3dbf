"""confluent-kafka (librdkafka) against our broker: idempotent, transactional, groups, admin."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import (
    Consumer,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
)

from tests.interop.conftest import BrokerProcess

WAIT_S = 20


def reader_of(broker: BrokerProcess, group: str, **options: object) -> Consumer:
    settings = {
        "bootstrap.servers": broker.address,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        **options,
    }
    return Consumer(settings)


def take(reader: Consumer, count: int) -> list[Message]:
    found: list[Message] = []
    deadline = time.monotonic() + WAIT_S
    while len(found) < count and time.monotonic() < deadline:
        for message in reader.consume(count - len(found), timeout=1):
            assert message.error() is None, message.error()
            found.append(message)
    assert len(found) == count
    return found


def produce(broker: BrokerProcess, topic: str, values: list[bytes], **options: object) -> None:
    failures: list[object] = []
    producer = Producer({"bootstrap.servers": broker.address, **options})
    for value in values:
        producer.produce(
            topic, value, on_delivery=lambda error, _: error and failures.append(error)
        )
    assert producer.flush(WAIT_S) == 0
    assert not failures


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_P1_an_idempotent_producer_in_every_codec(broker: BrokerProcess, codec: str) -> None:
    values = [b"%d" % n * 20 for n in range(1000)]
    options = {"enable.idempotence": True, "compression.codec": codec, "linger.ms": 5}
    produce(broker, f"confluent-{codec}", values, **options)
    reader = reader_of(broker, f"confluent-{codec}")
    reader.subscribe([f"confluent-{codec}"])
    assert [message.value() for message in take(reader, 1000)] == values
    reader.close()


def test_G6_a_group_goes_on_where_it_committed(broker: BrokerProcess) -> None:
    produce(broker, "confluent-group", [b"%d" % n for n in range(10)])
    for first in (0, 5):
        reader = reader_of(broker, "confluent-group")
        reader.subscribe(["confluent-group"])
        messages = take(reader, 5)
        assert [message.offset() for message in messages] == list(range(first, first + 5))
        reader.commit(messages[-1], asynchronous=False)
        reader.close()


def test_T9_consume_transform_produce(broker: BrokerProcess) -> None:
    produce(broker, "confluent-in", [b"%d" % n for n in range(6)])
    producer = Producer({"bootstrap.servers": broker.address, "transactional.id": "confluent-tx"})
    producer.init_transactions(WAIT_S)
    source = reader_of(broker, "confluent-tx")
    source.subscribe(["confluent-in"])
    for commit in (False, True, True):
        producer.begin_transaction()
        for message in take(source, 2):
            producer.produce("confluent-out", message.value())
        positions = source.position(source.assignment())
        producer.send_offsets_to_transaction(positions, source.consumer_group_metadata(), WAIT_S)
        if commit:
            producer.commit_transaction(WAIT_S)
        else:
            producer.abort_transaction(WAIT_S)
    committed = source.committed([TopicPartition("confluent-in", 0)], WAIT_S)
    assert committed[0].offset == 6
    source.close()
    reader = reader_of(broker, "confluent-after", **{"isolation.level": "read_committed"})
    reader.subscribe(["confluent-out"])
    assert [message.value() for message in take(reader, 4)] == [b"2", b"3", b"4", b"5"]
    reader.close()


def test_T11_fencing(broker: BrokerProcess) -> None:
    first, second = (
        Producer({"bootstrap.servers": broker.address, "transactional.id": "confluent-fence"})
        for _ in range(2)
    )
    first.init_transactions(WAIT_S)
    first.begin_transaction()
    first.produce("confluent-fenced", b"first")
    first.flush(WAIT_S)
    second.init_transactions(WAIT_S)
    with pytest.raises(KafkaException) as caught:
        first.commit_transaction(WAIT_S)
    assert caught.value.args[0].fatal()


def test_admin(broker: BrokerProcess) -> None:
    admin = AdminClient({"bootstrap.servers": broker.address})
    topic = NewTopic("confluent-admin", 3, 1, config={"cleanup.policy": "compact"})
    admin.create_topics([topic])["confluent-admin"].result(WAIT_S)
    metadata = admin.list_topics(timeout=WAIT_S).topics
    assert len(metadata["confluent-admin"].partitions) == 3
    resource = ConfigResource("topic", "confluent-admin")
    configs = next(iter(admin.describe_configs([resource]).values())).result(WAIT_S)
    assert configs["cleanup.policy"].value == "compact"
    cluster = admin.describe_cluster().result(WAIT_S)
    assert f"{cluster.nodes[0].host}:{cluster.nodes[0].port}" == broker.address
    admin.delete_topics(["confluent-admin"])["confluent-admin"].result(WAIT_S)
    assert "confluent-admin" not in admin.list_topics(timeout=WAIT_S).topics


def test_configurations_change_while_the_broker_runs(own_broker: BrokerProcess) -> None:
    admin = AdminClient({"bootstrap.servers": own_broker.address})
    admin.create_topics([NewTopic("configured", 1, 1)])["configured"].result(WAIT_S)

    def change(kind: str, name: str, key: str, operation: AlterConfigOpType, value: str) -> None:
        entry = ConfigEntry(key, value, incremental_operation=operation)
        resource = ConfigResource(kind, name, incremental_configs=[entry])
        admin.incremental_alter_configs([resource])[resource].result(WAIT_S)

    def told(kind: str, name: str, key: str) -> tuple[str, int]:
        resource = ConfigResource(kind, name)
        found = admin.describe_configs([resource])[resource].result(WAIT_S)[key]
        return found.value, found.source

    change("topic", "configured", "cleanup.policy", AlterConfigOpType.APPEND, "compact")
    change("broker", "0", "log.retention.ms", AlterConfigOpType.SET, "123456")
    assert told("topic", "configured", "cleanup.policy") == ("delete,compact", 1)
    assert told("topic", "configured", "retention.ms") == ("123456", 2)
    own_broker.stop()
    admin = AdminClient({"bootstrap.servers": own_broker.start().address})
    assert told("topic", "configured", "cleanup.policy") == ("delete,compact", 1)
    assert told("broker", "0", "log.retention.ms") == ("123456", 2)
    change("broker", "0", "log.retention.ms", AlterConfigOpType.DELETE, "")
    assert told("topic", "configured", "retention.ms") == ("604800000", 5)
    with pytest.raises(KafkaException, match="Cannot update these configs dynamically"):
        change("broker", "0", "num.partitions", AlterConfigOpType.SET, "3")


def test_groups_are_listed_and_described(broker: BrokerProcess) -> None:
    produce(broker, "confluent-listed", [b"x"])
    reader = reader_of(broker, "confluent-listed")
    reader.subscribe(["confluent-listed"])
    take(reader, 1)
    admin = AdminClient({"bootstrap.servers": broker.address})
    groups = admin.list_consumer_groups().result(WAIT_S).valid
    assert "confluent-listed" in {group.group_id for group in groups}
    found = admin.describe_consumer_groups(["confluent-listed"])["confluent-listed"].result(WAIT_S)
    assert len(found.members) == 1
    reader.close()
