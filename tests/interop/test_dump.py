"""Our files, told by `flowstream dump` and by Apache Kafka's own tool: the same."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import CliRunner

from flowstream.cli.app import build
from tests.interop.conftest import BrokerProcess
from tests.interop.test_java import tool

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        shutil.which("java") is None or shutil.which("mvn") is None, reason="needs java and mvn"
    ),
]

VERBS = build(("dump", "doctor"))
NUMBER = r"(-?\d+)"
BATCH = re.compile(
    rf"baseOffset: {NUMBER} lastOffset: {NUMBER} count: {NUMBER} .*producerId: {NUMBER} "
    rf"producerEpoch: {NUMBER} .*position: {NUMBER} .*size: {NUMBER} .*crc: {NUMBER}"
)
COLUMNS = (
    "base_offset", "last_offset", "count", "producer_id", "producer_epoch", "position", "size",
    "crc",
)  # fmt: skip


def written(broker: BrokerProcess) -> Path:
    """The directory of a partition with plain, compressed and transactional records."""
    admin = AdminClient({"bootstrap.servers": broker.address})
    admin.create_topics([NewTopic("dumped", 1, 1)])["dumped"].result(30)
    for codec in ("none", "gzip", "lz4", "zstd"):
        plain = Producer({"bootstrap.servers": broker.address, "compression.type": codec})
        for n in range(200):
            plain.produce("dumped", f"{codec} {n}".encode() * 20)
        assert plain.flush(30) == 0
    sender = Producer({"bootstrap.servers": broker.address, "transactional.id": "dumper"})
    sender.init_transactions(30)
    for end in (sender.commit_transaction, sender.abort_transaction):
        sender.begin_transaction()
        sender.produce("dumped", b"in a transaction")
        sender.flush(30)
        end(30)
    return broker.data / "dumped-0"


def test_dump_and_kafkas_tool_tell_the_same(own_broker: BrokerProcess) -> None:
    directory = written(own_broker)
    assert own_broker.stop() == 0
    log = str(directory / f"{0:020d}.log")
    told = tool("dump-log", "--deep-iteration", "--files", log)
    kafka = [tuple(map(int, found.groups())) for found in BATCH.finditer(told)]
    ours = CliRunner().invoke(VERBS, ["dump", "--json", log])
    assert ours.exit_code == 0, ours.output
    entries = [json.loads(line) for line in ours.stdout.splitlines()]
    batches = [entry for entry in entries if entry["kind"] == "batch"]
    assert [tuple(each[column] for column in COLUMNS) for each in batches] == kafka
    assert len(kafka) > 6
    controls = [entry["control"] for entry in entries if entry["kind"] == "control"]
    assert controls == ["commit", "abort"]
    examined = CliRunner().invoke(VERBS, ["doctor", "--deep", str(own_broker.data)])
    assert examined.exit_code == 0, examined.output
