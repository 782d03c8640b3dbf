"""The worker rows: the count app of `peers/` on flowstream, by hand, and on Faust."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks import brokers
from benchmarks.measure import Row, compare

PEERS = Path(__file__).parent / "peers"
RECORDS = 300_000
FAUST_RECORDS = 20_000


def peer_python() -> str:
    """The interpreter of the peers' own virtual environment; made on first use."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    home = cache / "flowstream-peers" / "venv"
    if not (home / "done").exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        install = [home / "bin/pip", "install", "-q", "-r", PEERS / "requirements.txt"]
        subprocess.run(install, check=True)
        (home / "done").touch()
    return str(home / "bin/python")


def _rate(command: list[str]) -> float:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    found = re.search(r"(\d+) rec/s", done.stdout)
    if not found:
        raise RuntimeError(f"{command} said: {(done.stdout + done.stderr)[-3000:]}")
    return float(found[1])


def fill(address: str, records: int) -> None:
    """Create `events` and `counts` (4 partitions) and write `records` events."""
    subprocess.run(
        [peer_python(), PEERS / "fill.py", address, str(records)],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def ours(address: str, records: int = RECORDS) -> float:
    """The count app on flowstream, msgspec models, exactly once."""
    return _rate([sys.executable, "-m", "benchmarks.count_app", address, str(records)])


def by_hand(address: str) -> float:
    """The hand-written limit."""
    return _rate([peer_python(), str(PEERS / "limit.py"), address, str(RECORDS)])


def faust(address: str) -> float:
    """Faust, at least once."""
    return _rate([peer_python(), str(PEERS / "faust_app.py"), address, str(FAUST_RECORDS)])


def worker_on_kafka(rounds: int) -> Row:
    """Exactly-once count on one Apache Kafka: ours against the limit, and Faust."""
    with brokers.kafka() as broker:
        fill(broker.address, RECORDS)
        contenders = {
            "flowstream": partial(ours, broker.address),
            "limit": partial(by_hand, broker.address),
            "faust": partial(faust, broker.address),
        }
        row = compare(
            "exactly-once count on Kafka, against the hand-written limit",
            "rec/s",
            contenders,
            rounds=rounds,
            target=">= 0.4x limit, >= 15x Faust",
            command="python -m benchmarks worker_on_kafka",
        )
    print(f"against Faust: {row.medians['flowstream'] / row.medians['faust']:.1f}x")
    return row


def worker_on_each_broker(rounds: int) -> Row:
    """The same app on our broker and on Apache Kafka."""
    with brokers.flowstream() as mine, brokers.kafka() as theirs:
        for broker in (mine, theirs):
            fill(broker.address, RECORDS)
        contenders = {b.name: partial(ours, b.address) for b in (mine, theirs)}
        return compare(
            "the same app on our broker and on Kafka",
            "rec/s",
            contenders,
            rounds=rounds,
            target=">= 1x",
            command="python -m benchmarks worker_on_each_broker",
        )
