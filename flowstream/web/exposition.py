"""A worker's numbers in Prometheus' text. The only file of the worker's half that imports
prometheus_client; a reading in, text out: may run in a thread.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from flowstream.processing.queries.reading import PartitionReading, Reading, TableReading
from flowstream.processing.watching.meters import Histogram
from flowstream.web.health import health, readiness

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MOST_SERIES = 2_000
"""Partitions, and partitions of tables, that have numbers of their own."""

COUNTS = {
    "events": "Records that came from topics; those that a worker goes back to come again.",
    "skipped": "Events that on_error='skip' passed over.",
    "retried": "Times that an event was tried again.",
    "dead_letters": "Events that were sent to the dead letters.",
    "parked": "Events that were put aside with their key.",
    "conflicts": "Units that were done again, because another lane had changed a row they read.",
    "late": "Events that came after their window had closed or was gone.",
    "commits": "Epochs that were committed.",
    "aborts": "Times that a worker went back to its last commit.",
}


class Exposition:
    """All metrics of one worker process."""

    def __init__(self) -> None:
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)

    def text(self, reading: Reading) -> bytes:
        """What a scrape gets."""
        registry = CollectorRegistry()
        registry.register(_Families(families(reading)))
        found: bytes = generate_latest(registry) + generate_latest(self._process)
        return found


class _Families(Collector):
    """Metrics that are there already."""

    def __init__(self, found: Iterable[Metric]) -> None:
        self._found = list(found)

    def collect(self) -> Iterable[Metric]:
        return self._found


def families(reading: Reading) -> Iterator[Metric]:
    """Every metric of a reading."""
    info = GaugeMetricFamily(
        "flowstream_worker_info", "What runs here.", labels=("app", "guarantee")
    )
    info.add_metric((reading.app, reading.guarantee), 1)
    yield info
    yield gauge("worker_healthy", "1: /health answers 200.", int(health(reading).is_good))
    yield gauge("worker_ready", "1: /ready answers 200.", int(readiness(reading).is_good))
    yield gauge("worker_tasks", "Tasks that run here.", len(reading.tasks))
    counts = {each.name: getattr(reading.counts, each.name) for each in _fields(reading)}
    for name, value in counts.items():
        yield CounterMetricFamily(f"flowstream_worker_{name}", COUNTS[name], value=value)
    yield _taken(reading)
    yield _outputs(reading.outputs)
    yield histogram(
        "commit_duration_seconds",
        "From the end of an epoch until its stores are written.",
        reading.commit_seconds,
    )
    yield histogram(
        "epoch_records",
        "Records of an epoch's transaction, changelogs among them.",
        reading.epoch_records,
    )
    yield histogram(
        "rebalance_duration_seconds",
        "From losing an assignment until every task of the next one runs.",
        reading.rebalance_seconds,
    )
    yield CounterMetricFamily(
        "flowstream_worker_restored_rows",
        "Changelog records that restores have read.",
        value=reading.restored_rows,
    )
    yield gauge(
        "worker_restore_records_left",
        "Changelog offsets that running restores have still to read.",
        reading.restore_left,
    )
    yield from lags(reading.partitions)
    yield from tables(reading.tables)


def _fields(reading: Reading) -> tuple[dataclasses.Field[object], ...]:
    return dataclasses.fields(reading.counts)


def _taken(reading: Reading) -> Metric:
    family = CounterMetricFamily(
        "flowstream_agent_events",
        "Events that an agent has begun; one that is retried counts once, one gone back to again.",
        labels=("agent", "topic"),
    )
    for who, value in sorted(reading.events.items()):
        family.add_metric(who, value)
    return family


def _outputs(outputs: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(
        "flowstream_output_records",
        "Records that were committed to a topic, changelogs among them.",
        labels=("topic",),
    )
    for topic, value in sorted(outputs.items()):
        family.add_metric((topic,), value)
    return family


def lags(partitions: tuple[PartitionReading, ...]) -> Iterator[Metric]:
    """Per source partition: position, and how far behind it is."""
    labels = ("topic", "partition")
    positions = GaugeMetricFamily(
        "flowstream_source_position", "Offset behind the last event that is done.", labels=labels
    )
    records = GaugeMetricFamily(
        "flowstream_source_lag_records", "Records that are not processed yet.", labels=labels
    )
    seconds = GaugeMetricFamily(
        "flowstream_source_lag_seconds",
        "Age of the oldest record that is not processed yet, by its timestamp.",
        labels=labels,
    )
    for each in partitions[:MOST_SERIES]:
        who = (each.topic, str(each.partition))
        positions.add_metric(who, each.position)
        if each.records is not None:
            records.add_metric(who, each.records)
        if each.seconds is not None:
            seconds.add_metric(who, each.seconds)
    yield from (positions, records, seconds)
    yield gauge(
        "source_partitions_not_shown",
        "Partitions beyond the bound, which have no numbers of their own here.",
        max(0, len(partitions) - MOST_SERIES),
    )


def tables(found: tuple[TableReading, ...]) -> Iterator[Metric]:
    """Per table partition: its size, as its store estimates it."""
    labels = ("table", "partition")
    rows = GaugeMetricFamily(
        "flowstream_table_rows",
        "Rows, as the store estimates them: overwritten ones count until they are merged.",
        labels=labels,
    )
    sizes = GaugeMetricFamily(
        "flowstream_table_bytes", "Bytes, by the store's estimate.", labels=labels
    )
    for each in found[:MOST_SERIES]:
        who = (each.table, str(each.partition))
        rows.add_metric(who, each.rows)
        sizes.add_metric(who, each.size_bytes)
    yield from (rows, sizes)


def gauge(name: str, help: str, value: int) -> Metric:
    """A number that goes up and down."""
    return GaugeMetricFamily(f"flowstream_{name}", help, value=value)


def histogram(name: str, help: str, values: Histogram) -> Metric:
    """Prometheus counts a bucket's smaller ones in it too."""
    below, buckets = 0, []
    for bound, count in zip((*values.bounds, float("inf")), values.counts, strict=True):
        below += count
        buckets.append(("+Inf" if bound == float("inf") else f"{bound:g}", below))
    family = HistogramMetricFamily(f"flowstream_{name}", help)
    family.add_metric((), buckets, values.sum)
    return family
