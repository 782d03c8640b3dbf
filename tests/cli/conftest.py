"""What the tests of the command line share: a broker to visit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowstream.cli.embedded import write_address


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data directory with a running broker in it, as an embedded one leaves its address."""
    directory = tmp_path_factory.mktemp("data")
    command = [sys.executable, "-m", "flowstream", "broker", "--durability", "os"]
    command += ["--data", str(directory / "broker"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as broker:
        assert broker.stdout is not None
        ready, address = broker.stdout.readline().split()
        assert ready == "ready"
        write_address(directory, address)
        yield directory
        broker.terminate()
