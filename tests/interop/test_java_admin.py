"""Apache Kafka's administration tools against our broker: what an operator types.

They need java and mvn, as in `test_java`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.interop.conftest import BrokerProcess
from tests.interop.test_java import pytestmark, tool

__all__ = ["pytestmark"]

REASSIGN = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"
ELECT = "org.apache.kafka.tools.LeaderElectionCommand"


@pytest.fixture(scope="module")
def server(broker: BrokerProcess) -> tuple[str, str]:
    made = ("--bootstrap-server", broker.address)
    tool("topics", *made, "--create", "--topic", "admin", "--partitions", "2")
    lines = "".join(f"{n}\n" for n in range(100))
    tool("console-producer", *made, "--topic", "admin", stdin=lines)
    return made


def test_log_directories_the_quorum_and_features(server: tuple[str, str]) -> None:
    told = json.loads(tool("logdirs", *server, "--describe").strip().split("\n")[-1])
    ((directory,),) = (each["logDirs"] for each in told["brokers"])
    sizes = {each["partition"]: each["size"] for each in directory["partitions"]}
    assert sizes["admin-0"] + sizes["admin-1"] > 100
    assert "LeaderId:               0" in tool("quorum", *server, "describe", "--status")
    assert "Leader" in tool("quorum", *server, "describe", "--replication")
    tool("features", *server, "downgrade", "--feature", "transaction.version=1")
    tool("features", *server, "upgrade", "--feature", "transaction.version=2")
    assert "transaction.version" in tool("features", *server, "describe")


def test_elections_and_reassignments(server: tuple[str, str], tmp_path: Path) -> None:
    one = ("--topic", "admin", "--partition", "0")
    told = tool("run", ELECT, *server, "--election-type", "preferred", *one)
    assert "already elected" in told
    wanted = {"topic": "admin", "partition": 0, "replicas": [0]}
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"version": 1, "partitions": [wanted]}))
    execute = ("--reassignment-json-file", str(plan), "--execute")
    assert "Successfully started" in tool("run", REASSIGN, *server, *execute)
    assert "No partition reassignments" in tool("run", REASSIGN, *server, "--list")


def test_records_are_deleted_and_offsets_told(server: tuple[str, str], tmp_path: Path) -> None:
    def offsets(time: str) -> int:
        told = tool("offsets", *server, "--topic", "admin", "--time", time)
        return sum(int(line.split(":")[2]) for line in told.strip().split("\n"))

    end = offsets("latest")  # other tests write here too
    assert offsets("earliest") == 0
    assert end >= 100
    assert offsets("max-timestamp") >= 0
    places = [{"topic": "admin", "partition": number, "offset": -1} for number in range(2)]
    plan = tmp_path / "delete.json"
    plan.write_text(json.dumps({"version": 1, "partitions": places}))
    assert "completed" in tool("delete-records", *server, "--offset-json-file", str(plan))
    assert offsets("earliest") == end


def test_a_hanging_transaction_is_found_described_and_aborted(
    server: tuple[str, str], broker: BrokerProcess
) -> None:
    producer = Producer({"bootstrap.servers": broker.address, "transactional.id": "admin-hangs"})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce("admin", b"open", partition=1)
    producer.flush(20)
    named = tool("transactions", *server, "list", "--transactional-id-pattern", "admin-h.*")
    other = tool("transactions", *server, "list", "--transactional-id-pattern", "admin")
    assert "admin-hangs" in named
    assert "admin-hangs" not in other
    place = ("--topic", "admin", "--partition", "1")

    def open_at() -> str:
        told = tool("transactions", *server, "describe-producers", *place)
        return told.strip().split("\n")[-1].split()[-1]

    start = open_at()
    assert start.isdecimal()
    tool("transactions", *server, "find-hanging", "--broker-id", "0")
    tool("transactions", *server, "abort", *place, "--start-offset", start)
    assert open_at() == "None"
