"""A broker whose connections want more file descriptors than the process may have (X3)."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from flowstream.broker.storage.disk import RESERVED
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.types import NewTopic

ALLOWED = 256
API_VERSIONS = bytes.fromhex("0000000a 0012 0000 00000001 ffff")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    shell = ("sh", "-c", f'ulimit -n {ALLOWED} && exec "$0" "$@"')
    command = (sys.executable, "-m", "flowstream", "broker", "--data", str(tmp_path / "d"))
    with subprocess.Popen(
        (*shell, *command, "--port", "0"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.terminate()


def is_served(client: socket.socket) -> bool:
    """Whether the broker keeps a connection: it answers."""
    try:
        client.sendall(API_VERSIONS)
        return bool(client.recv(4))
    except OSError:
        return False


async def test_X3_connections_leave_the_partitions_their_descriptors(
    broker: subprocess.Popen[str],
) -> None:
    assert broker.stdout is not None
    assert broker.stderr is not None
    address = broker.stdout.readline().split()[1]
    host, _, port = address.partition(":")
    cluster = Cluster(address, client_id="test")
    await cluster.connect()
    with ExitStack() as stack:
        crowd = [
            stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
            for _ in range(ALLOWED)
        ]
        served = sum(map(is_served, crowd))
        assert 0 < served <= ALLOWED // 2 - RESERVED
        admin = Admin(cluster)
        await admin.create_topics([NewTopic("t", ALLOWED, 1)])
        assert (await admin.topics(["t"]))["t"].partitions == ALLOWED
        await cluster.close()
    broker.terminate()
    said = broker.stderr.read()
    assert broker.wait(30) == 0
    assert "refused: ulimit -n leaves no room beside" in said
