"""The load clients: librdkafka's generator, transactions and messages one at a time."""

from __future__ import annotations

import asyncio
import re
import statistics
import subprocess
import time
import uuid

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.brokers import PEERS
from benchmarks.raw import Client, produce_pipelined, produce_request
from flowstream.clock import wall_ms
from flowstream.transport.batches import RecordBuffer
from flowstream.transport.cluster import Cluster
from flowstream.transport.transaction import TransactionSession
from flowstream.transport.types import TopicPartition as Partition

LARGE_BATCHES = (
    "-X", "linger.ms=5", "-X", "batch.size=1000000", "-X", "batch.num.messages=100000",
    "-X", "queue.buffering.max.messages=1000000", "-X", "queue.buffering.max.kbytes=65536",
)  # fmt: skip
"""The client's queue is bounded, so that it uses the same memory again and again."""
ONE_PER_REQUEST = (
    "-X",
    "linger.ms=0",
    "-X",
    "batch.num.messages=1",
    "-X",
    "queue.buffering.max.messages=100000",
)


def topic(address: str, partitions: int = 1) -> str:
    """A new topic with a name of its own."""
    name = f"bench-{uuid.uuid4().hex[:12]}"
    admin = AdminClient({"bootstrap.servers": address})
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result(30)
    return name


def delete_topic(address: str, name: str) -> None:
    """Delete a topic."""
    admin = AdminClient({"bootstrap.servers": address})
    admin.delete_topics([name])[name].result(30)


def rdkafka(*arguments: str) -> float:
    done = subprocess.run(
        [PEERS / "rdkafka-performance", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    rates = re.findall(r"(\d+) msgs/s", done.stdout + done.stderr)
    if not rates:
        raise RuntimeError(f"no rate in: {(done.stdout + done.stderr)[-2000:]}")
    return float(rates[-1])


def produce(address: str, size: int, count: int, options: tuple[str, ...] = LARGE_BATCHES) -> float:
    """Records per second, acks=all, to a new topic, which is deleted so that the memory of its
    pages is used again: pages that a virtual machine touches for the first time are slow.
    """
    name = topic(address)
    where = ("-P", "-t", name, "-p", "0", "-b", address)
    rate = rdkafka(*where, "-s", str(size), "-c", str(count), "-a", "-1", *options)
    delete_topic(address, name)
    return rate


def produce_limit(size: int, count: int, options: tuple[str, ...] = LARGE_BATCHES) -> float:
    """The same into librdkafka's own mock, which keeps nothing: what the client alone reaches."""
    where = ("-P", "-t", "t", "-p", "0", "-b", "localhost:1", "-X", "test.mock.num.brokers=1")
    return rdkafka(*where, "-s", str(size), "-c", str(count), "-a", "-1", *options)


def produce_one_pipelined(address: str, count: int) -> float:
    """Requests of one 100 B record per second, 32 in flight, over one connection."""
    name = topic(address)
    request = produce_request(name, 0, count=1, size=100)
    with Client(address) as client:
        start = time.perf_counter()
        produce_pipelined(client, request, count, depth=32)
        took = time.perf_counter() - start
    delete_topic(address, name)
    return count / took


def consume(address: str, name: str, count: int) -> float:
    """Records per second read from the start of partition 0 of topic `name`."""
    return rdkafka("-C", "-t", name, "-p", "0", "-o", "beginning", "-c", str(count), "-b", address)


def transaction_ms(address: str, count: int) -> float:
    """Median milliseconds from begin to committed of a transaction with one record."""
    return _transaction_ms({"bootstrap.servers": address}, topic(address), count)


def transaction_floor_ms(count: int) -> float:
    """The same against librdkafka's own mock, which does nothing: what the client alone takes."""
    return _transaction_ms({"test.mock.num.brokers": 1, "log_level": 3}, "t", count)


def _transaction_ms(where: dict[str, str | int], name: str, count: int) -> float:
    producer = Producer({**where, "transactional.id": uuid.uuid4().hex, "linger.ms": 0})
    producer.init_transactions(30)
    took = []
    for number in range(count + 20):
        start = time.perf_counter()
        producer.begin_transaction()
        producer.produce(name, b"x" * 100, partition=0)
        producer.commit_transaction(30)
        if number >= 20:
            took.append((time.perf_counter() - start) * 1000)
    return statistics.median(took)


async def _session_transactions_ms(address: str, count: int) -> float:
    name = await asyncio.to_thread(topic, address)
    cluster = Cluster(address)
    await cluster.connect()
    session = TransactionSession(cluster, uuid.uuid4().hex)
    await session.init()
    records = RecordBuffer(transactional=True)
    took = []
    for number in range(count + 20):
        start = time.perf_counter()
        session.begin()
        records.append(Partition(name, 0), None, b"x" * 100, wall_ms())
        await session.produce(records.take())
        await session.commit()
        if number >= 20:
            took.append((time.perf_counter() - start) * 1000)
    await cluster.close()
    return statistics.median(took)


def session_transaction_ms(address: str, count: int) -> float:
    """Median milliseconds of a transaction with one record by the worker's own session (v2)."""
    return asyncio.run(_session_transactions_ms(address, count))


def latency_p99_ms(address: str, count: int) -> float:
    """99th percentile of produce to consume in milliseconds, one message at a time."""
    name = topic(address)
    producer = Producer({"bootstrap.servers": address, "linger.ms": 0, "acks": "all"})
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": name,
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 100,
        }
    )
    consumer.assign([TopicPartition(name, 0, 0)])
    took = []
    for number in range(count + 200):
        start = time.perf_counter()
        producer.produce(name, b"x" * 100, partition=0)
        producer.poll(0)
        message = consumer.poll(10)
        if message is None or message.error():
            raise RuntimeError(f"message {number} did not come back: {message and message.error()}")
        if number >= 200:
            took.append((time.perf_counter() - start) * 1000)
    consumer.close()
    return statistics.quantiles(took, n=100)[98]
