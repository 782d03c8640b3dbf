"""Checker 4: a log under retention. What was written when, and where the log was seen to begin,
in; the broken promises out.

The log start only rises (L8), and what it rises over was too old, or more than was to be kept, or
deleted on demand (L2). What was deleted on demand stays deleted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from .history import Anomaly

OVERHEAD = 61 + 24
"""What a record weighs at most beside its value: a batch of its own, and its own fields."""


class Written(NamedTuple):
    """An acknowledged record: its offset, its timestamp in ms and the bytes of its value."""

    offset: int
    at: int
    size: int


class Start(NamedTuple):
    """Where the log began, as answered between two instants of the wall clock in ms."""

    offset: int
    asked: int
    answered: int


class Cut(NamedTuple):
    """Records below `offset` were to be deleted; `answered` is None when nobody said that they
    were.
    """

    offset: int
    asked: int
    answered: int | None


@dataclass(frozen=True, slots=True)
class Bounds:
    """What must be kept; None: without this bound."""

    ms: int | None = None
    bytes: int | None = None


def check(
    written: Iterable[Written], starts: Sequence[Start], cuts: Sequence[Cut], bounds: Bounds
) -> list[Anomaly]:
    """Every anomaly of one partition. `starts` in the order of asking, one after another."""
    log = sorted(written)
    return [*only_rises(starts, cuts), *too_eager(log, starts, cuts, bounds)]


def only_rises(starts: Sequence[Start], cuts: Sequence[Cut]) -> Iterator[Anomaly]:
    """L8: never back, and not below what was deleted on demand."""
    low = 0
    for start in starts:
        if start.offset < low:
            yield Anomaly("log start went back", "L8", f"{low}, then {start}")
        low = max(low, start.offset)
        for cut in cuts:
            deleted = cut.answered is not None and cut.answered < start.asked
            if deleted and start.offset < cut.offset:
                yield Anomaly("deleted records are back", "L8", f"{cut}, then {start}")


def too_eager(
    log: Sequence[Written], starts: Sequence[Start], cuts: Sequence[Cut], bounds: Bounds
) -> Iterator[Anomaly]:
    """L2: nothing is gone that neither age nor size nor a demand explains."""
    offsets = [record.offset for record in log]
    before = 0
    for start in starts:
        demanded = max((c.offset for c in cuts if c.asked <= start.answered), default=0)
        if max(before, demanded) < start.offset:
            at = bisect_left(offsets, start.offset)
            gone = log[bisect_left(offsets, max(before, demanded)) : at]
            yield from too_young(gone, start, bounds)
            yield from too_many(log[at:], start, bounds)
        before = max(before, start.offset)


def too_young(gone: Sequence[Written], start: Start, bounds: Bounds) -> Iterator[Anomaly]:
    """Records that were deleted before their time."""
    if bounds.ms is None:
        return
    for record in gone:
        if record.at + bounds.ms >= start.answered:
            yield Anomaly("deleted too young", "L2", f"{record} at {start}, kept {bounds.ms} ms")


def too_many(left: Sequence[Written], start: Start, bounds: Bounds) -> Iterator[Anomaly]:
    """Fewer bytes were left than are to be kept."""
    if bounds.bytes is None:
        return
    weight = sum(OVERHEAD + record.size for record in left if record.at <= start.answered)
    if weight < bounds.bytes:
        yield Anomaly("deleted too much", "L2", f"{weight} of {bounds.bytes} bytes left at {start}")


def gaps(offsets: Sequence[int], end: int) -> Iterator[Anomaly]:
    """L1: without markers and compaction every offset from the first to `end` has a record."""
    for before, offset in pairwise((*offsets, end) if offsets else ()):
        if offset != before + 1:
            yield Anomaly("gap", "L1", f"{before} is followed by {offset}")
