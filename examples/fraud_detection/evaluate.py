"""The rules without a cluster: one pass over a file in time order, then precision and recall.

Run: `python -m examples.fraud_detection.evaluate [FILE]`.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from . import rules
from .lines import SAMPLE, lines_of, payments_of
from .models import Habit, Profile, Recent, Scored, Transaction


class Quality(NamedTuple):
    """How alerts compare with the labels."""

    alerts: int
    frauds: int
    hits: int

    @property
    def precision(self) -> float:
        """Share of the alerts that were fraud."""
        return self.hits / self.alerts if self.alerts else 0.0

    @property
    def recall(self) -> float:
        """Share of the fraud that was alerted."""
        return self.hits / self.frauds if self.frauds else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.hits / (self.alerts + self.frauds) if self.alerts + self.frauds else 0.0


def windows_of(time: int) -> range:
    """Starts of the hopping windows that contain `time`, the oldest (fullest) first."""
    newest = time - time % rules.WINDOW_STEP
    return range(newest - rules.WINDOW_SIZE + rules.WINDOW_STEP, newest + 1, rules.WINDOW_STEP)


def score_all(payments: Iterable[Transaction]) -> Iterator[Scored]:
    """What the pipeline must answer, payment by payment: the model the tests compare it with."""
    profiles: dict[str, Profile] = defaultdict(Profile)
    habits: dict[tuple[str, str], Habit] = defaultdict(Habit)
    windows: dict[tuple[str, int], Recent] = defaultdict(Recent)
    visits: dict[tuple[str, str], int] = defaultdict(int)
    for p in payments:
        starts = windows_of(p.unix_time)
        place, shop = (p.card, p.category), (p.card, p.merchant)
        before = windows[p.card, starts[0]]
        signals = rules.observe(p, profiles[p.card], habits[place], before, visits[shop])
        score, reasons = rules.judge(signals)
        alert = rules.is_alert(score)
        for start in starts:
            windows[p.card, start] = rules.more(windows[p.card, start], p.amount)
        if not alert:
            habits[place] = rules.learn(habits[place], p.amount)
        visits[shop] += 1
        profiles[p.card] = rules.remember(profiles[p.card], p, alert)
        yield rules.scored(p, score, reasons)


def quality(rows: Iterable[Scored]) -> Quality:
    """Alerts against labels."""
    alerts = frauds = hits = 0
    for row in rows:
        alert = rules.is_alert(row.score)
        alerts += alert
        frauds += row.is_fraud
        hits += alert and row.is_fraud
    return Quality(alerts, frauds, hits)


def main() -> None:
    """Print what the rules reach on a file."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLE
    rows = list(score_all(payments_of(lines_of(path))))
    q = quality(rows)
    print(f"{len(rows)} payments, {q.frauds} frauds, {q.alerts} alerts, {q.hits} of them right")
    print(f"precision {q.precision:.2f}  recall {q.recall:.2f}  F1 {q.f1:.3f}")


if __name__ == "__main__":
    main()
