"""What the harness's own clients write down: plain operations with outcomes, in the order of
completion.

Nothing here judges and nothing knows how the operations were made. A value is sent once in a
history, so it names its record. `UNKNOWN` is an answer that never came: the operation may have
happened or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple


class Outcome(Enum):
    """How an operation ended for the client that asked for it."""

    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "unknown"


class Partition(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class GroupPartition(NamedTuple):
    """Where a group's committed offset of a partition lives."""

    group: str
    partition: Partition


@dataclass(frozen=True, slots=True)
class Send:
    """One record sent by one producer session (L3, L4 are promises to a session)."""

    session: str
    partition: Partition
    value: str
    outcome: Outcome
    offset: int | None = None
    transaction: str | None = None


@dataclass(frozen=True, slots=True)
class End:
    """A transaction ended; `offsets` are the group offsets that were part of it."""

    transaction: str
    commit: bool
    outcome: Outcome
    offsets: Mapping[GroupPartition, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Poll:
    """A reader took these (offset, value) pairs from one partition."""

    reader: str
    partition: Partition
    records: tuple[tuple[int, str], ...]
    committed_only: bool = True


@dataclass(frozen=True, slots=True)
class Seek:
    """A reader moved its position on purpose; its first position is a seek too."""

    reader: str
    partition: Partition
    offset: int


@dataclass(frozen=True, slots=True)
class Drained:
    """A reader read from `start` to the end of the log after every writer had stopped."""

    reader: str
    partition: Partition
    start: int = 0


@dataclass(frozen=True, slots=True)
class Watermarks:
    """The offsets of a partition as one answer reported them."""

    partition: Partition
    log_start: int
    last_stable: int
    high_watermark: int
    log_end: int


@dataclass(frozen=True, slots=True)
class Committed:
    """The committed offset that a group's offset fetch answered (None: there is none)."""

    target: GroupPartition
    offset: int | None
    final: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """Somebody moved a group's offset back on purpose."""

    target: GroupPartition


Operation = Send | End | Poll | Seek | Drained | Watermarks | Committed | Reset


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One broken promise: its name, the invariant it breaks, and the evidence."""

    name: str
    invariant: str
    evidence: str
