"""Numbers of a broker in Prometheus' text, under names close to those of Kafka's own metrics.

The only importer of prometheus_client. Plain values in, text out: may run in a thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from flowstream.broker.server.counters import BUCKETS, Counters, Durations
from flowstream.broker.server.watching import Numbers
from flowstream.wire.api import API

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SOCKETS = "kafka_server_socket_server_metrics"
_REQUESTS = "kafka_network_requestmetrics"
_TOPICS = "kafka_server_brokertopicmetrics"


class Exposition:
    """All metrics of one broker process."""

    def __init__(self, counters: Counters) -> None:
        """The counters live on and grow."""
        self._counters = counters
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)

    def text(self, numbers: Numbers, healthy: bool) -> bytes:
        """What a scrape gets."""
        registry = CollectorRegistry()
        registry.register(_Families(self._families(numbers, healthy)))
        found: bytes = generate_latest(registry) + generate_latest(self._process)
        return found

    def _families(self, numbers: Numbers, healthy: bool) -> Iterator[Metric]:
        yield gauge("flowstream_broker_healthy", "1: /health answers 200.", int(healthy))
        yield gauge(
            "flowstream_broker_failed",
            "1: the broker stopped for good after a failed write, sync or invariant.",
            int(numbers.failed),
        )
        yield from self._traffic(numbers)
        yield from self._requests()
        yield from _logs(numbers)
        yield by_label(
            "kafka_coordinator_group_groups", "Groups by state.", "state", numbers.groups.items()
        )
        yield by_label(
            "kafka_coordinator_transaction_transactional_ids",
            "Transactional ids by state.",
            "state",
            numbers.transactions.items(),
        )
        yield gauge(
            "kafka_log_open_transactions",
            "Transactions without a marker, each counted in every partition it is in.",
            numbers.open_transactions,
        )

    def _traffic(self, numbers: Numbers) -> Iterator[Metric]:
        counters = self._counters
        yield gauge(f"{_SOCKETS}_connection_count", "Open connections.", numbers.connections)
        yield gauge(
            "flowstream_broker_connection_memory_bytes",
            "Unfinished requests and unsent answers of all connections.",
            numbers.connection_memory,
        )
        yield gauge(
            "flowstream_broker_connection_memory_limit_bytes",
            "The bound of that.",
            numbers.connection_memory_most,
        )
        yield CounterMetricFamily(
            "flowstream_broker_connections_let_go",
            "Connections closed because all together held more.",
            value=counters.let_go,
        )
        for name, help, value in (
            ("connection_creation", "Connections taken.", counters.accepted),
            ("connection_refused", "Connections refused at a bound.", counters.refused),
            ("incoming_byte", "Bytes received from clients.", counters.bytes_in),
            ("outgoing_byte", "Bytes sent to clients.", counters.bytes_out),
            ("failed_authentication", "Logins that failed.", numbers.logins_failed),
            ("successful_authentication", "Logins that succeeded.", numbers.logins_succeeded),
        ):
            yield CounterMetricFamily(f"{_SOCKETS}_{name}", help, value=value)
        yield CounterMetricFamily(
            f"{_TOPICS}_messagesin",
            "Offsets given to records and markers of all topics.",
            value=numbers.appended,
        )
        yield from _topics(numbers)
        yield CounterMetricFamily(
            "flowstream_broker_throttled_requests",
            "Requests after which a client was muted because of a quota.",
            value=counters.throttled,
        )
        yield CounterMetricFamily(
            "flowstream_broker_throttle_seconds",
            "For how long, all together.",
            value=counters.throttled_ms / 1000,
        )
        yield histogram(
            "kafka_log_logflushstats_logflush_seconds",
            "Group commits: one sync of all that waits.",
            [((), counters.syncs)],
        )

    def _requests(self) -> Iterator[Metric]:
        apis = [((API[key].name,), api) for key, api in self._counters.by_api()]
        for name, help, values in (
            ("requests", "Requests.", [(who, api.requests) for who, api in apis]),
            ("requestbytes", "Bytes of requests.", [(who, api.request_bytes) for who, api in apis]),
            (
                "responsebytes",
                "Bytes of answers.",
                [(who, api.response_bytes) for who, api in apis],
            ),
        ):
            family = CounterMetricFamily(f"{_REQUESTS}_{name}", help, labels=("request",))
            for who, value in values:
                family.add_metric(who, value)
            yield family
        yield histogram(
            f"{_REQUESTS}_totaltime_seconds",
            "From a request's arrival until its answer is ready; a Fetch may wait on purpose.",
            [(who, api.times) for who, api in apis],
            labels=("request",),
        )


class _Families(Collector):
    """Metrics that are there already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def _topics(numbers: Numbers) -> Iterator[Metric]:
    for name, help, at in (
        ("bytesin", "Bytes of batches that producers brought, since the start.", 0),
        ("bytesout", "Bytes of batches that readers took, since the start.", 1),
    ):
        family = CounterMetricFamily(f"{_TOPICS}_{name}", help, labels=("topic",))
        for each in numbers.topics:
            family.add_metric((each.name,), (each.bytes_in, each.bytes_out)[at])
        yield family
    yield gauge(
        "flowstream_broker_topics_not_shown",
        "Topics beyond the bound, which have no numbers of their own here.",
        numbers.topic_count - len(numbers.topics),
    )


