"""Kafka Streams, exactly once, on a broker that is killed again and again: a count, and a join of a
stream with a table followed by an aggregation over a repartition topic.

A kill comes when half of a slice's results are there, so that it hits open transactions.
"""

from __future__ import annotations

import collections
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.interop.conftest import BrokerProcess
from tests.interop.test_java import PEERS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.interop,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        shutil.which("javac") is None or shutil.which("mvn") is None, reason="needs javac and mvn"
    ),
]

APPS = Path(__file__).parent / "apps"
PARTITIONS = 4
KILLS = 6
SLICE = 3_000
CUSTOMERS = 97
REGIONS = 5


@pytest.fixture(scope="module")
def classpath(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Kafka's jars and the compiled apps."""
    told = subprocess.run(
        [PEERS / "kafka", "install"], capture_output=True, text=True, timeout=400, check=True
    )
    jars = f"{told.stdout.strip()}/libs/*"
    out = tmp_path_factory.mktemp("classes")
    command = ["javac", "-d", str(out), "-cp", jars, str(APPS / "StreamsApps.java")]
    subprocess.run(command, check=True, timeout=120)
    return f"{jars}:{out}"


@contextmanager
def app(classpath: str, name: str, address: str, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running app; what it printed is in `home`/app.log."""
    logging = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"
    command = ["java", "-Xmx512m", logging, "-cp", classpath, "StreamsApps", name, address]
    with (home / "app.log").open("ab") as log:
        running = subprocess.Popen(
            [*command, str(home / "state")], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield running
    finally:
        running.terminate()
        running.wait(60)


class Results:
    """What read_committed shows of a topic so far: each key's values in order."""

    def __init__(self, address: str, topic: str) -> None:
        self.seen = 0
        self.values: dict[str, list[str]] = collections.defaultdict(list)
        settings = {"bootstrap.servers": address, "group.id": "check"}
        self._consumer = Consumer({**settings, "isolation.level": "read_committed"})
        self._consumer.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])

    def until(self, count: int, alive: subprocess.Popen[bytes]) -> None:
        """Read on until there are `count` results."""
        while self.seen < count:
            message = self._consumer.poll(120)
            assert alive.poll() is None, "the app died"
            assert message is not None, f"only {self.seen} of {count} results"
            if (error := message.error()) is not None:
                assert error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT), error
                continue
            key, value = message.key(), message.value()
            assert key is not None
            assert value is not None
            self.values[key.decode()].append(value.decode())
            self.seen += 1

    def close(self) -> None:
        assert self._consumer.poll(2) is None, "more results than events"
        self._consumer.close()


def topics(address: str, *names: str) -> None:
    admin = AdminClient({"bootstrap.servers": address})
    wanted = [NewTopic(name, PARTITIONS, 1) for name in names]
    for future in admin.create_topics(wanted).values():
        future.result(20)


def killed_again_and_again(
    broker: BrokerProcess, producer: Producer, name: str, home: Path, classpath: str
) -> dict[str, list[str]]:
    """Feed the app slice by slice and kill the broker in each; every result, read committed."""
    source, sink = {"count": ("events", "counts"), "join": ("orders", "totals")}[name]
    results = Results(broker.address, sink)
    with app(classpath, name, broker.address, home) as running:
        for slice in range(KILLS + 1):
            for number in range(slice * SLICE, (slice + 1) * SLICE):
                producer.produce(source, str(number), f"key-{number % CUSTOMERS}")
            assert producer.flush(60) == 0
            if slice < KILLS:
                results.until(slice * SLICE + SLICE // 2, running)
                port = broker.port
                broker.kill()
                broker.start(port)
        results.until((KILLS + 1) * SLICE, running)
        results.close()
    return results.values


def test_T9_a_count_survives_kills_of_the_broker(
    own_broker: BrokerProcess, classpath: str, tmp_path: Path
) -> None:
    topics(own_broker.address, "events", "counts")
    producer = Producer({"bootstrap.servers": own_broker.address, "enable.idempotence": True})
    values = killed_again_and_again(own_broker, producer, "count", tmp_path, classpath)
    expected = collections.Counter(f"key-{n % CUSTOMERS}" for n in range((KILLS + 1) * SLICE))
    assert values == {key: [str(n + 1) for n in range(total)] for key, total in expected.items()}


def test_T9_a_join_with_an_aggregation_survives_kills_of_the_broker(
    own_broker: BrokerProcess, classpath: str, tmp_path: Path
) -> None:
    topics(own_broker.address, "customers", "orders", "totals")
    producer = Producer({"bootstrap.servers": own_broker.address, "enable.idempotence": True})
    for customer in range(CUSTOMERS):
        # Older than every order, so that the join finds it.
        region = f"region-{customer % REGIONS}"
        producer.produce("customers", region, f"key-{customer}", timestamp=1)
    assert producer.flush(60) == 0
    values = killed_again_and_again(own_broker, producer, "join", tmp_path, classpath)
    amounts = collections.defaultdict(list)
    for number in range((KILLS + 1) * SLICE):
        amounts[f"region-{number % CUSTOMERS % REGIONS}"].append(number)
    assert {key: seen[-1] for key, seen in values.items()} == {
        key: f"{len(of)} {sum(of)}" for key, of in amounts.items()
    }
    for seen in values.values():
        assert [int(value.split()[0]) for value in seen] == list(range(1, len(seen) + 1))
