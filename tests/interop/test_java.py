"""Apache Kafka's own tools and Kafka Streams against our broker, and its dump tool over our files.

They need java and mvn; `benchmarks/peers/kafka` fetches the jars once.
"""

from __future__ import annotations

import collections
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.interop.conftest import BrokerProcess

PEERS = Path(__file__).resolve().parents[2] / "benchmarks" / "peers"
pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        shutil.which("java") is None or shutil.which("mvn") is None, reason="needs java and mvn"
    ),
]


def tool(*arguments: str, stdin: str | None = None) -> str:
    """What a tool of Apache Kafka prints; its exit status must be 0."""
    done = subprocess.run(
        [PEERS / "kafka", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def test_topics_are_created_described_and_deleted(broker: BrokerProcess) -> None:
    server = ("--bootstrap-server", broker.address)
    tool("topics", *server, "--create", "--topic", "java-topics", "--partitions", "3")
    assert "PartitionCount: 3" in tool("topics", *server, "--describe", "--topic", "java-topics")
    tool("topics", *server, "--delete", "--topic", "java-topics")
    assert "java-topics" not in tool("topics", *server, "--list")


def test_console_producer_group_consumer_and_its_lag(broker: BrokerProcess) -> None:
    server = ("--bootstrap-server", broker.address)
    lines = [f"line {n}" for n in range(500)]
    tool("topics", *server, "--create", "--topic", "java-console", "--partitions", "2")
    tool("console-producer", *server, "--topic", "java-console", stdin="\n".join(lines) + "\n")
    read = tool(
        "console-consumer", *server, "--topic", "java-console", "--from-beginning",
        "--max-messages", "500", "--group", "java-group", "--isolation-level", "read_committed",
    )  # fmt: skip
    assert sorted(read.split("\n")[:-1]) == sorted(lines)
    rows = [
        r.split()
        for r in tool("groups", *server, "--describe", "--group", "java-group").split("\n")
    ]
    lags = [row[5] for row in rows if len(row) > 5 and row[1] == "java-console"]
    assert lags == ["0", "0"]


def test_a_consumer_of_the_new_group_protocol(broker: BrokerProcess) -> None:
    server = ("--bootstrap-server", broker.address)
    lines = [f"line {n}" for n in range(100)]
    tool("topics", *server, "--create", "--topic", "java-848", "--partitions", "3")
    tool("console-producer", *server, "--topic", "java-848", stdin="\n".join(lines) + "\n")
    read = tool(
        "console-consumer", *server, "--topic", "java-848", "--from-beginning",
        "--max-messages", "100", "--group", "java-848",
        "--command-property", "group.protocol=consumer",
    )  # fmt: skip
    assert sorted(read.split("\n")[:-1]) == sorted(lines)
    state = tool("groups", *server, "--describe", "--group", "java-848", "--state")
    assert "uniform" in state
    assert "Empty" in state
    assert "java-848" in tool("list-groups", *server, "--list", "--consumer")


def test_api_versions_and_configs(broker: BrokerProcess) -> None:
    server = ("--bootstrap-server", broker.address)
    assert "Produce(0): 0 to 13" in tool("api-versions", *server)
    tool("topics", *server, "--create", "--topic", "java-configs", "--config", "retention.ms=5000")
    told = tool(
        "configs", *server, "--entity-type", "topics", "--entity-name", "java-configs", "--describe"
    )
    assert "retention.ms=5000" in told


def test_transactions_are_listed_and_described(broker: BrokerProcess) -> None:
    server = ("--bootstrap-server", broker.address)
    producer = Producer({"bootstrap.servers": broker.address, "transactional.id": "java-sees-me"})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce("java-transactions", b"open")
    producer.flush(20)
    assert "java-sees-me" in tool("transactions", *server, "list")
    told = tool("transactions", *server, "describe", "--transactional-id", "java-sees-me")
    assert "Ongoing" in told
    producer.abort_transaction(20)


def test_the_dump_tool_reads_every_file(own_broker: BrokerProcess) -> None:
    producer = Producer({"bootstrap.servers": own_broker.address, "transactional.id": "dumped"})
    producer.init_transactions(20)
    consumer = Consumer({"bootstrap.servers": own_broker.address, "group.id": "dumped-group"})
    for number in range(6):
        producer.begin_transaction()
        for _ in range(50):
            producer.produce("dumped", b"x" * 200, key=b"k%d" % number)
        offsets = [TopicPartition("dumped", 0, number + 1)]
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), 20)
        (producer.abort_transaction if number % 3 == 2 else producer.commit_transaction)(20)
    consumer.close()
    assert own_broker.stop() == 0
    files = sorted(own_broker.data.glob("*-*/0*"))
    assert {path.suffix for path in files} >= {
        ".log",
        ".index",
        ".timeindex",
        ".snapshot",
        ".txnindex",
    }
    decoders = {
        "__consumer_offsets": "--offsets-decoder",
        "__transaction_state": "--transaction-log-decoder",
        "__cluster_metadata": "--cluster-metadata-decoder",
    }
    told = ""
    for topic, decoder in decoders.items():
        logs = [p for p in files if p.parent.name.startswith(topic) and p.suffix == ".log"]
        told += tool("dump-log", decoder, "--files", ",".join(map(str, logs)))
    rest = [p for p in files if p.suffix != ".log" or not p.parent.name.startswith("__")]
    told += tool("dump-log", "--deep-iteration", "--files", ",".join(map(str, rest)))
    assert told.count("Dumping ") == len([p for p in files if p in rest or p.suffix == ".log"])
    for complaint in ("isvalid: false", "Exception", "mismatch", "Found", "corrupt", "Missing"):
        assert complaint not in told, told


def test_kafka_streams_exactly_once_counts_every_event(own_broker: BrokerProcess) -> None:
    total, users = 20_000, 500
    admin = AdminClient({"bootstrap.servers": own_broker.address})
    for future in admin.create_topics([NewTopic(t, 4, 1) for t in ("events", "counts")]).values():
        future.result(20)
    producer = Producer({"bootstrap.servers": own_broker.address, "linger.ms": 20})
    for number in range(total):
        producer.produce("events", json.dumps({"amount": number}), f"user-{number % users}")
        producer.poll(0)
    producer.flush(30)
    done = subprocess.run(
        [PEERS / "streams", own_broker.address, str(total)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert "rec/s" in done.stdout, done.stdout + done.stderr
    counts = read_counts(own_broker.address, total)
    expected = collections.Counter(f"user-{n % users}" for n in range(total))
    assert {key: max(seen) for key, seen in counts.items()} == expected
    assert all(sorted(seen) == list(range(1, len(seen) + 1)) for seen in counts.values())


def read_counts(address: str, total: int) -> dict[str, list[int]]:
    """Every committed count per key; a duplicate shows as a repeated number."""
    consumer = Consumer(
        {"bootstrap.servers": address, "group.id": "check", "isolation.level": "read_committed"}
    )
    consumer.assign([TopicPartition("counts", p, 0) for p in range(4)])
    counts: dict[str, list[int]] = collections.defaultdict(list)
    seen = 0
    while seen < total:
        message = consumer.poll(20)
        assert message is not None, f"only {seen} of {total} results"
        assert message.error() is None
        result = json.loads(message.value() or b"")
        counts[result["key"]].append(result["count"])
        seen += 1
    assert consumer.poll(1) is None, "more results than events"
    consumer.close()
    return counts
