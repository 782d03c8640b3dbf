"""The rows of the table. Each starts its own brokers, alternates, and stops them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from benchmarks import brokers, load
from benchmarks.measure import Metered, Row, alternate, compare
from benchmarks.workers import (
    worker_group_by,
    worker_hopping,
    worker_join,
    worker_metrics,
    worker_on_each_broker,
    worker_on_kafka,
    worker_pydantic,
)

FORGETS_AT_ONCE = ("log.segment.delete.delay.ms=100",)
"""Kafka frees the pages of deleted topics a minute later; so both use warm memory."""
FLUSHES = ("log.flush.interval.messages=1",)
"""Kafka syncs before it acknowledges."""
WARM_UPS = 3
WARM_FROM = 100_000_000
"""Bytes of a sample from which on it matters whether the memory it writes to is warm."""


@dataclass(frozen=True, slots=True)
class Medium:
    """Where both contenders keep their data, and what each does before it acknowledges."""

    on_disk: bool = True
    durability: str = "os"
    kafka: tuple[str, ...] = ()


DISK = Medium()
"""Files on a disk, acknowledged from the page cache."""
MEMORY = Medium(on_disk=False)
SYNCED = Medium(durability="fsync")
"""Ours synced before the answer, Kafka's not."""
BOTH_SYNCED = Medium(durability="fsync", kafka=FLUSHES)


@contextmanager
def _both(medium: Medium) -> Iterator[tuple[brokers.Running, brokers.Running]]:
    settings = (*FORGETS_AT_ONCE, *medium.kafka)
    with (
        brokers.flowstream(durability=medium.durability, on_disk=medium.on_disk) as ours,
        brokers.kafka(*settings, on_disk=medium.on_disk) as theirs,
    ):
        yield ours, theirs


def _against_kafka(
    title: str,
    unit: str,
    measure: Callable[[str], float],
    *,
    rounds: int,
    target: str,
    name: str,
    records: int,
    medium: Medium = DISK,
    limit: Callable[[], float] | None = None,
    warms: bool = False,
) -> Row:
    with _both(medium) as running:
        contenders = {each.name: Metered(each, measure, records, warms=warms) for each in running}
        for contender in contenders.values():
            contender.warm_up(WARM_UPS)
        command = f"python -m benchmarks {name}"
        row = compare(title, unit, contenders, rounds=rounds, target=target, command=command)
    if limit is None:
        return row
    alone = alternate({"client's limit": limit}, rounds)  # apart: its memory would be in the way
    medians = {name: statistics.median(values) for name, values in alone.items()}
    return replace(row, medians={**row.medians, **medians})


def _produce(
    title: str,
    rounds: int,
    *,
    size: int,
    count: int,
    target: str,
    name: str,
    options: tuple[str, ...] = load.LARGE_BATCHES,
    medium: Medium = DISK,
) -> Row:
    measure = partial(load.produce, size=size, count=count, options=options)
    limit = partial(load.produce_limit, size=size, count=count, options=options)
    return _against_kafka(
        title,
        "rec/s",
        measure,
        rounds=rounds,
        target=target,
        name=name,
        records=count,
        medium=medium,
        limit=limit,
        warms=size * count > WARM_FROM,
    )


def produce_100(rounds: int) -> Row:
    """100 B records, large batches."""
    title = "produce 100 B, acks=all"
    return _produce(title, rounds, size=100, count=3_000_000, target=">= 1.5x", name="produce_100")


def produce_1k(rounds: int) -> Row:
    """1 KB records, large batches."""
    title = "produce 1 KB, acks=all"
    return _produce(title, rounds, size=1000, count=500_000, target=">= 4x", name="produce_1k")


def produce_100_synced(rounds: int) -> Row:
    """100 B records, ours synced before the answer."""
    title = "produce 100 B, ours `fsync`, Kafka without flush"
    count, name = 3_000_000, "produce_100_synced"
    return _produce(title, rounds, size=100, count=count, target=">= 1x", name=name, medium=SYNCED)


def produce_1k_synced(rounds: int) -> Row:
    """1 KB records, ours synced before the answer."""
    title = "produce 1 KB, ours `fsync`, Kafka without flush"
    count, name = 500_000, "produce_1k_synced"
    return _produce(title, rounds, size=1000, count=count, target=">= 1x", name=name, medium=SYNCED)


def produce_one(rounds: int) -> Row:
    """One record per request, by librdkafka."""
    title = "one 100 B record per request, librdkafka"
    options = load.ONE_PER_REQUEST
    return _produce(
        title,
        rounds,
        size=100,
        count=100_000,
        target=">= 5x",
        name="produce_one",
        options=options,
    )


def produce_one_pipelined(rounds: int) -> Row:
    """One record per request, by a client that costs little: 32 requests in flight."""
    return _against_kafka(
        "one 100 B record per request, made beforehand, 32 in flight",
        "req/s",
        partial(load.produce_one_pipelined, count=100_000),
        rounds=rounds,
        target=">= 5x",
        name="produce_one_pipelined",
        records=100_000,
    )


