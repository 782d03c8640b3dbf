"""The worker rows: the apps of `peers/` on flowstream, by hand, and on what others offer."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import brokers
from benchmarks.measure import Row, compare

PEERS = Path(__file__).parent / "peers"
RECORDS = 300_000
FAUST_RECORDS = 20_000
QUIX_RECORDS = 100_000
METERED = 1_000_000
"""Enough for a dozen scrapes."""


def peer_python(needs: str = "requirements.txt") -> str:
    """The interpreter of a virtual environment for peers; made on first use."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    home = cache / "flowstream-peers" / needs.replace("requirements", "venv").removesuffix(".txt")
    if not (home / "done").exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        install = [home / "bin/pip", "install", "-q", "-r", PEERS / needs]
        subprocess.run(install, check=True)
        (home / "done").touch()
    return str(home / "bin/python")


def rate(
    command: list[str], what: str = r"(\d+) rec/s", environment: dict[str, str] | None = None
) -> float:
    """The number that a command prints."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, env=environment
    )
    found = re.search(what, done.stdout)
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


def ours(address: str, models: str = "msgspec") -> float:
    """The count app on flowstream, exactly once."""
    return rate([sys.executable, "-m", "benchmarks.count_app", address, str(RECORDS), models])


def our(kind: str, address: str) -> float:
    """One of the other apps on flowstream, msgspec models, exactly once."""
    return rate([sys.executable, "-m", "benchmarks.kinds_app", address, str(RECORDS), kind])


def streams(kind: str, address: str) -> float:
    """Kafka Streams, exactly once, one thread."""
    return rate([str(PEERS / "streams"), address, str(RECORDS), kind])


def peer(script: str, records: int, address: str, needs: str = "requirements.txt") -> float:
    """A peer written in Python."""
    return rate([peer_python(needs), str(PEERS / script), address, str(records)])


by_hand = partial(peer, "limit.py", RECORDS)
faust = partial(peer, "faust_app.py", FAUST_RECORDS)
quix = partial(peer, "quix_app.py", QUIX_RECORDS, needs="requirements-quix.txt")


def _on_kafka(
    title: str, rounds: int, contenders: dict[str, Callable[[str], float]], target: str, name: str
) -> Row:
    with brokers.kafka() as broker:
        fill(broker.address, RECORDS)
        row = compare(
            title,
            "rec/s",
            {name: partial(run, broker.address) for name, run in contenders.items()},
            rounds=rounds,
            target=target,
            command=f"python -m benchmarks {name}",
        )
    for name, median in list(row.medians.items())[2:]:
        print(f"against {name}: {row.medians['flowstream'] / median:.1f}x")
    return row


def worker_on_kafka(rounds: int) -> Row:
    """Exactly-once count on one Apache Kafka, ours against the limit and all peers."""
    return _on_kafka(
        "exactly-once count on Kafka, against the hand-written limit",
        rounds,
        {
            "flowstream": ours,
            "limit": by_hand,
            "kafka-streams": partial(streams, "count"),
            "quix": quix,
            "faust": faust,
        },
        ">= 0.55x limit, >= 1x Kafka Streams, >= 5x Quix, >= 75x Faust",
        "worker_on_kafka",
    )


def worker_pydantic(rounds: int) -> Row:
    """The same with pydantic models."""
    return _on_kafka(
        "exactly-once count on Kafka, pydantic models, against the hand-written limit",
        rounds,
        {"flowstream": partial(ours, models="pydantic"), "limit": by_hand},
        ">= 0.35x",
        "worker_pydantic",
    )


def _against_streams(kind: str, title: str, rounds: int) -> Row:
    return _on_kafka(
        title,
        rounds,
        {"flowstream": partial(our, kind), "kafka-streams": partial(streams, kind)},
        ">= 0.7x",
        f"worker_{kind}",
    )


def worker_hopping(rounds: int) -> Row:
    """Sums over hopping windows, each told once."""
    return _against_streams("hopping", "hopping windows, final results, on Kafka", rounds)


def worker_join(rounds: int) -> Row:
    """Events with the rows of a table."""
    return _against_streams("join", "stream-table join on Kafka", rounds)


def worker_group_by(rounds: int) -> Row:
    """A count by another key."""
    return _against_streams("group_by", "group_by and a count on Kafka", rounds)


def worker_metrics(rounds: int) -> Row:
    """What watching costs: the worker's CPU per event, unwatched and scraped each second."""
    command = [sys.executable, "-m", "benchmarks.count_app"]
    with brokers.flowstream() as broker:
        fill(broker.address, METERED)
        arguments = [*command, broker.address, str(METERED)]
        cpu = r"([\d.]+) us of CPU"
        return compare(
            "metrics off and scraped each second, on our broker",
            "us of worker CPU per event",
            {
                "off": partial(rate, arguments, cpu),
                "scraped": partial(rate, [*arguments, "scraped"], cpu),
            },
            rounds=rounds,
            target=">= 0.97x",
            command="python -m benchmarks worker_metrics",
        )


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
