"""Clients of years ago, as they are still installed: they ask in older versions, and log in in ways
that today's have left.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.conftest import PASSWORDS, BrokerProcess, Secured
from tests.interop.test_suites import CACHE

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

APPS = Path(__file__).parent / "apps"
HOME = CACHE / "venv-older-clients"
CLIENTS = ("kafka-python", "confluent-kafka", "aiokafka")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
REFUSED = {("confluent-kafka", mechanism) for mechanism in MECHANISMS[1:]}
"""librdkafka before 2.6.1 sends its nonce twice, which Kafka refuses too (`docs/security.md`)."""


@pytest.fixture(scope="session")
def python() -> Path:
    """The interpreter that has the older clients; made on first use."""
    if not (HOME / "done").exists():
        subprocess.run([sys.executable, "-m", "venv", HOME], check=True)
        wanted = APPS / "older_requirements.txt"
        command = [HOME / "bin/pip", "install", "-q", "-r", wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"the older clients cannot be installed: {done.stderr.strip()[-200:]}")
        (HOME / "done").touch()
    return HOME / "bin/python"


def run(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [python, APPS / "older_clients.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("client", CLIENTS)
def test_an_older_client(broker: BrokerProcess, python: Path, client: str) -> None:
    done = run(python, client, broker.address, f"older-{client}")
    assert done.stdout == "100 records\n", done.stderr


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("client", CLIENTS)
def test_an_older_client_logs_in(
    secured: Secured, python: Path, client: str, mechanism: str
) -> None:
    address, topic = secured.address("SASL_SSL"), f"older-{client}-{mechanism}"
    login = ("SASL_SSL", mechanism, "admin", PASSWORDS["admin"], str(secured.ca))
    done = run(python, client, address, topic, *login)
    if (client, mechanism) in REFUSED:
        assert done.returncode == 1
        assert "authentication" in done.stderr.lower(), done.stderr
    else:
        assert done.stdout == "100 records\n", done.stderr
