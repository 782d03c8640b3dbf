"""How the broker grows against itself: the same work with more partitions, more connections, more
data. The ratio of a row is the cost of the largest to that of the smallest.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from confluent_kafka import Producer

from benchmarks import brokers, load
from benchmarks.measure import Row, alternate

Size = TypeVar("Size", int, float)

PARTITIONS = (1, 100, 1_000, 5_000)
CONNECTIONS = (1, 10, 100, 1_000)
GIGABYTES = (0.1, 1.0, 10.0)
RECORDS = 200_000
SPARE = 2
"""A size of data is left out unless the disk has so many times the room."""


def growth_partitions(rounds: int, sizes: Sequence[int] = PARTITIONS) -> Row:
    """Broker CPU per produced record, records spread over all partitions."""
    with brokers.flowstream() as broker:
        names = {size: load.topic(broker.address, size) for size in sizes}

        def measure(size: int) -> float:
            producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 20})
            before = broker.cpu_seconds()
            for number in range(RECORDS):
                _send(producer, names[size], number % size)
            _flush(producer)
            return (broker.cpu_seconds() - before) / RECORDS * 1e6

        return _grow(
            "produce 100 B over N partitions",
            "us CPU/record",
            measure,
            sizes,
            rounds=rounds,
            name="growth_partitions",
        )


def growth_connections(rounds: int, sizes: Sequence[int] = CONNECTIONS) -> Row:
    """Broker CPU per produced record while N connections are open, all but one idle."""
    with brokers.flowstream() as broker:
        name = load.topic(broker.address)

        async def measure(size: int) -> float:
            host, _, port = broker.address.rpartition(":")
            idle = [await asyncio.open_connection(host, int(port)) for _ in range(size - 1)]
            try:
                return await asyncio.to_thread(produce)
            finally:
                for _, writer in idle:
                    writer.close()
                    await writer.wait_closed()

        def produce() -> float:
            producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 0})
            before = broker.cpu_seconds()
            for _ in range(RECORDS):
                _send(producer, name, 0)
            _flush(producer)
            return (broker.cpu_seconds() - before) / RECORDS * 1e6

        def run(size: int) -> float:
            return asyncio.run(measure(size))

        return _grow(
            "produce 100 B among N connections",
            "us CPU/record",
            run,
            sizes,
            rounds=rounds,
            name="growth_connections",
        )


def growth_start(rounds: int, sizes: Sequence[float] = GIGABYTES) -> Row:
    """Seconds from exec to ready after a clean stop, with so many GB in one partition."""
    directory = brokers.fresh_directory(on_disk=True)
    try:
        room = shutil.disk_usage(directory).free / 1e9
        fitting = [size for size in sizes if size * SPARE < room]
        kept = {size: directory / str(size) for size in fitting}
        for size, data in kept.items():
            _fill(data, size)

        def measure(size: float) -> float:
            with brokers.flowstream(data=kept[size]) as broker:
                return broker.seconds_to_ready

        return _grow(
            "start with N GB, clean mark", "s", measure, fitting, rounds=rounds, name="growth_start"
        )
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _fill(data: Path, gigabytes: float) -> None:
    with brokers.flowstream(data=data) as broker:
        producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 5})
        name = load.topic(broker.address)
        for _ in range(int(gigabytes * 1e5)):
            _send(producer, name, 0, size=10_000)
        _flush(producer)


def _send(producer: Producer, name: str, partition: int, size: int = 100) -> None:
    while True:
        try:
            producer.produce(name, b"x" * size, partition=partition)
        except BufferError:
            producer.poll(0.1)
        else:
            return


def _flush(producer: Producer) -> None:
    left = producer.flush(300)
    if left:
        raise RuntimeError(f"{left} records were not acknowledged in 300 s")


def _grow(
    title: str,
    unit: str,
    measure: Callable[[Size], float],
    sizes: Sequence[Size],
    *,
    rounds: int,
    name: str,
) -> Row:
    """Measure every size in turn; they alternate, because machines drift."""
    print(title, flush=True)
    contenders = {f"{size:,}": partial(measure, size) for size in sizes}
    samples = alternate(contenders, rounds)
    medians = {each: statistics.median(values) for each, values in samples.items()}
    smallest, *_, largest = medians.values()
    command = f"python -m benchmarks {name}"
    return Row(title, unit, medians, largest / smallest, "the same", command)


ROWS: dict[str, Callable[[int], Row]] = {
    row.__name__: row for row in (growth_partitions, growth_connections, growth_start)
}
