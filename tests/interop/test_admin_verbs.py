"""The verbs for those who operate a cluster say the same of Apache Kafka and of our broker.

Against Apache Kafka they need java and mvn. What our broker does not serve is skipped by name.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from typer.testing import CliRunner, Result

from benchmarks import brokers
from flowstream.cli.app import VERBS, build
from tests.interop.conftest import BrokerProcess

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

APP = build([verb for verb in VERBS if verb not in ("worker", "broker")])


@pytest.fixture(scope="module", params=["flowstream", "kafka"])
def address(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    if request.param == "flowstream":
        running = BrokerProcess(tmp_path_factory.mktemp("verbs")).start()
        yield running.address
        assert running.stop() == 0
        return
    if shutil.which("java") is None or shutil.which("mvn") is None:
        pytest.skip("needs java and mvn")
    with ExitStack() as stack:
        for last in (False, False, True):
            try:
                kafka = stack.enter_context(brokers.kafka("offsets.topic.num.partitions=4"))
                break
            except subprocess.CalledProcessError:  # it needs two ports and may find one taken
                if last:
                    raise
        yield kafka.address


def call(address: str, *arguments: str) -> Result:
    return CliRunner().invoke(APP, [*arguments, "--broker", address])


def output(address: str, *arguments: str) -> str:
    result = call(address, *arguments)
    assert result.exit_code == 0, f"{arguments}: {result.output}{result.stderr}{result.exception!r}"
    return result.stdout


def rows(address: str, *arguments: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(output(address, *arguments, "--json"))
    return found


def topic(address: str, partitions: int = 1, records: int = 0) -> str:
    name = f"verbs-{uuid.uuid4().hex[:8]}"
    output(address, "topics", "create", name, "-p", str(partitions))
    if records:
        output(address, "send", name, "-p", "0", *(f"r{n}" for n in range(records)))
    return name


def test_partitions_grow_and_records_go(address: str) -> None:
    name = topic(address, records=5)
    output(address, "topics", "alter", name, "-p", "3")
    assert {"topic": name, "partitions": 3} in rows(address, "topics", "list")
    fewer = call(address, "topics", "alter", name, "-p", "2")
    assert (fewer.exit_code, "INVALID_PARTITIONS" in fewer.stderr) == (1, True)
    starts = rows(address, "topics", "delete-records", name, "--before", "2", "-p", "0")
    assert starts == [{"topic": name, "partition": 0, "start": 2}]
    starts = rows(address, "topics", "delete-records", name, "--before", "latest")
    assert [row["start"] for row in starts] == [5, 0, 0]
    beyond = call(address, "topics", "delete-records", name, "--before", "9", "-p", "0")
    assert (beyond.exit_code, "is beyond what there is" in beyond.stderr) == (1, True)


def test_configs_of_a_topic_are_set_and_taken_back(address: str) -> None:
    name = topic(address)
    output(address, "configs", "alter", "topic", name, "--set", "retention.ms=5000")
    found = {row["setting"]: row for row in rows(address, "configs", "describe", "topic", name)}
    assert found["retention.ms"]["value"] == "5000"
    assert found["retention.ms"]["source"] == "topic"
    everything = rows(address, "configs", "describe", "topic", name, "--all")
    assert len(everything) > 20
    output(address, "configs", "alter", "topic", name, "--delete", "retention.ms")
    again = {row["setting"] for row in rows(address, "configs", "describe", "topic", name)}
    assert "retention.ms" not in again
    bad = call(address, "configs", "alter", "topic", name, "--set", "retention.ms=soon")
    assert (bad.exit_code, "INVALID_CONFIG" in bad.stderr) == (1, True)
    output(address, "configs", "alter", "topic", name, "--dry-run", "--set", "retention.ms=7")
    assert "retention.ms" not in output(address, "configs", "describe", "topic", name)


def test_configs_of_brokers_and_groups(address: str) -> None:
    id = rows(address, "cluster", "describe", "--no-quorum")["brokers"][0]["id"]  # type: ignore[call-overload]
    everything = rows(address, "configs", "describe", "broker", str(id), "--all", "--doc")
    assert any(row["setting"] == "num.partitions" for row in everything)
    output(address, "configs", "alter", "broker", "--set", "log.retention.ms=99999999")
    found = rows(address, "configs", "describe", "broker")
    assert {"log.retention.ms"} <= {str(row["setting"]) for row in found}
    output(address, "configs", "alter", "broker", "--delete", "log.retention.ms")
    setting = "consumer.session.timeout.ms"
    output(address, "configs", "alter", "group", "verbs-g", "--set", f"{setting}=46000")
    found = rows(address, "configs", "describe", "group", "verbs-g")
    assert [(row["setting"], row["value"]) for row in found] == [(setting, "46000")]
    listed = rows(address, "configs", "list")
    assert {"kind": "group", "name": "verbs-g"} in listed


def test_quotas_are_set_listed_and_removed(address: str) -> None:
    user = f"user-{uuid.uuid4().hex[:6]}"
    whom = ("--user", user, "--client-defaults")
    output(address, "quotas", "alter", *whom, "--set", "producer_byte_rate=1024")
    (row,) = rows(address, "quotas", "list", *whom)
    assert (row["user"], row["client_id"], row["value"]) == (user, "(default)", 1024.0)
    assert row in rows(address, "quotas", "list")
    output(address, "quotas", "alter", *whom, "--delete", "producer_byte_rate")
    assert rows(address, "quotas", "list", *whom) == []


def test_a_cluster_and_its_disks(address: str) -> None:
    found = json.loads(output(address, "cluster", "describe", "--json"))
    assert found["brokers"][0]["port"] == int(address.rpartition(":")[2])
    assert any(each["name"] == "transaction.version" for each in found["features"])
    if found["quorum"] is not None:
        assert found["quorum"]["replicas"][0]["is_voter"]
    output(address, "cluster", "describe")
    name = topic(address, records=3)
    (row,) = rows(address, "logdirs", "describe", "--topic", name)
    assert (row["topic"], row["partition"], row["lag"]) == (name, 0, 0)
    assert isinstance(row["bytes"], int)
    assert row["bytes"] > 0
    gone = call(address, "logdirs", "describe", "--topic", "nowhere")
    assert (gone.exit_code, "topics list" in gone.stderr) == (1, True)


def committed(address: str, group: str) -> dict[tuple[str, int], int]:
    found = json.loads(output(address, "groups", "describe", group, "--json"))
    return {(row["topic"], row["partition"]): row["committed"] for row in found["partitions"]}


def test_G6_offsets_move_only_when_told(address: str, tmp_path: Path) -> None:
    name, group = topic(address, 2, records=10), f"g-{uuid.uuid4().hex[:6]}"

    def reset(*arguments: str) -> list[object]:
        found = rows(address, "groups", "reset-offsets", group, *arguments)
        return [row["new"] for row in found]

    assert reset("--to-latest", "--topic", name) == [10, 0]
    assert call(address, "groups", "describe", group).exit_code == 1, "a dry run changes nothing"
    assert reset("--to-latest", "--topic", name, "--execute") == [10, 0]
    assert committed(address, group) == {(name, 0): 10, (name, 1): 0}
    assert reset("--shift-by", "-3", "--execute") == [7, 0]
    assert reset("--to-offset", "99", "--topic", f"{name}:0") == [10]
    assert reset("--to-earliest", "--topic", f"{name}:0", "--execute") == [0]
    assert reset("--to-datetime", "2000-01-01T00:00:00", "--topic", f"{name}:0") == [0]
    assert reset("--to-datetime", "2100-01-01T00:00:00") == [10, 0]
    plan = tmp_path / "plan.csv"
    plan.write_text(f'"{name}",0,4\n')
    assert reset("--from-file", str(plan), "--execute") == [4]
    assert committed(address, group)[name, 0] == 4
    output(address, "groups", "delete-offsets", group, "--topic", name, "-p", "1")
    assert committed(address, group) == {(name, 0): 4}
    output(address, "groups", "delete", group)
    assert group not in output(address, "groups", "list")


def test_G6_offsets_of_a_group_with_members_stay(address: str) -> None:
    name, group = topic(address, records=1), f"g-{uuid.uuid4().hex[:6]}"
    consumer = Consumer(
        {"bootstrap.servers": address, "group.id": group, "auto.offset.reset": "earliest"}
    )
    try:
        consumer.subscribe([name])
        assert consumer.poll(30) is not None
        result = call(
            address, "groups", "reset-offsets", group, "--to-earliest", "--topic", name, "--execute"
        )
        assert (result.exit_code, "stop its workers first" in result.stderr) == (1, True)
        busy = call(address, "groups", "delete", group)
        assert (busy.exit_code, "stop its workers first" in busy.stderr) == (1, True)
    finally:
        consumer.close()


def test_a_group_of_the_new_protocol_is_described(address: str) -> None:
    name, group = topic(address, records=3), f"g-{uuid.uuid4().hex[:6]}"
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": group,
            "group.protocol": "consumer",
            "auto.offset.reset": "earliest",
        }
    )
    try:
        consumer.subscribe([name])
        first = consumer.poll(10)
        assert first is not None
        assert first.error() is None
        consumer.commit(asynchronous=False)
        found = json.loads(output(address, "groups", "describe", group, "--json"))
        assert (found["state"], found["members"]) == ("Stable", 1)
        (row,) = found["partitions"]
        assert (row["topic"], row["committed"], row["host"] is None) == (name, 1, False)
    finally:
        consumer.close()


def opened(address: str, name: str, id: str) -> Producer:
    """A producer with a transaction open in partition 0."""
    producer = Producer({"bootstrap.servers": address, "transactional.id": id})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(name, b"v", partition=0)
    assert producer.flush(30) == 0
    return producer


def test_transactions_are_listed_described_and_aborted(address: str) -> None:
    name, id = topic(address), f"tx-{uuid.uuid4().hex[:6]}"
    producer = opened(address, name, id)
    listed = rows(address, "transactions", "list", "--state", "Ongoing")
    assert id in [row["transactional_id"] for row in listed]
    assert rows(address, "transactions", "list", "--longer-than", "3000") == []
    found = json.loads(output(address, "transactions", "describe", id, "--json"))
    assert (found["state"], found["partitions"]) == ("Ongoing", [f"{name}-0"])
    output(address, "transactions", "abort", id)
    found = json.loads(output(address, "transactions", "describe", id, "--json"))
    # Kafka goes from CompleteAbort to Empty when it hands out the new epoch.
    assert (found["state"], found["partitions"]) == ("Empty", [])
    with pytest.raises(Exception, match=r"fenced|Fenced|epoch"):
        producer.commit_transaction(30)
    unknown = call(address, "transactions", "abort", "nobody")
    assert (unknown.exit_code, "TRANSACTIONAL_ID_NOT_FOUND" in unknown.stderr) == (1, True)
    states = call(address, "transactions", "list", "--state", "Odd")
    assert (states.exit_code, "Odd" in states.stderr) == (1, True)


def test_an_open_transaction_is_seen_in_its_partition_and_hangs_only_without_an_owner(
    address: str,
) -> None:
    name, id = topic(address), f"tx-{uuid.uuid4().hex[:6]}"
    producer = opened(address, name, id)
    (row,) = rows(address, "producers", "describe", name)
    assert (row["partition"], row["open_transaction_from"]) == (0, 0)
    hanging = ("transactions", "find-hanging", "--topic", name, "--older-than", "0")
    assert rows(address, *hanging) == []
    wrong = call(
        address, "transactions", "abort", "--topic", name, "--partition", "0", "--start-offset", "5"
    )
    assert (wrong.exit_code, "producers describe" in wrong.stderr) == (1, True)
    output(
        address, "transactions", "abort", "--topic", name, "--partition", "0", "--start-offset", "0"
    )
    (row,) = rows(address, "producers", "describe", name)
    assert row["open_transaction_from"] is None
    del producer
