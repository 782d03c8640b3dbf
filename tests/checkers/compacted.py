"""Checker 3: a compacted topic. What was sent with which key and what readers saw in, the broken
promises out.

A record may be gone only when a newer one of its key may be committed; the newest committed value
of each key is there for whoever reads to the end (L7), and a reader that passes a missing record
has lost nothing (C1). An unknown outcome may be either.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .history import Anomaly, Operation, Outcome, Send
from .log import Facts


@dataclass(frozen=True, slots=True)
class Keyed:
    """A record sent with a key; a tombstone has the value too, but only in this note of it."""

    send: Send
    key: str
    tombstone: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """What one reader saw from the start of the partition on: offset, key and value (None for a
    tombstone). `drained`: it came to the end after all writers had stopped.
    """

    reader: str
    records: tuple[tuple[int, str, str | None], ...]
    committed_only: bool
    drained: bool


class Keys:
    """The sends sorted by key, with their fates."""

    def __init__(self, keyed: Iterable[Keyed], history: Iterable[Operation]) -> None:
        self.sent = tuple(keyed)
        facts = Facts([*history, *(each.send for each in self.sent)])
        self.fates = {each.send.value: facts.fate(each.send) for each in self.sent}
        self.by_value = {each.send.value: each for each in self.sent}
        self.by_offset = {
            each.send.offset: each for each in self.sent if each.send.outcome is Outcome.OK
        }
        self.by_key: dict[str, list[Keyed]] = defaultdict(list)
        for each in self.sent:
            self.by_key[each.key].append(each)
        self.committed = {key: self._committed(key) for key in self.by_key}
        self.newest = {key: self._newest(key) for key in self.by_key}

    def _committed(self, key: str) -> list[Keyed]:
        """The records of a key that are surely committed and whose place is known, in order."""
        known = [
            each
            for each in self.by_key[key]
            if self.fates[each.send.value] is Outcome.OK and each.send.offset is not None
        ]
        return sorted(known, key=lambda each: each.send.offset or 0)

    def _newest(self, key: str) -> float:
        """The offset up to which a record of the key may be committed."""
        return max(
            (
                math.inf if each.send.offset is None else each.send.offset
                for each in self.by_key[key]
                if self.fates[each.send.value] is not Outcome.FAIL
            ),
            default=-1,
        )


def check(
    keyed: Iterable[Keyed],
    history: Iterable[Operation],
    views: Iterable[View],
    values: dict[int, str | None] | None = None,
) -> list[Anomaly]:
    """Every anomaly of a compacted partition. `history` has the ends of the transactions; `values`
    keeps from check to check what the views of each one saw.
    """
    keys = Keys(keyed, history)
    found: list[Anomaly] = []
    if values is None:
        values = {}
    for view in views:
        found += wrong_reads(keys, view, values)
        if view.committed_only:
            found += skips(keys, view)
            if view.drained:
                found += last_values(keys, view)
    return found


def wrong_reads(keys: Keys, view: View, values: dict[int, str | None]) -> Iterator[Anomaly]:
    """L1, T8: an offset has one value for good; what was aborted or never sent is not seen."""
    before = -1
    for offset, key, value in view.records:
        where = f"{view.reader} offset {offset}: {key}={value!r}"
        if offset <= before:
            yield Anomaly("non-monotonic poll", "L1", where)
        before = offset
        if values.setdefault(offset, value) != value:
            yield Anomaly("inconsistent offset", "L1", f"{where}, before {values[offset]!r}")
        placed = keys.by_offset.get(offset)
        if placed is not None and (key, value) != contents(placed):
            yield Anomaly("inconsistent offset", "L1", f"{where}, acknowledged {placed}")
        if value is None:
            continue
        sent = keys.by_value.get(value)
        if sent is None or sent.key != key:
            yield Anomaly("phantom", "L1", where)
        elif view.committed_only and keys.fates[value] is Outcome.FAIL:
            yield Anomaly("aborted read", "T8", where)


def contents(keyed: Keyed) -> tuple[str, str | None]:
    """Key and value as a reader sees them."""
    return keyed.key, None if keyed.tombstone else keyed.send.value


def skips(keys: Keys, view: View) -> Iterator[Anomaly]:
    """C1: what a committed reader did not see on its way had a newer record of its key."""
    seen = {offset for offset, _, _ in view.records}
    end = max(seen, default=-1)
    for key in keys.by_key:
        for each in keys.committed[key]:
            offset = each.send.offset
            assert offset is not None
            missing = offset < end and offset not in seen and not each.tombstone
            if missing and keys.newest[key] <= offset:
                yield Anomaly("skip", "C1", f"{view.reader} missed {key} at {offset}")


def last_values(keys: Keys, view: View) -> Iterator[Anomaly]:
    """L7: at the end the last committed value of each key is there."""
    last: dict[str, int] = {}
    for offset, key, _ in view.records:
        last[key] = offset
    for key, sent in keys.by_key.items():
        committed = keys.committed[key]
        if not committed:
            continue
        newest = committed[-1]
        offset = newest.send.offset
        assert offset is not None
        found = last.get(key)
        maybe_deleted = newest.tombstone or any(
            each.tombstone
            and keys.fates[each.send.value] is Outcome.UNKNOWN
            and (each.send.offset is None or each.send.offset > offset)
            for each in sent
        )
        if found is None and maybe_deleted:
            continue
        if found is None or found < offset:
            yield Anomaly("lost value", "L7", f"{view.reader}: {key} at {found}, {newest} is newer")
