"""Other clients' own test suites, unmodified, against our broker: what once passed passes for ever.

`suites/NAME.passing` lists the tests that pass; the list may only grow. `suites/NAME.failing` says
of each other one why it does not.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import trustme
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.free_ports import free_ports
from tests.interop.conftest import BrokerProcess

pytestmark = [pytest.mark.slow, pytest.mark.interop, pytest.mark.timeout(1200)]

SUITES = Path(__file__).parent / "suites"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "flowstream-peers"

AUTHORIZER = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
SETTINGS = {
    "kafka-python": (
        "node.id=0",
        "group.min.session.timeout.ms=1000",
        "num.partitions=4",
        "listeners=PLAINTEXT://127.0.0.1:0",
        "advertised.listeners=PLAINTEXT://127.0.0.1:0",
        f"authorizer.class.name={AUTHORIZER}",
        "allow.everyone.if.no.acl.found=true",
        "super.users=User:ANONYMOUS",
    ),
    "aiokafka": ("num.partitions=2",),
}


def outcomes(
    suite: str, address: str, out: Path, *arguments: str, **environment: str
) -> dict[str, str]:
    """Run a suite; each test's outcome."""
    done = subprocess.run(
        [SUITES / suite, address, out, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    results = out / f"{suite}.results"
    assert results.exists(), done.stdout + done.stderr
    lines = results.read_text(encoding="utf-8").splitlines()
    return {test: outcome for outcome, _, test in (line.partition(" ") for line in lines)}


def skip_without(suite: str) -> None:
    if suite == "aiokafka" and "AIOKAFKA_SRC" not in os.environ and not (CACHE / suite).exists():
        pytest.skip(
            "aiokafka's package has no tests: set AIOKAFKA_SRC to a clone of its repository"
        )


def compare(found: dict[str, str], listed: str) -> None:
    """What is on the list passes."""
    allowed = (SUITES / f"{listed}.passing").read_text(encoding="utf-8").split("\n")
    passed = {test for test, outcome in found.items() if outcome == "passed"}
    print(f"{listed}: {len(passed)} of {len(found)} passed, {len(allowed) - 1} expected to")
    explained = SUITES / f"{listed}.failing"
    lines = explained.read_text(encoding="utf-8").splitlines() if explained.exists() else []
    reasons = dict(line.split(" | ") for line in lines)
    print("passing and not on the list yet:", sorted(passed - set(allowed) - set(reasons)))
    assert set(filter(None, allowed)) - passed == set()
    failed = {test for test, outcome in found.items() if outcome in ("failed", "error", "pending")}
    assert failed - set(reasons) == set(), "each test that fails has a line that says why"
    assert set(reasons) & set(allowed) == set()


@pytest.mark.parametrize("suite", SETTINGS)
def test_what_passed_before_passes(suite: str, tmp_path: Path) -> None:
    skip_without(suite)
    settings = tuple(part for each in SETTINGS[suite] for part in ("--set", each))
    broker = BrokerProcess(tmp_path / "data", settings).start()
    try:
        found = outcomes(suite, broker.address, tmp_path / "out")
    finally:
        broker.stop()
    compare(found, suite)


def test_what_passed_before_passes_with_tls_and_sasl(tmp_path: Path) -> None:
    skip_without("aiokafka")
    told = subprocess.run(
        [SUITES / "aiokafka", "certificates"], capture_output=True, text=True, check=True
    )
    theirs = Path(told.stdout.strip())
    keystore, users = tmp_path / "broker.pem", tmp_path / "users"
    keystore.write_text((theirs / "server.key").read_text() + (theirs / "server.crt").read_text())
    users.write_text("".join(f"{name}:{name}\n" for name in ("admin", "test", "test2")))
    users.chmod(0o600)
    plain, ssl, sasl = (f"127.0.0.1:{port}" for port in free_ports(3))
    settings = (
        "num.partitions=2",
        f"listeners=PLAINTEXT://{plain},SSL://{ssl},SASL_PLAINTEXT://{sasl}",
        "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        f"ssl.keystore.location={keystore}",
        f"ssl.truststore.location={theirs / 'ca.crt'}",
        "ssl.client.auth=required",
        "allow.everyone.if.no.acl.found=true",
        "super.users=User:ANONYMOUS;User:admin",
    )
    options = [part for each in settings for part in ("--set", each)]
    broker = BrokerProcess(tmp_path / "data", ("--users", str(users), *options)).start()
    try:
        found = outcomes(
            "aiokafka",
            plain,
            tmp_path / "out",
            "-k",
            "ssl or sasl",
            SUITE_SSL=ssl,
            SUITE_SASL_PLAIN=sasl,
        )
    finally:
        broker.stop()
    compare(found, "aiokafka-secured")


def test_what_passed_before_passes_with_kafkajs(tmp_path: Path) -> None:
    if "KAFKAJS_SRC" not in os.environ:
        pytest.skip("some minutes: set KAFKAJS_SRC to a clone of tulios/kafkajs")
    ca = trustme.CA()
    keystore, users = tmp_path / "broker.pem", tmp_path / "users"
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(keystore))
    users.write_text("test:testtest\ntestscram:testtestscram=256\nbob:bobbob\nalice:alicealice\n")
    users.chmod(0o600)
    plain, ssl, sasl = (f"localhost:{port}" for port in free_ports(3))
    settings = (
        f"listeners=PLAINTEXT://{plain},SSL://{ssl},SASL_SSL://{sasl}",
        "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        f"ssl.keystore.location={keystore}",
        "allow.everyone.if.no.acl.found=true",
        "super.users=User:ANONYMOUS;User:test",
        "group.initial.rebalance.delay.ms=0",
    )
    options = [part for each in settings for part in ("--set", each)]
    broker = BrokerProcess(tmp_path / "data", ("--users", str(users), *options)).start()
    try:
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        change = UserScramCredentialUpsertion("testscram", info, b"testtestscram=512")
        admin = AdminClient({"bootstrap.servers": plain})
        admin.alter_user_scram_credentials([change])["testscram"].result(10)
        found = outcomes(
            "kafkajs",
            plain,
            tmp_path / "out",
            SUITE_SSL=ssl,
            SUITE_SASL_SSL=sasl,
            SUITE_CERTIFICATE=str(tmp_path / "ca.pem"),
        )
    finally:
        broker.stop()
    compare(found, "kafkajs")
