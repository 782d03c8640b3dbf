"""A broker as users run it: the command, its `ready` line, SIGTERM at the end."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class BrokerProcess:
    """A running `flowstream broker`."""

    data: Path
    options: tuple[str, ...] = ()
    address: str = ""
    process: subprocess.Popen[str] | None = None

    def start(self, port: int = 0) -> BrokerProcess:
        command = [sys.executable, "-m", "flowstream", "broker", "--data", str(self.data)]
        command += self.options
        if not any(option.startswith("listeners=") for option in self.options):
            command += ["--port", str(port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline().split()
        assert line[:1] == ["ready"], line
        self.address = line[1]
        return self

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self._wait()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self._wait()

    def _wait(self) -> int:
        assert self.process is not None
        assert self.process.stdout is not None
        status = self.process.wait(10)
        assert self.process.stdout.read() == "", "one line on stdout, no more"
        self.process.stdout.close()
        self.process = None
        return status


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """One broker for a module's tests, which use topics and groups of their own."""
    running = BrokerProcess(tmp_path_factory.mktemp("broker")).start()
    yield running
    assert running.stop() == 0


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    """A broker of the test's own, to be stopped and started."""
    running = BrokerProcess(tmp_path / "data").start()
    yield running
    if running.process is not None:
        assert running.stop() == 0
