"""One data directory, two brokers: a whole directory of ours opened by a real Apache Kafka and back
again, and the other way round. This is how a user outgrows one machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.free_ports import free_ports
from tests.interop.conftest import BrokerProcess

pytestmark = [
    pytest.mark.slow,
    pytest.mark.interop,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        shutil.which("java") is None or shutil.which("mvn") is None, reason="needs java and mvn"
    ),
]

T = TypeVar("T")

PEER = Path(__file__).parents[2] / "benchmarks" / "peers" / "kafka"
PARTITIONS = {"plain": 3, "compacted": 2}
RECORDS = 1_000
COMMITTED_AT = 123
LOADING = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
)


@contextlib.contextmanager
def kafka(home: Path, *more: str) -> Iterator[str]:
    """A real Apache Kafka with its log directory in `home`/log, and more settings, in which {port}
    and {controller} stand for its ports.
    """
    port, _ = free_ports(2)  # the tool uses both
    own = [each.format(port=port, controller=port + 1) for each in more]
    settings = ("offsets.topic.num.partitions=4", "transaction.state.log.num.partitions=4", *own)
    subprocess.run(
        [PEER, "start", home, str(port), *settings],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield f"127.0.0.1:{port}"
    finally:
        subprocess.run([PEER, "stop", home], check=True)


@contextlib.contextmanager
def flowstream(home: Path) -> Iterator[str]:
    running = BrokerProcess(home / "log", ("--set", "node.id=1")).start()
    try:
        yield running.address
    finally:
        assert running.stop() == 0


def fill(address: str) -> None:
    """Plain, compacted and transactional data, a group's offsets, a decided transactional id."""
    admin = AdminClient({"bootstrap.servers": address})
    wanted = [
        NewTopic("plain", PARTITIONS["plain"], 1),
        NewTopic("compacted", PARTITIONS["compacted"], 1, config={"cleanup.policy": "compact"}),
    ]
    for made in admin.create_topics(wanted).values():
        made.result(30)
    producer = Producer(
        {"bootstrap.servers": address, "enable.idempotence": True, "compression.type": "lz4"}
    )
    for number in range(RECORDS):
        for topic in PARTITIONS:
            producer.produce(topic, f"v{number}", f"k{number % 50}")
    assert producer.flush(30) == 0
    go_on(address, commit=False)


def go_on(address: str, *, commit: bool = True) -> None:
    """One transaction more, by the same transactional id; an aborted one before the first."""
    producer = Producer({"bootstrap.servers": address, "transactional.id": "tx"})
    producer.init_transactions(60)
    for value in ("committed",) if commit else ("committed", "aborted"):
        producer.begin_transaction()
        producer.produce("plain", value, partition=0)
        producer.flush(30)
        if value == "aborted":
            producer.abort_transaction(60)
            continue
        group = Consumer({"bootstrap.servers": address, "group.id": "g"})
        at = TopicPartition("plain", 1, COMMITTED_AT)
        producer.send_offsets_to_transaction([at], group.consumer_group_metadata())
        producer.commit_transaction(60)
        group.close()


def once_loaded(ask: Callable[[], T]) -> T:
    """The answer of a broker that may have just started: Kafka takes connections before it has
    loaded its groups and leads its partitions, and librdkafka hands these errors on."""
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in LOADING:
                raise


def committed(consumer: Consumer) -> int:
    (found,) = once_loaded(lambda: consumer.committed([TopicPartition("plain", 1)], timeout=60))
    offset: int = found.offset
    return offset


def check(address: str, transactions: int) -> None:
    """Every record once, the aborted one never, the group where it was."""
    settings = {"bootstrap.servers": address, "group.id": "g", "enable.auto.commit": False}
    consumer = Consumer({**settings, "isolation.level": "read_committed"})
    assert committed(consumer) == COMMITTED_AT
    for topic, count in PARTITIONS.items():
        wanted = RECORDS + (transactions if topic == "plain" else 0)
        consumer.assign([TopicPartition(topic, number, 0) for number in range(count)])
        values: list[bytes] = []
        while len(values) < wanted:
            message = consumer.poll(30)
            assert message is not None, f"{topic}: {len(values)} of {wanted}"
            assert message.error() is None
            values.append(message.value())
        assert sorted(set(values)) == sorted(
            {f"v{number}".encode() for number in range(RECORDS)}
            | ({b"committed"} if topic == "plain" else set())
        )
        assert consumer.poll(1) is None
    consumer.close()


