"""How the broker grows against itself: the same requests over more partitions, more connections,
more groups, more data. What is compared is the broker's CPU, or its time to start, never the
client's; the ratio of a row is the largest to the smallest.
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

from benchmarks import brokers, load
from benchmarks.measure import Row, alternate
from benchmarks.members import Member, members_of
from benchmarks.raw import Client, produce_request, produce_rounds

Size = TypeVar("Size", int, float)

PARTITIONS = (1, 100, 1_000, 5_000)
CONNECTIONS = (1, 10, 100, 1_000)
GROUPS = (1, 10, 100)
GIGABYTES = (0.1, 1.0, 10.0)
UNFLUSHED_GB = (0.01, 0.1, 1.0)
REQUESTS = 20_000
"""Produce requests of a sample. All samples of a row send the same ones, so many per connection in
flight, and differ in where they go.
"""
BATCH = 10
SIZE = 100
DEPTH = 10
DELIVERIES = 3_000
SPARE = 2
"""A size of data is left out unless the disk has so many times the room."""


def growth_partitions(rounds: int, sizes: Sequence[int] = PARTITIONS) -> Row:
    """Broker CPU per produced record: batches of 10 records, each to the next of N partitions."""
    with brokers.flowstream() as broker, ExitStack() as undo:
        names = {size: load.topic(broker.address, size) for size in sizes}
        clients = [undo.enter_context(Client(broker.address)) for _ in range(10)]

        def measure(size: int) -> float:
            each = [produce_request(names[size], n, count=BATCH, size=SIZE) for n in range(size)]
            requests = (each * (REQUESTS // size + 1))[:REQUESTS]
            return _cpu(broker, partial(produce_rounds, clients, requests, DEPTH))

        title = "produce 10 x 100 B to the next of N partitions"
        return grow(title, "us", measure, sizes, rounds=rounds, name="growth_partitions")


def growth_connections(rounds: int, sizes: Sequence[int] = CONNECTIONS) -> Row:
    """Broker CPU per produced record: N connections, all of them with requests in flight."""
    with brokers.flowstream() as broker:
        name = load.topic(broker.address)
        requests = [produce_request(name, 0, count=BATCH, size=SIZE)] * REQUESTS

        def measure(size: int) -> float:
            with ExitStack() as undo:
                clients = [undo.enter_context(Client(broker.address)) for _ in range(size)]
                return _cpu(broker, partial(produce_rounds, clients, requests, DEPTH))

        title = "produce 10 x 100 B over N busy connections"
        return grow(title, "us", measure, sizes, rounds=rounds, name="growth_connections")


def growth_groups(rounds: int, sizes: Sequence[int] = GROUPS) -> Row:
    """Broker CPU per record delivered to N groups of one member, which wait for every batch, read
    it and commit behind it.
    """
    with brokers.flowstream() as broker, ExitStack() as undo:
        producer = undo.enter_context(Client(broker.address))
        readers: dict[int, tuple[bytes, list[Member]]] = {}
        for size in sizes:
            name = load.topic(broker.address)
            request = produce_request(name, 0, count=BATCH, size=SIZE)
            clients = [undo.enter_context(Client(broker.address)) for _ in range(size)]
            readers[size] = request, members_of(clients, name)

        def deliver(request: bytes, members: list[Member]) -> None:
            for _ in range(DELIVERIES // len(members)):
                for member in members:
                    member.fetch()
                produce_rounds([producer], [request], 1)
                for member in members:
                    member.commit(BATCH)
                for member in members:
                    member.committed()

        def measure(size: int) -> float:
            return _cpu(broker, partial(deliver, *readers[size]), DELIVERIES * BATCH)

        title = "deliver 10 x 100 B to each of N groups, with a commit"
        return grow(title, "us", measure, sizes, rounds=rounds, name="growth_groups")


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

        title = "start with N GB, clean mark"
        return grow(title, "s", measure, fitting, rounds=rounds, name="growth_start")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def growth_recovery(rounds: int, sizes: Sequence[float] = UNFLUSHED_GB) -> Row:
    """Seconds from exec to ready after kill -9, with N GB that came after the last checkpoint in a
    partition of 10 GB.
    """
    data = brokers.fresh_directory(on_disk=True)
    try:
        name = _fill(data, GIGABYTES[-1])

        def measure(size: float) -> float:
            with brokers.flowstream(data=data) as broker:
                _produce(broker, name, size)
                os.kill(broker.pid, signal.SIGKILL)
            with brokers.flowstream(data=data) as broker:
                return broker.seconds_to_ready

        title = "start after kill -9 on 10 GB, N GB after the last checkpoint"
        return grow(title, "s", measure, sizes, rounds=rounds, name="growth_recovery", warms=False)
    finally:
        shutil.rmtree(data, ignore_errors=True)


def _fill(data: Path, gigabytes: float) -> str:
    with brokers.flowstream(data=data) as broker:
        name = load.topic(broker.address)
        _produce(broker, name, gigabytes)
    return name


def _produce(broker: brokers.Running, name: str, gigabytes: float) -> None:
    where = ("-P", "-t", name, "-p", "0", "-b", broker.address, "-a", "-1")
    load.rdkafka(*where, "-s", "10000", "-c", str(int(gigabytes * 1e5)), *load.LARGE_BATCHES)


def _cpu(
    broker: brokers.Running, work: Callable[[], None], records: int = REQUESTS * BATCH
) -> float:
    """Microseconds of the broker's CPU per record."""
    before = broker.cpu_seconds()
    work()
    return (broker.cpu_seconds() - before) / records * 1e6


def grow(
    title: str,
    unit: str,
    measure: Callable[[Size], float],
    sizes: Sequence[Size],
    *,
    rounds: int,
    name: str,
    warms: bool = True,
) -> Row:
    """Measure every size in turn; they alternate, because machines drift."""
    print(title, flush=True)
    for size in sizes if warms else ():
        measure(size)  # code that was never run, files that were never open
    contenders = {f"{size:,}": partial(measure, size) for size in sizes}
    samples = alternate(contenders, rounds)
    medians = {each: statistics.median(values) for each, values in samples.items()}
    smallest, *_, largest = medians.values()
    target = "<= 1 s" if unit == "s" else "<= 1.3x"
    command = f"python -m benchmarks {name}"
    return Row(title, unit, medians, largest / smallest, target, command)


ROWS: dict[str, Callable[[int], Row]] = {
    row.__name__: row
    for row in (growth_partitions, growth_connections, growth_groups, growth_start, growth_recovery)
}
