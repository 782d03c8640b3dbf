"""kafkajs against our broker; it needs node and npm, which fetches it once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.interop.conftest import BrokerProcess
from tests.interop.test_suites import CACHE

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        shutil.which("node") is None or shutil.which("npm") is None, reason="needs node and npm"
    ),
]

PACKAGE = "kafkajs@2.2.4"
APP = Path(__file__).parent / "apps" / "kafkajs.js"


def modules() -> Path:
    """The folder with kafkajs, fetched on the first use."""
    home = CACHE / "kafkajs"
    if not (home / "node_modules" / "kafkajs").exists():
        home.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--prefix", str(home), "--no-audit", "--no-fund", PACKAGE]
        subprocess.run(command, check=True, timeout=300, capture_output=True)
    return home / "node_modules"


def test_T9_kafkajs_administers_produces_consumes_and_commits_transactions(
    own_broker: BrokerProcess,
) -> None:
    done = subprocess.run(
        ["node", APP, own_broker.address],
        env={**os.environ, "NODE_PATH": str(modules()), "KAFKAJS_NO_PARTITIONER_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.strip().splitlines()[-1]) == {
        "created": True,
        "partitions": 3,
        "retention": "5000000",
        "read": sorted([f"v{n}" for n in range(100)] + ["gzip"]),
        "committed": ["committed", "again"],
        "offset": "7",
        "ends": 101,
        "low": "1",
        "groups": ["js-group", "js-tx-group", "js-tx-reader"],
        "state": "Empty",
        "topics": ["js-tx"],
        "brokers": 1,
    }
