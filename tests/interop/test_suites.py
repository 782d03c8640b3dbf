"""Other clients' own test suites, unmodified, against our broker: what once passed passes for ever.

`suites/NAME.passing` lists the tests that pass; the list may only grow. The ones that are not on it
are explained in `README.md`.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

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


def outcomes(suite: str, broker: BrokerProcess, out: Path) -> dict[str, str]:
    """Run a suite; each test's outcome."""
    done = subprocess.run(
        [SUITES / suite, broker.address, out], capture_output=True, text=True, check=False
    )
    results = out / f"{suite}.results"
    assert results.exists(), done.stdout + done.stderr
    lines = results.read_text(encoding="utf-8").splitlines()
    return {test: outcome for outcome, _, test in (line.partition(" ") for line in lines)}


@pytest.mark.parametrize("suite", SETTINGS)
def test_what_passed_before_passes(suite: str, tmp_path: Path) -> None:
    if suite == "aiokafka" and "AIOKAFKA_SRC" not in os.environ and not (CACHE / suite).exists():
        pytest.skip(
            "aiokafka's package has no tests: set AIOKAFKA_SRC to a clone of its repository"
        )
    allowed = (SUITES / f"{suite}.passing").read_text(encoding="utf-8").split("\n")
    settings = tuple(part for each in SETTINGS[suite] for part in ("--set", each))
    broker = BrokerProcess(tmp_path / "data", settings).start()
    try:
        found = outcomes(suite, broker, tmp_path / "out")
    finally:
        broker.stop()
    passed = {test for test, outcome in found.items() if outcome == "passed"}
    print(f"{suite}: {len(passed)} of {len(found)} passed, {len(allowed) - 1} expected to")
    print("passing and not on the list yet:", sorted(passed - set(allowed)))
    assert set(filter(None, allowed)) - passed == set()
