"""How a worker grows against itself: the same app over more partitions, more keys, longer values
and more workers; and how long an event takes from producer to reader at an even pace.

Costs are the workers' CPU per record, between two looks at what their group has committed.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial

from confluent_kafka import (
    OFFSET_END,
    Consumer,
    ConsumerGroupTopicPartitions,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks import brokers, workers
from benchmarks.growth import grow
from benchmarks.measure import Row, compare
from flowstream.clock import wall_ms

PARTITIONS = (1, 16, 64, 256)
KEYS = (10_000, 100_000, 1_000_000, 10_000_000)
VALUES = (50, 1_000, 10_000, 100_000)
WORKERS = (1, 2, 4, 8)
KEYS_EACH = 640
"""Keys of a partition, in the row of partitions: an epoch writes a row for each key that it met."""
STRIDE = 7919
"""Steps of this many reach every key once: prime, and no divisor of the numbers of keys."""
RECORDS = 300_000
FOR_EACH = 20_000
"""Records of a partition, at least: it must be read on when the last one begins."""
MEASURED = 0.8
"""The last part of the records: what is before it warms up."""
MOST_BYTES = 400_000_000
PACE = 1000
"""Events a second of the latency row."""
PACED_S, SETTLING_S = 20, 5
LATENCY_TARGET = "<= commit interval (100 ms) + 20 ms"


def fill(address: str, name: str, partitions: int, keys: int, records: int, size: int) -> None:
    """Every key once, in no order, when there are more records than keys; then keys at random."""
    admin = AdminClient({"bootstrap.servers": address})
    topic = f"{name}-events"
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)
    producer = Producer(
        {
            "bootstrap.servers": address,
            "linger.ms": 20,
            "batch.size": 1_000_000,
            "queue.buffering.max.kbytes": 500_000,
            "queue.buffering.max.messages": 500_000,
        }
    )
    rng, text = random.Random(1), "x" * size
    for number in range(records):
        key = number * STRIDE % keys if number < keys <= records else rng.randrange(keys)
        user = f"user-{key:08d}"
        value = b'{"user":"%s","text":"%s"}' % (user.encode(), text.encode())
        while True:
            try:
                producer.produce(topic, value, user)
                break
            except BufferError:
                producer.poll(0.05)
    producer.flush()


class Group:
    """How far an app has come."""

    def __init__(self, address: str, name: str, partitions: int) -> None:
        """The group of the app `name` on its events."""
        self._admin = AdminClient({"bootstrap.servers": address})
        tps = [TopicPartition(f"{name}-events", number) for number in range(partitions)]
        self._asked = ConsumerGroupTopicPartitions(name, tps)

    def committed(self) -> list[int]:
        """Records of each partition whose effects are committed."""
        future = self._admin.list_consumer_group_offsets([self._asked])[self._asked.group_id]
        return [max(0, each.offset) for each in future.result(10).topic_partitions]

    def wait(self, records: int) -> int:
        """Until so many are, of every partition some; how many there are then."""
        deadline = time.monotonic() + 900
        while sum(found := self.committed()) < records or not all(found):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{found} of {records} records after 15 minutes")
            time.sleep(0.02)
        return sum(found)


def cost(
    address: str, *, partitions: int = 4, keys: int = 10_000, size: int = 50, processes: int = 1
) -> float:
    """Microseconds of the workers' CPU per record."""
    name = f"grow-{uuid.uuid4().hex[:8]}"
    first = keys if keys > RECORDS else 0
    wanted = max(RECORDS, FOR_EACH * partitions) * processes
    records = first + min(wanted, MOST_BYTES // size)
    fill(address, name, partitions, keys, records, size)
    group = Group(address, name, partitions)
    with ExitStack() as undo:
        running = [undo.enter_context(_worker(address, name, partitions)) for _ in range(processes)]
        measured = round((records - first) * MEASURED)
        before = group.wait(records - measured)
        cpu = sum(each.cpu_seconds() for each in running)
        after = group.wait(records)
        cpu = sum(each.cpu_seconds() for each in running) - cpu
    return cpu / (after - before) * 1e6


@contextlib.contextmanager
def _worker(address: str, name: str, partitions: int) -> Iterator[brokers.Running]:
    command = [sys.executable, "-m", "benchmarks.growth_app", address, name, str(partitions)]
    process = subprocess.Popen(command)
    try:
        yield brokers.Running("worker", address, process.pid, 0.0)
    finally:
        process.terminate()
        process.wait(60)


def _growth(
    title: str, what: str, sizes: Sequence[int], rounds: int, name: str, **more: int
) -> Row:
    """`cost` over sizes of one of its arguments."""
    with brokers.flowstream(on_disk=what in ("keys", "size")) as broker:
        return grow(
            title,
            "us",
            lambda size: cost(broker.address, **{what: size}, **more),
            sizes,
            rounds=rounds,
            warms=False,
            name=name,
        )


def worker_partitions(rounds: int) -> Row:
    """CPU per record over 1 to 256 partitions."""
    title = "worker's CPU per record, N partitions"
    with brokers.flowstream() as broker:
        return grow(
            title,
            "us",
            lambda size: cost(broker.address, partitions=size, keys=KEYS_EACH * size),
            PARTITIONS,
            rounds=rounds,
            warms=False,
            name="worker_partitions",
        )


def worker_keys(rounds: int) -> Row:
    """CPU per record with 10 thousand to 10 million keys in the table."""
    title = "worker's CPU per record, N keys in its table"
    return _growth(title, "keys", KEYS, rounds, "worker_keys")


def worker_values(rounds: int) -> Row:
    """CPU per record with values of 50 B to 100 KB."""
    title = "worker's CPU per record, values of N bytes"
    return _growth(title, "size", VALUES, rounds, "worker_values", keys=1_000)


def worker_processes(rounds: int) -> Row:
    """CPU per record, all workers together, with 1 to 8 of them."""
    title = "CPU per record of N workers together, 16 partitions"
    return _growth(title, "processes", WORKERS, rounds, "worker_processes", partitions=16)


def paced_p99_ms(command: list[str], address: str) -> float:
    """99th percentile of producer to read_committed reader in milliseconds at an even pace: outputs
    have their events' timestamps.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": uuid.uuid4().hex,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 50,
        }
    )
    # Told where to begin, it asks no coordinator, whom a broker that has just begun may not have.
    consumer.assign([TopicPartition("counts", number, OFFSET_END) for number in range(4)])
    producer = Producer({"bootstrap.servers": address, "linger.ms": 0})
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    took: list[float] = []
    try:
        begin = wall_ms()
        sent, measured_from = 0, begin + SETTLING_S * 1000
        while (now := wall_ms()) < measured_from + PACED_S * 1000:
            while sent < (now - begin) * PACE / 1000:
                value = b'{"id":%d,"user":"u","amount":1.0,"merchant":"m","ts":1}' % sent
                producer.produce("events", value, f"user-{sent % 10_000:05d}")
                sent += 1
            producer.poll(0)
            for message in consumer.consume(100, 0.001):
                at = message.timestamp()[1]
                if message.error() is None and at >= measured_from:
                    took.append(wall_ms() - at)
        producer.flush()
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # a script's own process would live on
        process.wait()
        consumer.close()
    if len(took) < PACED_S * PACE / 2:
        raise RuntimeError(f"only {len(took)} outputs came: {command}")
    return statistics.quantiles(took, n=100)[98]


def worker_latency(rounds: int) -> Row:
    """Producer to reader through the count app at 1,000 events a second, on Apache Kafka."""
    with brokers.kafka() as broker:
        workers.fill(broker.address, 0)
        endless = str(10**12)
        commands = {
            "flowstream": [
                sys.executable, "-m", "benchmarks.count_app", broker.address, endless
            ],
            "kafka-streams": [str(workers.PEERS / "streams"), broker.address, endless, "count"],
        }  # fmt: skip
        return compare(
            "event to committed output at 1,000 a second, p99",
            "ms",
            {name: partial(paced_p99_ms, each, broker.address) for name, each in commands.items()},
            rounds=rounds,
            target=LATENCY_TARGET,
            command="python -m benchmarks worker_latency",
        )


ROWS = {
    row.__name__: row
    for row in (worker_partitions, worker_keys, worker_values, worker_processes, worker_latency)
}
