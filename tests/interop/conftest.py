"""A broker as users run it: the command, its `ready` line, SIGTERM at the end."""

from __future__ import annotations

import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.free_ports import free_ports

PASSWORDS = {"admin": "admin-secret", "alice": "alice, with = signs", "dave": "dave:s"}
NAMES = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")


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


@dataclass
class Secured:
    """A running broker with a listener of each protocol, and what its clients need."""

    broker: BrokerProcess
    ports: dict[str, int]
    ca: Path
    certificate: Path

    def address(self, protocol: str) -> str:
        return f"localhost:{self.ports[protocol]}"

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(self.certificate)
        return context


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    directory = tmp_path_factory.mktemp("secured")
    authority = trustme.CA()
    ca, keystore, client = directory / "ca.pem", directory / "broker.pem", directory / "me.pem"
    authority.cert_pem.write_to_path(str(ca))
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        str(keystore)
    )
    mine = authority.issue_cert("client@example.org", common_name="bob")
    mine.private_key_and_cert_chain_pem.write_to_path(str(client))
    users = directory / "users"
    users.write_text("".join(f"{name}:{secret}\n" for name, secret in PASSWORDS.items()))
    users.chmod(0o600)
    ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
    settings = {
        "listeners": ",".join(f"{name}://localhost:{port}" for name, port in ports.items()),
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "ssl.keystore.location": str(keystore),
        "ssl.truststore.location": str(ca),
        "listener.name.ssl.ssl.client.auth": "required",
        "ssl.principal.mapping.rules": "RULE:^CN=([^,]*),.*$/$1/L,DEFAULT",
        "super.users": "User:admin;User:bob",
    }
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    broker = BrokerProcess(directory / "data", ("--users", str(users), *options)).start()
    yield Secured(broker, ports, ca, client)
    assert broker.stop() == 0
