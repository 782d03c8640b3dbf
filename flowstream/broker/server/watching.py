"""A broker's state as plain values for those who watch it, and whether it is healthy.

Taken on the loop between two turns, so that all numbers are of one moment; it must not know how
they are shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from flowstream.broker.log.partition import PartitionLog
from flowstream.broker.server.driver import Driver
from flowstream.broker.transactions.states import NAMES
from flowstream.broker.types import TopicPartition
from flowstream.clock import monotonic_ns

PARTITIONS_SHOWN = 1_000
"""Partitions with numbers of their own: every one is six time series for the reader (X3)."""

TOPICS_SHOWN = 1_000
"""Topics with numbers of their own, for the same reason."""

SYNC_PATIENCE_S = 5.0
"""A disk that takes longer for one sync holds up every producer: red well within V2's 10 s."""


class PartitionNumbers(NamedTuple):
    """One partition's offsets and size."""

    name: TopicPartition
    log_start: int
    log_end: int
    high_watermark: int
    last_stable: int
    size: int
    segments: int


class TopicNumbers(NamedTuple):
    """What clients brought to a topic and took from it, in bytes of batches."""

    name: str
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """A broker at one moment."""

    partitions: tuple[PartitionNumbers, ...]
    topics: tuple[TopicNumbers, ...]
    partition_count: int
    topic_count: int
    appended: int
    """Offsets given out since the watch began, markers included."""
    connections: int
    connection_memory: int
    """Bytes of unfinished requests and unsent answers."""
    connection_memory_most: int
    groups: Mapping[str, int]
    transactions: Mapping[str, int]
    open_transactions: int
    uncleanable: int
    """Partitions whose compaction met bad bytes."""
    logins_failed: int
    logins_succeeded: int
    failed: bool


class Watch:
    """Looks at one driver again and again."""

    def __init__(self, driver: Driver) -> None:
        """What is appended counts from now on."""
        self._driver = driver
        self._appended = 0
        self._ends = self._log_ends()

    def numbers(self) -> Numbers:
        """How it is now."""
        driver, cores = self._driver, self._driver.cores
        groups = Counter(group.state.value for group in cores.groups.groups.values())
        transactions = Counter(NAMES[t.state] for t in cores.transactions.transactions.values())
        logs, sasl = cores.logs.by_name, cores.sasl
        return Numbers(
            partitions=tuple(
                PartitionNumbers(
                    name,
                    log.log_start,
                    log.log_end,
                    log.high_watermark,
                    log.last_stable,
                    log.size,
                    len(log.segments),
                )
                for name, log in islice(logs.items(), PARTITIONS_SHOWN)
            ),
            topics=tuple(_by_topic(logs)),
            partition_count=len(logs),
            topic_count=len(cores.logs.partitions),
            appended=self._count_appended(),
            connections=len(driver.connections),
            connection_memory=cores.memory.held,
            connection_memory_most=cores.memory.most,
            groups=groups,
            transactions=transactions,
            open_transactions=sum(len(log.producers.open) for log in logs.values()),
            uncleanable=cores.upkeep.uncleanable,
            logins_failed=0 if sasl is None else sasl.failed,
            logins_succeeded=0 if sasl is None else sasl.succeeded,
            failed=driver.failed is not None,
        )

    def _count_appended(self) -> int:
        """Nothing on the way of a record counts it: how far the logs have grown tells."""
        before, self._ends = self._ends, self._log_ends()
        for name, end in self._ends.items():
            begin = before.get(name, 0)
            # A topic that was deleted and made anew starts at 0 again.
            self._appended += end - begin if end >= begin else end
        return self._appended

    def _log_ends(self) -> dict[TopicPartition, int]:
        logs = self._driver.cores.logs.by_name
        return {name: log.log_end for name, log in logs.items()}


def _by_topic(logs: Mapping[TopicPartition, PartitionLog]) -> list[TopicNumbers]:
    found: dict[str, TopicNumbers] = {}
    for name, log in logs.items():
        so_far = found.get(name.topic)
        if so_far is None:
            if len(found) == TOPICS_SHOWN:
                continue
            so_far = TopicNumbers(name.topic, 0, 0)
        bytes_in, bytes_out = so_far.bytes_in + log.bytes_in, so_far.bytes_out + log.bytes_out
        found[name.topic] = TopicNumbers(name.topic, bytes_in, bytes_out)
    return list(found.values())


def ailments(driver: Driver, now_ns: int | None = None) -> list[str]:
    """Why the broker is not healthy (V2): an empty list when it is."""
    now = monotonic_ns() if now_ns is None else now_ns
    found = []
    if driver.failed is not None:
        found.append(f"stopped: {driver.failed}")
    elif driver.stopping:
        found.append("the broker is stopping")
    since = driver.sync_since
    if since is not None and driver.failed is None and now - since > SYNC_PATIENCE_S * 1e9:
        seconds = (now - since) // 1_000_000_000
        found.append(
            f"the disk has not finished a sync for {seconds} s and every acknowledgement waits for"
            " it: check the disk of the data directory"
        )
    return found
