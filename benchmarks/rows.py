"""The rows of the table. Each starts its own brokers, alternates, and stops them."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from benchmarks import brokers, load
from benchmarks.measure import Row, alternate, compare
from benchmarks.workers import worker_on_each_broker, worker_on_kafka

FORGETS_AT_ONCE = ("log.segment.delete.delay.ms=100",)
"""Kafka frees the pages of deleted topics a minute later; so both use warm memory."""


def _against_kafka(
    title: str,
    unit: str,
    measure: Callable[[str], float],
    *,
    rounds: int,
    target: str,
    name: str,
    limit: Callable[[], float] | None = None,
) -> Row:
    with brokers.flowstream() as ours, brokers.kafka(*FORGETS_AT_ONCE) as theirs:
        contenders = {b.name: partial(measure, b.address) for b in (ours, theirs)}
        for warm_up in list(contenders.values()) * 2:
            warm_up()
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
) -> Row:
    load_of = partial(load.produce, size=size, count=count, options=options)
    limit = partial(load.produce_limit, size=size, count=count, options=options)
    return _against_kafka(
        title, "rec/s", load_of, rounds=rounds, target=target, name=name, limit=limit
    )


def produce_100(rounds: int) -> Row:
    """100 B records, large batches."""
    title = "produce 100 B, acks=all"
    return _produce(title, rounds, size=100, count=3_000_000, target=">= 1.3x", name="produce_100")


def produce_1k(rounds: int) -> Row:
    """1 KB records, large batches."""
    title = "produce 1 KB, acks=all"
    return _produce(title, rounds, size=1000, count=500_000, target=">= 3x", name="produce_1k")


def produce_one(rounds: int) -> Row:
    """One record per request."""
    title = "one 100 B record per request"
    options = load.ONE_PER_REQUEST
    return _produce(
        title,
        rounds,
        size=100,
        count=100_000,
        target=">= 4x",
        name="produce_one",
        options=options,
    )


def consume_100(rounds: int) -> Row:
    """100 B records read back."""
    with brokers.flowstream() as ours, brokers.kafka() as theirs:
        contenders = {}
        for broker in (ours, theirs):
            name = load.topic(broker.address)
            where = ("-P", "-t", name, "-p", "0", "-b", broker.address)
            load.rdkafka(*where, "-s", "100", "-c", "3000000", "-a", "-1", *load.LARGE_BATCHES)
            contenders[broker.name] = partial(load.consume, broker.address, name, 3_000_000)
        command = "python -m benchmarks consume_100"
        return compare(
            "consume 100 B", "rec/s", contenders, rounds=rounds, target=">= 1x", command=command
        )


def latency(rounds: int) -> Row:
    """Produce to consume, one at a time."""
    measure = partial(load.latency_p99_ms, count=3000)
    title = "produce to consume, p99"
    return _against_kafka(title, "ms", measure, rounds=rounds, target="<= 0.33x", name="latency")


def transaction(rounds: int) -> Row:
    """A transaction with one record, by librdkafka."""
    measure = partial(load.transaction_ms, count=200)
    floor = partial(load.transaction_floor_ms, count=200)
    return _against_kafka(
        "one-record transaction, p50, librdkafka",
        "ms",
        measure,
        rounds=rounds,
        target="<= 0.33x",
        name="transaction",
        limit=floor,
    )


def transaction_v2(rounds: int) -> Row:
    """A transaction with one record, by the worker's session: protocol v2, one round trip less."""
    measure = partial(load.session_transaction_ms, count=200)
    return _against_kafka(
        "one-record transaction, p50, our worker's session",
        "ms",
        measure,
        rounds=rounds,
        target="<= 0.33x",
        name="transaction_v2",
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
        target="<= 0.3 s",
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


ROWS: dict[str, Callable[[int], Row]] = {
    row.__name__: row
    for row in (
        produce_100, produce_1k, produce_one, consume_100, latency, transaction, transaction_v2,
        start, memory,
        worker_on_kafka, worker_on_each_broker,
    )
}  # fmt: skip