def _logs(numbers: Numbers) -> Iterator[Metric]:
    # One node, which stops for good when a log fails: then nothing of it can be reached.
    offline = numbers.partition_count if numbers.failed else 0
    for gauged, help, value in (
        ("server_replicamanager_underreplicatedpartitions", "None, with one replica each.", 0),
        ("server_replicamanager_underminisrpartitioncount", "None: see there.", 0),
        ("controller_kafkacontroller_offlinepartitionscount", "All, once it failed.", offline),
        ("controller_kafkacontroller_activecontrollercount", "1.", int(not numbers.failed)),
        ("log_logmanager_offlinelogdirectorycount", "1 once it failed.", int(numbers.failed)),
    ):
        yield gauge(f"kafka_{gauged}", help, value)
    yield gauge(
        "kafka_server_replicamanager_partitioncount", "Partitions.", numbers.partition_count
    )
    yield gauge("kafka_controller_kafkacontroller_globaltopiccount", "Topics.", numbers.topic_count)
    yield gauge(
        "kafka_log_logcleanermanager_uncleanable_partitions_count",
        "Partitions that are not compacted until the next start, because they hold bad bytes.",
        numbers.uncleanable,
    )
    yield gauge(
        "flowstream_broker_partitions_not_shown",
        "Partitions beyond the bound, which have no numbers of their own here.",
        numbers.partition_count - len(numbers.partitions),
    )
    for name, help, at in (
        ("kafka_log_log_logstartoffset", "First offset that can be read.", 1),
        ("kafka_log_log_logendoffset", "The next record's offset.", 2),
        ("kafka_cluster_partition_highwatermark", "End of what is durable.", 3),
        ("kafka_cluster_partition_laststableoffset", "End of what is decided.", 4),
        ("kafka_log_log_size", "Bytes of the segments.", 5),
        ("kafka_log_log_numlogsegments", "Segments.", 6),
    ):
        family = GaugeMetricFamily(name, help, labels=("topic", "partition"))
        for each in numbers.partitions:
            number = each[at]
            assert isinstance(number, int)
            family.add_metric((each.name.topic, str(each.name.partition)), number)
        yield family


def gauge(name: str, help: str, value: int) -> Metric:
    """A number that goes up and down."""
    return GaugeMetricFamily(name, help, value=value)


def by_label(name: str, help: str, label: str, values: Iterable[tuple[str, int]]) -> Metric:
    """Such a number for each of several."""
    family = GaugeMetricFamily(name, help, labels=(label,))
    for each, value in values:
        family.add_metric((each,), value)
    return family


def histogram(
    name: str,
    help: str,
    values: Iterable[tuple[tuple[str, ...], Durations]],
    *,
    labels: tuple[str, ...] = (),
) -> Metric:
    """Durations; Prometheus counts a bucket's smaller ones in it too."""
    family = HistogramMetricFamily(name, help, labels=labels)
    for who, durations in values:
        below = 0
        buckets = []
        for at in range(BUCKETS - 1):
            below += durations.buckets[at]
            buckets.append((f"{4**at / 1e6:.6f}", below))
        buckets.append(("+Inf", below + durations.buckets[-1]))
        family.add_metric(who, buckets, durations.nanoseconds / 1e9)
    return family
