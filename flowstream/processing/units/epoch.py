"""An epoch: completed units of all tasks of a worker that commit in one transaction.

Pure values and the rule of when an epoch closes. Never knows how it is committed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from flowstream.state.table import TablePartition

G = TypeVar("G")

DIRTY_KEYS = 5_000
"""A store write batch of this size holds the interpreter for 10-15 ms; more would be felt."""
OUTPUT_BYTES = 8 * 1024 * 1024
MOST_WAITING = 4
"""So many times the size that closes an epoch may gather while the one before it commits."""


@dataclass(frozen=True, slots=True)
class TableRows:
    """What one table partition adds to the epoch; `source_offset` travels into its store."""

    partition: TablePartition
    changelog: tuple[str, int] | None
    rows: Mapping[bytes, bytes | None]
    source_offset: int | None


@dataclass(frozen=True, slots=True)
class Epoch(Generic[G]):
    """Everything of one transaction; it belongs to one group generation."""

    number: int
    offsets: Mapping[tuple[str, int], int]
    outputs: int
    tables: Sequence[TableRows] = field(default=())
    generation: G | None = None

    @property
    def is_empty(self) -> bool:
        """True when there is nothing to commit."""
        return not self.offsets and not self.outputs and not self.tables


def should_close(*, age_s: float, interval_s: float, dirty_keys: int, output_bytes: int) -> bool:
    """An epoch closes on its interval or on a size bound, whichever comes first."""
    return age_s >= interval_s or dirty_keys >= DIRTY_KEYS or output_bytes >= OUTPUT_BYTES


def is_full(*, dirty_keys: int, output_bytes: int) -> bool:
    """True when the open epoch may not grow further until the one before it is committed."""
    full = dirty_keys >= MOST_WAITING * DIRTY_KEYS
    return full or output_bytes >= MOST_WAITING * OUTPUT_BYTES