def _consume(title: str, rounds: int, *, size: int, count: int, name: str) -> Row:
    with _both(DISK) as running:
        contenders = {}
        for broker in running:
            topic = load.topic(broker.address)
            where = ("-P", "-t", topic, "-p", "0", "-b", broker.address)
            load.rdkafka(*where, "-s", str(size), "-c", str(count), "-a", "-1", *load.LARGE_BATCHES)
            measure = partial(load.consume, name=topic, count=count)
            contenders[broker.name] = Metered(broker, measure, count)
            contenders[broker.name].warm_up(WARM_UPS)
        command = f"python -m benchmarks {name}"
        target = ">= 1x, CPU <= 0.5x"
        return compare(title, "rec/s", contenders, rounds=rounds, target=target, command=command)


def consume_100(rounds: int) -> Row:
    """100 B records read back."""
    return _consume("consume 100 B", rounds, size=100, count=3_000_000, name="consume_100")


def consume_1k(rounds: int) -> Row:
    """1 KB records read back."""
    return _consume("consume 1 KB", rounds, size=1000, count=500_000, name="consume_1k")


def latency(rounds: int) -> Row:
    """Produce to consume, one at a time."""
    return _against_kafka(
        "produce to consume, p99",
        "ms",
        partial(load.latency_p99_ms, count=3000),
        rounds=rounds,
        target="<= 0.2x",
        name="latency",
        records=3200,
    )


def _transaction(
    title: str,
    rounds: int,
    *,
    measure: Callable[..., float],
    name: str,
    medium: Medium,
    limit: Callable[[], float] | None = None,
) -> Row:
    return _against_kafka(
        f"one-record transaction, p50, {title}",
        "ms",
        partial(measure, count=200),
        rounds=rounds,
        target="<= 0.2x",
        name=name,
        records=220,
        medium=medium,
        limit=limit,
    )


def transaction(rounds: int) -> Row:
    """A transaction with one record, by librdkafka."""
    return _transaction(
        "librdkafka, `os`",
        rounds,
        measure=load.transaction_ms,
        name="transaction",
        medium=MEMORY,
        limit=partial(load.transaction_floor_ms, count=200),
    )


def transaction_v2(rounds: int) -> Row:
    """A transaction with one record, by the worker's session: protocol v2, one round trip less."""
    return _transaction(
        "our worker's session, `os`",
        rounds,
        measure=load.session_transaction_ms,
        name="transaction_v2",
        medium=MEMORY,
    )


def transaction_synced(rounds: int) -> Row:
    """The same by librdkafka, every write of both synced."""
    return _transaction(
        "librdkafka, both synced",
        rounds,
        measure=load.transaction_ms,
        name="transaction_synced",
        medium=BOTH_SYNCED,
    )


def transaction_v2_synced(rounds: int) -> Row:
    """The same by the worker's session, every write of both synced."""
    return _transaction(
        "our worker's session, both synced",
        rounds,
        measure=load.session_transaction_ms,
        name="transaction_v2_synced",
        medium=BOTH_SYNCED,
    )


def start(rounds: int) -> Row:
    """Seconds from exec to ready, with an empty directory."""

    def ours() -> float:
        with brokers.flowstream() as broker:
            return broker.seconds_to_ready

    def theirs() -> float:
        with brokers.kafka() as broker:
            return broker.seconds_to_ready

    contenders = {"flowstream": ours, "kafka": theirs}
    return compare(
        "start to ready",
        "s",
        contenders,
        rounds=rounds,
        target="<= 0.25 s",
        command="python -m benchmarks start",
    )


def memory(rounds: int) -> Row:
    """Resident memory of an idle broker."""

    def ours() -> float:
        with brokers.flowstream() as broker:
            load.topic(broker.address)
            return broker.resident_mb()

    def theirs() -> float:
        with brokers.kafka() as broker:
            load.topic(broker.address)
            return broker.resident_mb()

    contenders = {"flowstream": ours, "kafka": theirs}
    return compare(
        "resident memory, idle",
        "MB",
        contenders,
        rounds=rounds,
        target="<= 60 MB",
        command="python -m benchmarks memory",
    )


def memory_loaded(rounds: int) -> Row:
    """The most memory a broker has had when it was produced to and consumed from."""

    def peak(broker: brokers.Running) -> float:
        load.produce(broker.address, 100, 3_000_000)
        name = load.topic(broker.address)
        where = ("-t", name, "-p", "0", "-b", broker.address)
        load.rdkafka("-P", *where, "-s", "1000", "-c", "500000", "-a", "-1", *load.LARGE_BATCHES)
        load.consume(broker.address, name, 500_000)
        return broker.peak_resident_mb()

    with _both(DISK) as running:
        contenders = {each.name: partial(peak, each) for each in running}
        command = "python -m benchmarks memory_loaded"
        title, target = "resident memory, the most under load", "<= 200 MB"
        return compare(title, "MB", contenders, rounds=rounds, target=target, command=command)


ROWS: dict[str, Callable[[int], Row]] = {
    row.__name__: row
    for row in (
        produce_100, produce_1k, produce_100_synced, produce_1k_synced,
        produce_one, produce_one_pipelined, consume_100, consume_1k, latency,
        transaction, transaction_v2, transaction_synced, transaction_v2_synced,
        start, memory, memory_loaded,
        worker_on_kafka, worker_on_each_broker, worker_metrics, worker_pydantic,
        worker_hopping, worker_join, worker_group_by,
    )
}  # fmt: skip
