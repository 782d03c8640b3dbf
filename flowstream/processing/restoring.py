"""Restoring a table partition: its store catches up with its changelog before events run.

Shell: reads the changelog and writes the store. What to do is decided in `state.restore`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from flowstream.clock import monotonic_ms

log = logging.getLogger("flowstream.restore")

PROGRESS_EVERY_MS = 2_000


@dataclass(slots=True)
class Progress:
    """How far the restores of one assignment are; one line every two seconds."""

    total: int = 0
    done: int = 0
    rows: int = 0
    began_ms: int = 0
    told_ms: int = 0

    def expect(self, records: int) -> None:
        """A restore will read this many offsets."""
        if not self.began_ms:
            self.began_ms = self.told_ms = monotonic_ms()
        self.total += records

    def advance(self, offsets: int, rows: int) -> None:
        """A restore moved on."""
        self.done += offsets
        self.rows += rows
        now = monotonic_ms()
        if now - self.told_ms >= PROGRESS_EVERY_MS:
            self.told_ms = now
            self.tell(now)

    def tell(self, now: int) -> None:
        """One line: share, rate, time left."""
        elapsed = max(now - self.began_ms, 1) / 1000
        rate = self.done / elapsed
        left = (self.total - self.done) / rate if rate else 0.0
        share = 100 * self.done // max(self.total, 1)
        log.info(
            "restoring tables: %d%% (%d of %d), %.0f records/s, %.0f s left",
            share, self.done, self.total, rate, left,
        )  # fmt: skip


Told = Callable[[Progress], None]
