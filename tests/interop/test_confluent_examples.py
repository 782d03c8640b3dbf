"""The examples that confluent-kafka-python ships in its repository, unmodified, against our broker.

Its packages hold none: `CONFLUENT_SRC=<clone of confluentinc/confluent-kafka-python> make interop`
once; afterwards they are cached.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.conftest import BrokerProcess
from tests.interop.test_suites import CACHE

pytestmark = [pytest.mark.slow, pytest.mark.interop, pytest.mark.timeout(300)]

HOME = CACHE / "confluent-examples"
VERSION = "v2.15.0"
ADMIN = [
    ("create_topics t2", "Topic t2 created"),
    ("create_partitions t2 4", "Additional partitions created for topic t2"),
    ("describe_configs topic t1", "unclean.leader.election.enable = false"),
    ("alter_configs topic t1 retention.ms=99999", "configuration successfully altered"),
    ("delta_alter_configs topic t1 retention.ms=77777", "updated"),
    (
        "incremental_alter_configs topic t1 retention.ms=SET:66666",
        "configuration successfully altered",
    ),
    ("list all", '"t1" with'),
    ("list_consumer_groups -states EMPTY,STABLE", "g1"),
    ("describe_consumer_groups 1 g1", "Group Id: g1"),
    ("describe_topics 1 t1", "DESCRIBE_CONFIGS"),
    ("describe_cluster 1", "Controller: (0)"),
    ("list_consumer_group_offsets g1", "t1 ["),
    ("alter_consumer_group_offsets g1 t1 0 0", "t1 [0]: 0"),
    ("list_offsets READ_COMMITTED t1 0 EARLIEST t1 0 LATEST", "Topicname : t1"),
    ("delete_records t1 0 0", "All records deleted before offset 0"),
    ("elect_leaders PREFERRED t1 0", "Leader election not needed"),
    ("delete_consumer_groups g1", "Deleted group with id 'g1' successfully"),
    ("delete_topics t2", "Topic t2 deleted"),
]


@pytest.fixture
def examples() -> Path:
    if not (HOME / "examples").exists():
        source = os.environ.get("CONFLUENT_SRC")
        if source is None:
            pytest.skip("set CONFLUENT_SRC to a clone of confluent-kafka-python, see above")
        HOME.mkdir(parents=True, exist_ok=True)
        archive = ["git", "-C", source, "archive", VERSION, "examples"]
        held = subprocess.run(archive, check=True, capture_output=True)
        subprocess.run(["tar", "x", "-C", HOME], input=held.stdout, check=True)
    return HOME / "examples"


def test_each_example_does_what_it_shows(examples: Path, own_broker: BrokerProcess) -> None:
    address = own_broker.address

    def told(name: str, *arguments: str, stdin: str = "") -> str:
        done = subprocess.run(
            [sys.executable, f"{name}.py", *arguments],
            cwd=examples,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout + done.stderr

    assert told("producer", address, "t1", stdin="a\nb\nc\n").count("delivered") == 3
    consumer = subprocess.Popen(
        [sys.executable, "-u", "consumer.py", address, "g1", "t1"],
        cwd=examples,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert consumer.stdout is not None
    seen: set[str] = set()
    while seen != {"b'a'", "b'b'", "b'c'"}:
        seen |= {line for line in [consumer.stdout.readline().strip()] if line.startswith("b'")}
    consumer.send_signal(2)
    consumer.communicate(timeout=30)
    assert "t1 [0]" in told("get_watermark_offsets", address, "g1", "t1")
    assert "All examples completed successfully" in told("context_manager_example", address)
    arguments = ("-b", address, "-t", "t1", "-o", "eos-out", "-g", "eos-group")
    assert "Committing final transaction with" in (eos := told("eos_transactions", *arguments)), eos
    assert "Traceback" not in eos
    missed = []
    for command, expected in ADMIN:
        answer = told("adminapi", address, *command.split())
        if expected not in answer:
            missed.append(f"{command}: {answer[-400:]}")
    assert missed == [], "\n".join(missed)
