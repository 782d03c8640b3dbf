"""confluent-kafka (librdkafka) in consumer groups of KIP-848: sharing, a restart of the broker,
both protocols in one group, and what an administrator sees."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, ConsumerGroupState, ConsumerGroupType, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.interop.conftest import BrokerProcess

WAIT_S = 30
SETTINGS = (
    "group.consumer.min.heartbeat.interval.ms=100",
    "group.consumer.heartbeat.interval.ms=100",
    "group.consumer.assignment.interval.ms=0",
)


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[BrokerProcess]:
    """A broker whose consumer groups send heartbeats ten times a second."""
    options = [each for setting in SETTINGS for each in ("--set", setting)]
    running = BrokerProcess(tmp_path / "data", tuple(options)).start()
    yield running
    if running.process is not None:
        assert running.stop() == 0


def reader(broker: BrokerProcess, group: str, *topics: str, protocol: str = "consumer") -> Consumer:
    settings: dict[str, object] = {
        "bootstrap.servers": broker.address,
        "group.id": group,
        "group.protocol": protocol,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
    if protocol == "classic":
        more = {"partition.assignment.strategy": "cooperative-sticky"}
        settings |= {**more, "heartbeat.interval.ms": 100, "session.timeout.ms": 6_000}
    consumer = Consumer(settings)
    consumer.subscribe(list(topics))
    return consumer


def topic(broker: BrokerProcess, name: str, partitions: int, values: int = 0) -> AdminClient:
    admin = AdminClient({"bootstrap.servers": broker.address})
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result(WAIT_S)
    produce(broker, name, partitions, values)
    return admin


def produce(broker: BrokerProcess, name: str, partitions: int, values: int) -> None:
    producer = Producer({"bootstrap.servers": broker.address})
    for number in range(values):
        producer.produce(name, b"%d" % number, partition=number % partitions)
    assert producer.flush(WAIT_S) == 0


def numbers(consumer: Consumer) -> set[int]:
    return {each.partition for each in consumer.assignment()}


def take(consumer: Consumer, count: int) -> list[bytes]:
    """The next `count` values."""
    found: list[bytes] = []
    deadline = time.monotonic() + WAIT_S
    while len(found) < count:
        assert time.monotonic() < deadline, f"only {len(found)} of {count}"
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            found.append(message.value())
    return found


def poll_until(done: Callable[[], bool], *consumers: Consumer) -> None:
    """Let the consumers work until `done`."""
    deadline = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < deadline, [numbers(each) for each in consumers]
        for each in consumers:
            each.poll(0.05)


def test_G4_G7_two_share_and_one_takes_over(quick: BrokerProcess) -> None:
    admin = topic(quick, "shared", 4)
    first, second = (reader(quick, "g", "shared") for _ in range(2))
    poll_until(lambda: len(numbers(first)) == len(numbers(second)) == 2, first, second)
    assert numbers(first) | numbers(second) == {0, 1, 2, 3}
    described = admin.describe_consumer_groups(["g"])["g"].result(WAIT_S)
    assert described.type is ConsumerGroupType.CONSUMER
    assert len(described.members) == 2
    listed = admin.list_consumer_groups().result(WAIT_S).valid
    assert [(each.group_id, each.type) for each in listed] == [("g", ConsumerGroupType.CONSUMER)]
    second.close()
    poll_until(lambda: len(numbers(first)) == 4, first)
    first.close()
    state = admin.describe_consumer_groups(["g"])["g"].result(WAIT_S).state
    assert state is ConsumerGroupState.EMPTY
    admin.delete_consumer_groups(["g"])["g"].result(WAIT_S)


def test_G6_a_group_goes_on_through_a_restart_of_the_broker(quick: BrokerProcess) -> None:
    topic(quick, "restarted", 2, 10)
    consumer = reader(quick, "g", "restarted")
    assert sorted(take(consumer, 10)) == [b"%d" % n for n in range(10)]
    consumer.commit(asynchronous=False)
    member_id = consumer.memberid()
    port = quick.port
    quick.kill()
    quick.start(port)
    produce(quick, "restarted", 2, 6)
    assert sorted(take(consumer, 6)) == [b"%d" % n for n in range(6)]
    assert consumer.memberid() == member_id, "the group was not joined anew"
    consumer.commit(asynchronous=False)
    consumer.close()


def test_a_regular_expression_finds_topics_that_come(quick: BrokerProcess) -> None:
    topic(quick, "match-1", 1)
    topic(quick, "other", 1)
    consumer = reader(quick, "g", "^match-.*")
    poll_until(lambda: len(consumer.assignment()) == 1, consumer)
    assert consumer.assignment()[0].topic == "match-1"
    consumer.close()


def test_G4_a_group_is_upgraded_and_downgraded_while_it_runs(quick: BrokerProcess) -> None:
    admin = topic(quick, "mixed", 4)
    old = reader(quick, "g", "mixed", protocol="classic")
    poll_until(lambda: len(numbers(old)) == 4, old)
    new = reader(quick, "g", "mixed")
    poll_until(lambda: len(numbers(old)) == len(numbers(new)) == 2, old, new)
    assert numbers(old) | numbers(new) == {0, 1, 2, 3}
    kind = admin.describe_consumer_groups(["g"])["g"].result(WAIT_S).type
    assert kind is ConsumerGroupType.CONSUMER
    new.close()
    poll_until(lambda: len(numbers(old)) == 4, old)
    kind = admin.describe_consumer_groups(["g"])["g"].result(WAIT_S).type
    assert kind is ConsumerGroupType.CLASSIC
    old.close()
