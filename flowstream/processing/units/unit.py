"""One event's effects: what happens together or not at all.

Pure values. A unit is what one event (or one `take`) caused; it is made when the agent moves on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flowstream.processing.time.marks import Mark
from flowstream.state.table import Sealed
from flowstream.transport.types import TopicPartition

Output = tuple[
    TopicPartition, bytes | None, bytes | None, int, tuple[tuple[str, bytes | None], ...]
]
"""A record to produce, encoded: partition, key, value, timestamp in ms, headers.

A plain tuple: a NamedTuple costs ten times as much to make, and there is one per output.
"""

Row = tuple[str, bytes]
"""A table and a key in it."""


@dataclass(frozen=True, slots=True)
class Unit:
    """The completed effects of the records of one source up to `next_offset` by one agent."""

    source: int
    next_offset: int
    at_ms: int
    """Event time: the greatest of the records."""
    outputs: tuple[Output, ...] = ()
    tables: tuple[Sealed, ...] = ()
    mark: tuple[str, Mark] | None = None
    """The watermark that the record was, where it was one."""
    offsets: tuple[int, ...] = ()
    """The offsets it covers, in order, where units of its source complete out of order."""
    touched: frozenset[Row] | None = None
    """The rows that it has read or written, where that is known: it depends on nothing else."""
    wrote_ms: int = 0
    """The event time of its writes: that of the last record."""
    size: int = 0
    """What it holds in memory, where it may wait (see `size_of`)."""


def size_of(outputs: Iterable[Output], tables: Iterable[Sealed]) -> int:
    """Bytes of records and rows. What goes into a channel has no bytes: it counts as nothing."""
    size = 0
    for _, key, value, _, headers in outputs:
        if value is not None:
            size += len(value)
        if isinstance(key, bytes):
            size += len(key)
        for name, content in headers:
            size += len(name) + len(content or b"")
    for part in tables:
        for key, row in part.rows.items():
            size += len(key)
            if isinstance(row, bytes | str):
                size += len(row)
    return size
