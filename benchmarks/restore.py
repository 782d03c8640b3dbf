"""`python -m benchmarks.restore [--keys N]`: a table partition rebuilt from its changelog, and a
store loaded with sorted rows: keys per second, and how much memory the process needed.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from benchmarks import brokers
from flowstream.processing.stores.restoring import Progress, restore
from flowstream.state.changelog import changelog_configs
from flowstream.state.restore import CHUNK_ROWS
from flowstream.state.rocksdb import open_store
from flowstream.state.store import StoreIdentity
from flowstream.transport.admin import Admin
from flowstream.transport.batches import RecordBuffer
from flowstream.transport.cluster import Cluster
from flowstream.transport.producer import IdempotentProducer
from flowstream.transport.types import NewTopic, TopicPartition

CHANGELOG = TopicPartition("restored", 0)
IDENTITY = StoreIdentity("benchmark", "restored", 0)
SENT_AT_ONCE = 50_000
GOLDEN = 2_654_435_761
"""Odd, and large: numbers times it, modulo 2^32, are every key once, far from sorted."""


def rows(keys: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys in no order, with values of some 30 bytes."""
    for number in range(keys):
        key = number * GOLDEN % (1 << 32)
        yield b"key-%010d" % key, b'{"count":%d,"sum":%d}' % (number, 7 * number)


async def produce(cluster: Cluster, keys: int) -> None:
    """Fill a changelog."""
    configs = changelog_configs()
    await Admin(cluster).create_topics([NewTopic(CHANGELOG.topic, 1, configs=configs)])
    producer, buffer = IdempotentProducer(cluster), RecordBuffer(transactional=False)
    for number, (key, value) in enumerate(rows(keys), 1):
        buffer.append(CHANGELOG, key, value, 1)
        if number % SENT_AT_ONCE == 0 or number == keys:
            await producer.produce(buffer.take())
    await producer.close()


async def replayed(address: str, directory: Path, keys: int) -> tuple[float, float]:
    """Keys per second of wall and of CPU time."""
    cluster = Cluster(address)
    await cluster.connect()
    store = open_store(directory / "replayed", IDENTITY)
    try:
        await produce(cluster, keys)
        wall, cpu = time.perf_counter(), time.process_time()
        await restore(
            store, cluster, Admin(cluster), CHANGELOG, table="restored", progress=Progress()
        )
        return keys / (time.perf_counter() - wall), keys / (time.process_time() - cpu)
    finally:
        store.close()
        await cluster.close()


def loaded(directory: Path, keys: int) -> float:
    """Keys per second of wall time, from rows in memory to a store."""
    store = open_store(directory / "loaded", IDENTITY)
    waiting = rows(keys)
    spent = 0.0
    while chunk := dict(islice(waiting, CHUNK_ROWS)):
        began = time.perf_counter()
        store.write({key: chunk[key] for key in sorted(chunk)}, changelog_offset=1)
        spent += time.perf_counter() - began
    store.close()
    return keys / spent


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.restore", description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    keys = parser.parse_args().keys
    with tempfile.TemporaryDirectory() as name, brokers.flowstream() as broker:
        directory = Path(name)
        by_wall, by_cpu = asyncio.run(replayed(broker.address, directory, keys))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"replay: {by_wall:,.0f} keys/s ({by_cpu:,.0f} per CPU second), peak {peak} MB")
        print(f"load: {loaded(directory, min(keys, 2_000_000)):,.0f} keys/s")


if __name__ == "__main__":
    main()
