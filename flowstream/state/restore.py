"""What a restore has to read, and whether the store may be used at all: decided, not done.

The order is the caller's: committed offsets with require_stable first, then the changelog's start
and high watermark, then `plan`, then reading committed records until the position reaches the
high watermark taken before (S4). Knows no store and no client.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowstream.state.changelog import ChangelogRecord, fold

CHUNK_ROWS = 40_000
CHUNK_BYTES = 8 << 20
"""Rows written at a time, at most: sorting and writing so many takes tens of milliseconds."""


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """Read the changelog from `start` until the position is `end` or beyond."""

    start: int
    end: int

    def done(self, position: int) -> bool:
        """Whether a reader at `position` has seen everything. Offsets between may be missing:
        markers, aborted records, and what compaction took.
        """
        return position >= self.end


@dataclass(frozen=True, slots=True)
class Rebuild:
    """The store's rows cannot be trusted: clear it, say why, and follow `plan`."""

    reason: str
    plan: RestorePlan


@dataclass(frozen=True, slots=True)
class Refuse:
    """Neither store nor changelog can be trusted: stop; `reason` names the way out."""

    reason: str


def plan(
    stored: int | None,
    log_start: int,
    end: int,
    *,
    missed_ms: int | None = None,
    delete_retention_ms: int | None = None,
) -> RestorePlan | Rebuild | Refuse:
    """Decide a restore.

    `stored` is the store's changelog offset (None: never written), `log_start` and `end` are the
    changelog's first offset and its high watermark, `missed_ms` the time since the store was last
    current, `delete_retention_ms` the topic's setting of that name.
    """
    assert 0 <= log_start <= end, (log_start, end)
    if stored is None:
        return RestorePlan(log_start, end)
    if stored > end:
        return Refuse(
            f"the changelog ends at offset {end}, but the store was built from it up to {stored}: "
            "the changelog was deleted or cut. If what is left of it is what you want, delete the "
            "store's directory to rebuild from it; else bring the changelog back"
        )
    if stored < log_start:
        return Rebuild(
            f"the changelog starts at offset {log_start}, behind the store's {stored}: changes "
            "between them are gone",
            RestorePlan(log_start, end),
        )
    late = (
        missed_ms is not None
        and delete_retention_ms is not None
        and missed_ms >= delete_retention_ms
    )
    if late and stored < end:
        return Rebuild(
            f"the store was last current {missed_ms} ms ago, longer than the {delete_retention_ms} "
            "ms for which the changelog keeps deletions: it may have missed some",
            RestorePlan(log_start, end),
        )
    return RestorePlan(stored, end)


class Chunk:
    """Changelog records on their way into the store: last value per key, sorted when taken.

    A key that changed often is written once. Sorted batches cost a third of unsorted ones, and less
    than table files that the database takes in whole (its ingestion), which must be merged later.
    """

    def __init__(self, rows: int = CHUNK_ROWS, size: int = CHUNK_BYTES) -> None:
        self._most_rows = rows
        self._most_bytes = size
        self._rows: dict[bytes, bytes | None] = {}
        self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether it is time to take."""
        return len(self._rows) >= self._most_rows or self._bytes >= self._most_bytes

    def add(self, records: Sequence[ChangelogRecord], size: int) -> None:
        """Fold more records in, in their order; `size` is roughly how many bytes they have."""
        fold(records, self._rows)
        self._bytes += size

    def take(self) -> dict[bytes, bytes | None]:
        """The rows to write now, in key order; the chunk is empty after."""
        rows, self._rows, self._bytes = self._rows, {}, 0
        return {key: rows[key] for key in sorted(rows)}