def test_our_directory_in_kafka_and_back(tmp_path: Path) -> None:
    with flowstream(tmp_path) as address:
        fill(address)
        check(address, 1)
    with kafka(tmp_path) as address:
        check(address, 1)
        go_on(address)
        check(address, 2)
    with flowstream(tmp_path) as address:
        check(address, 2)
        go_on(address)
        check(address, 3)


def test_kafkas_directory_in_ours_and_back(tmp_path: Path) -> None:
    with kafka(tmp_path) as address:
        fill(address)
    with flowstream(tmp_path) as address:
        check(address, 1)
        go_on(address)
        check(address, 2)
    with kafka(tmp_path) as address:
        check(address, 2)
        go_on(address)
        check(address, 3)


def delete_before(address: str, offset: int) -> None:
    """Move the start of partition 0 of `plain`: no file name tells of it, a checkpoint does."""
    admin = AdminClient({"bootstrap.servers": address})
    to = TopicPartition("plain", 0, offset)

    def delete() -> int:
        (moved,) = admin.delete_records([to]).values()
        low: int = moved.result(30).low_watermark
        return low

    assert once_loaded(delete) == offset


def start_of(address: str) -> int:
    consumer = Consumer({"bootstrap.servers": address, "group.id": "starts"})
    first = TopicPartition("plain", 0)
    low, _ = once_loaded(lambda: consumer.get_watermark_offsets(first, timeout=30))
    consumer.close()
    return int(low)


def test_L8_a_log_start_that_either_broker_moved_stands(tmp_path: Path) -> None:
    """Ours keeps a copy of the starts, which Kafka does not know and leaves as it was."""
    with flowstream(tmp_path) as address:
        fill(address)
        delete_before(address, 10)
    with kafka(tmp_path) as address:
        assert start_of(address) == 10
        delete_before(address, 20)
        go_on(address, commit=False)  # an aborted transaction, for which ours keeps a checksum
    with flowstream(tmp_path) as address:
        assert start_of(address) == 20
        delete_before(address, 30)
    with flowstream(tmp_path) as address:
        assert start_of(address) == 30
    with kafka(tmp_path) as address:
        assert start_of(address) == 30


def test_L8_a_log_start_that_a_killed_kafka_moved_stands(tmp_path: Path) -> None:
    with flowstream(tmp_path) as address:
        fill(address)
        delete_before(address, 10)
    with kafka(tmp_path, "log.flush.start.offset.checkpoint.interval.ms=100") as address:
        delete_before(address, 20)
        checkpoint = tmp_path / "log" / "log-start-offset-checkpoint"
        while "plain 0 20" not in checkpoint.read_text(encoding="utf-8").splitlines():
            time.sleep(0.02)
        os.kill(int((tmp_path / "pid").read_text(encoding="utf-8")), signal.SIGKILL)
    with flowstream(tmp_path) as address:
        assert start_of(address) == 20


def test_D7_a_kafka_that_ran_for_weeks_is_opened_and_opens_again(tmp_path: Path) -> None:
    """The beginning of its metadata log is in a snapshot by then."""
    weeks = (
        "metadata.log.max.snapshot.interval.ms=1000",
        "metadata.log.max.record.bytes.between.snapshots=500",
        "metadata.log.segment.ms=500",
        "metadata.max.retention.ms=1000",
    )
    metadata = tmp_path / "log" / "__cluster_metadata-0"
    with kafka(tmp_path, *weeks) as address:
        fill(address)
        while (metadata / f"{0:020d}.log").exists():
            time.sleep(0.1)
    with flowstream(tmp_path) as address:
        check(address, 1)
        go_on(address)
    with kafka(tmp_path, *weeks) as address:
        check(address, 2)
        go_on(address)
    with flowstream(tmp_path) as address:
        check(address, 3)
