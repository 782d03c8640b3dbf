"""How long a partition that stays where it is stands still while a neighbour comes and goes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from functools import partial
from itertools import pairwise

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks import brokers
from benchmarks.measure import Row, compare

PARTITIONS = 8
PACE = 1000
"""Events a second, to each partition in turn."""
COMINGS = 5
STAYS_S, AWAY_S = 4.0, 2.0
"""So long a neighbour is there, its start included, and gone."""
STARTS_S, SETTLED_S = 60.0, 3.0
"""So long a worker may take to begin; so long after its first outputs it is left alone."""


@contextlib.contextmanager
def _worker(address: str, name: str) -> Iterator[int]:
    """A worker of the app `name`; its process id."""
    with tempfile.TemporaryDirectory(prefix="bench-") as data:
        process = subprocess.Popen(
            [sys.executable, "-m", "flowstream", "worker", "-A", "benchmarks.rebalance_app",
             "--broker", f"kafka://{address}", "--data", data, "--loglevel", "warning"],
            env={**os.environ, "REBALANCE_APP": name},
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield process.pid
        finally:
            process.terminate()
            process.wait(60)


@contextlib.contextmanager
def _paced(address: str, topic: str) -> Iterator[None]:
    """Events at an even pace until the end."""
    producer = Producer({"bootstrap.servers": address, "linger.ms": 0})
    over = threading.Event()

    def send() -> None:
        begin = time.monotonic()
        sent = 0
        while not over.wait(0.001):
            while sent < (time.monotonic() - begin) * PACE:
                number = sent % PARTITIONS
                # The key names the partition that an event was read from.
                producer.produce(topic, b"1", str(number), partition=number)
                sent += 1
            producer.poll(0)
        producer.flush()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Outputs:
    """What the workers of an app committed: by whom and when each event was met."""

    def __init__(self, address: str, topic: str) -> None:
        """From the first output on."""
        self._consumer = Consumer(
            {
                "bootstrap.servers": address,
                "group.id": uuid.uuid4().hex,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
            }
        )
        self._consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
        self.met: list[list[tuple[int, int]]] = [[] for _ in range(PARTITIONS)]
        """Of each partition (process id, monotonic ns), in order."""

    def read(self) -> bool:
        """Some of what is there; False once nothing came for a second."""
        messages = self._consumer.consume(10_000, 1.0)
        for message in messages:
            key, value = message.key(), message.value()
            if message.error() is not None or key is None or value is None:
                raise RuntimeError(f"an output could not be read: {message.error()}")
            pid, at = value.split()
            self.met[int(key)].append((int(pid), int(at)))
        return bool(messages)

    def longest_ms(self, pid: int, begin: int) -> float:
        """The longest time between two events of a partition that both met `pid` and nobody else
        between them, after `begin` (monotonic ns).
        """
        gaps = [
            after - before
            for met in self.met
            for (one, before), (other, after) in pairwise(met)
            if one == other == pid and before >= begin
        ]
        if len(gaps) < PACE * COMINGS:
            raise RuntimeError(f"only {len(gaps)} events met the worker that stays")
        return max(gaps) / 1e6

    def met_by_others(self, pid: int) -> int:
        """How many events met another worker than `pid`."""
        return sum(who != pid for met in self.met for who, _ in met)


def pause_ms(address: str, *, same_app: bool) -> float:
    """The longest pause of a partition that stays, in milliseconds, while workers of the same app
    (or of another one, which are as much work for the machine) come and go.
    """
    name = f"stays-{uuid.uuid4().hex[:8]}"
    neighbour = name if same_app else f"other-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": address})
    topics = [f"{app}-{of}" for app in {name, neighbour} for of in ("events", "outputs")]
    for made in admin.create_topics([NewTopic(t, PARTITIONS, 1) for t in topics]).values():
        made.result(30)
    outputs = Outputs(address, f"{name}-outputs")
    with _worker(address, name) as pid, _paced(address, f"{name}-events"):
        deadline = time.monotonic() + STARTS_S
        while not all(outputs.met):
            outputs.read()
            if time.monotonic() > deadline:
                raise RuntimeError(f"no output of each partition within {STARTS_S} s")
        time.sleep(SETTLED_S)
        begin = time.monotonic_ns()
        for _ in range(COMINGS):
            with _worker(address, neighbour):
                time.sleep(STAYS_S)
            time.sleep(AWAY_S)
    while outputs.read():
        pass
    if same_app != bool(outputs.met_by_others(pid)):
        raise RuntimeError("partitions did not move" if same_app else "another app took part")
    return outputs.longest_ms(pid, begin)


def worker_rebalance(rounds: int) -> Row:
    """The longest pause of a partition that stays, beside a rebalance and beside none."""
    with brokers.flowstream() as broker:
        return compare(
            "longest pause of a partition that stays where it is",
            "ms",
            {
                "rebalances": partial(pause_ms, broker.address, same_app=True),
                "another app's workers come and go": partial(
                    pause_ms, broker.address, same_app=False
                ),
            },
            rounds=rounds,
            target="<= 100 ms",
            command="python -m benchmarks worker_rebalance",
        )


ROWS = {worker_rebalance.__name__: worker_rebalance}
