"""What a worker measures for those who watch it: plain numbers, per batch or rarer.

Pure. Nothing here is on the way of an event: what is counted per event is counted by its instance
already, and read when somebody asks (see `reading`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
RECORDS = (1.0, 10.0, 100.0, 1_000.0, 5_000.0, 10_000.0, 50_000.0, 100_000.0, 1_000_000.0)

Taken = tuple[str, str]
"""An agent and the topic (or inner source) that it takes events from."""


class Histogram:
    """How many, their sum, and how many up to each bound; `counts` has one more for the rest.

    >>> seconds = Histogram((0.1, 1.0))
    >>> for each in (0.05, 0.1, 0.5, 7.0):
    ...     seconds.add(each)
    >>> seconds.counts, seconds.sum
    ([2, 1, 1], 7.65)
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """One more."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def copy(self) -> Histogram:
        """As it is now."""
        copied = Histogram(self.bounds)
        copied.counts, copied.sum = list(self.counts), self.sum
        return copied


class Meters:
    """One worker's. Sums only grow; rates are the reader's affair."""

    __slots__ = (
        "commit_seconds",
        "epoch_records",
        "events",
        "outputs",
        "rebalance_seconds",
        "restored_rows",
    )

    def __init__(self) -> None:
        self.events: Counter[Taken] = Counter()
        """Events taken by instances that are gone."""
        self.outputs: Counter[str] = Counter()
        """Committed records by topic, changelogs among them."""
        self.commit_seconds = Histogram(SECONDS)
        self.epoch_records = Histogram(RECORDS)
        self.rebalance_seconds = Histogram(SECONDS)
        """From losing the old assignment until every task of the new one runs."""
        self.restored_rows = 0

    def committed(self, seconds: float, outputs: Iterable[tuple[str, int]]) -> None:
        """An epoch with so many records for these topics took so long to commit."""
        self.commit_seconds.add(seconds)
        total = 0
        for topic, records in outputs:
            self.outputs[topic] += records
            total += records
        self.epoch_records.add(total)
