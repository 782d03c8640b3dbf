"""One event's effects: what happens together or not at all.

Pure values. A unit is what one event (or one `take`) caused; it is made when the agent moves on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from flowstream.state.table import Sealed


class Output(NamedTuple):
    """A record to produce, encoded; `partition` is (topic, partition)."""

    partition: tuple[str, int]
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Unit:
    """The completed effects of the records of one source up to `next_offset` by one agent."""

    source: int
    next_offset: int
    outputs: tuple[Output, ...] = ()
    tables: tuple[Sealed, ...] = ()
