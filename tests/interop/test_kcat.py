"""kcat against our broker."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from tests.interop.conftest import BrokerProcess

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed"),
]


def kcat(broker: BrokerProcess, *arguments: str, text: str = "") -> str:
    command = ["kcat", "-b", broker.address, *arguments]
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_produce_consume_and_list(broker: BrokerProcess) -> None:
    lines = "".join(f"k{n}:v{n}\n" for n in range(20))
    kcat(broker, "-P", "-t", "kcat", "-K:", text=lines)
    out = kcat(broker, "-C", "-t", "kcat", "-K:", "-o", "beginning", "-e", "-q")
    assert out == lines
    found = json.loads(kcat(broker, "-L", "-J", "-t", "kcat"))
    assert [len(topic["partitions"]) for topic in found["topics"]] == [1]
    assert found["brokers"][0]["name"] == broker.address


def test_a_group(broker: BrokerProcess) -> None:
    kcat(broker, "-P", "-t", "kcat-group", text="a\nb\nc\n")
    # -G ends at the end of its partitions with -e and commits on its way out.
    out = kcat(
        broker, "-G", "kcat-group", "-X", "auto.offset.reset=earliest", "-e", "-q", "kcat-group"
    )
    assert out == "a\nb\nc\n"
