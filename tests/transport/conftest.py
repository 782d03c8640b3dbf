"""Brokers to test against: our own always, a real Kafka where java is there.

FLOWSTREAM_TEST_KAFKA=host:port uses a Kafka that runs already.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from flowstream.transport.cluster import Cluster
from tests.free_ports import free_ports

ROOT = Path(__file__).resolve().parent.parent.parent
KAFKA = ROOT / "benchmarks" / "peers" / "kafka"


@pytest.fixture(scope="session")
def kafka_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Apache Kafka."""
    running = os.environ.get("FLOWSTREAM_TEST_KAFKA")
    if running:
        yield running
        return
    if not shutil.which("java") or not shutil.which("mvn"):
        pytest.skip("a real Kafka needs java and mvn")
    directory = tmp_path_factory.mktemp("kafka")
    port, _ = free_ports(2)  # Kafka's script puts the controller on the second
    settings = ("offsets.topic.num.partitions=4", "transaction.state.log.num.partitions=4")
    subprocess.run(
        [KAFKA, "start", directory, str(port), *settings], check=True, stdout=subprocess.DEVNULL
    )
    try:
        yield f"127.0.0.1:{port}"
    finally:
        subprocess.run([KAFKA, "stop", directory], check=True)


@pytest.fixture(scope="session")
def own_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The integrated broker, in a process of its own."""
    directory = tmp_path_factory.mktemp("broker")
    command = [sys.executable, "-m", "flowstream", "broker", "--data", str(directory)]
    with subprocess.Popen(
        [*command, "--port", "0", "--durability", "os"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            words = process.stdout.readline().split()
            assert words[:1] == ["ready"], words
            yield words[1]
        finally:
            process.terminate()


@pytest.fixture(params=["flowstream", pytest.param("kafka", marks=pytest.mark.interop)])
def address(request: pytest.FixtureRequest) -> str:
    """The address of each broker in turn."""
    name = "own_address" if request.param == "flowstream" else "kafka_address"
    found: str = request.getfixturevalue(name)
    return found


@pytest_asyncio.fixture
async def cluster(address: str) -> AsyncIterator[Cluster]:
    """A client that sees the broker directly."""
    client = Cluster(address)
    await client.connect()
    yield client
    await client.close()
