"""Checker 1: logs and transactions. A history of operations in, the broken promises out.

Linear in the history. It judges atomicity only on drained views and final offsets, because markers
reach partitions one by one; an unknown outcome may be either, but the same everywhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from .history import (
    Anomaly,
    Committed,
    Drained,
    End,
    GroupPartition,
    Operation,
    Outcome,
    Partition,
    Poll,
    Reset,
    Seek,
    Send,
    Watermarks,
)

Reading = tuple[str, Partition]  # a reader in a partition


class Facts:
    """The history sorted by what it says, each part in order."""

    def __init__(self, history: Iterable[Operation]) -> None:
        self.operations = tuple(history)
        self.sends: dict[str, Send] = {}
        self.ends: dict[str, End] = {}
        self.of_transaction: dict[str, list[Send]] = defaultdict(list)
        self.drained: dict[Partition, list[Drained]] = defaultdict(list)
        self.committed_readers: set[Reading] = set()
        self.versions: dict[Partition, dict[int, str]] = defaultdict(dict)
        self.found: dict[str, tuple[Partition, int]] = {}
        self.read_by: dict[Reading, dict[int, str]] = defaultdict(dict)
        for operation in self.operations:
            self._sort(operation)

    def _sort(self, operation: Operation) -> None:
        match operation:
            case Send():
                self.sends[operation.value] = operation
                if operation.transaction is not None:
                    self.of_transaction[operation.transaction].append(operation)
                if operation.outcome is Outcome.OK and operation.offset is not None:
                    self.versions[operation.partition].setdefault(operation.offset, operation.value)
            case End():
                self.ends[operation.transaction] = operation
            case Drained():
                self.drained[operation.partition].append(operation)
            case Poll():
                reading = operation.reader, operation.partition
                if operation.committed_only:
                    self.committed_readers.add(reading)
                for offset, value in operation.records:
                    self.versions[operation.partition].setdefault(offset, value)
                    self.found.setdefault(value, (operation.partition, offset))
                    self.read_by[reading][offset] = value
            case _:
                pass

    def fate(self, send: Send) -> Outcome:
        """OK when the record must be in the committed view, FAIL when it must not, else UNKNOWN."""
        if send.outcome is not Outcome.OK or send.transaction is None:
            return send.outcome
        end = self.ends.get(send.transaction)
        if end is None or end.outcome is Outcome.UNKNOWN:
            return Outcome.UNKNOWN
        return Outcome.OK if end.commit and end.outcome is Outcome.OK else Outcome.FAIL


def check(history: Iterable[Operation]) -> list[Anomaly]:
    """Every anomaly in `history`; an empty list says that the history is legal."""
    facts = Facts(history)
    parts = (
        inconsistent_offsets,
        duplicates,
        wrong_reads,
        unseen_writes,
        session_order,
        polls,
        atomicity,
        watermarks,
        committed_offsets,
    )
    return [anomaly for part in parts for anomaly in part(facts)]


def inconsistent_offsets(facts: Facts) -> Iterator[Anomaly]:
    """L1: an offset of a partition holds one value for good, in answers and in reads."""
    for partition, offset, value in placements(facts):
        first = facts.versions[partition][offset]
        if first != value:
            evidence = f"{partition} offset {offset}: {first!r} and {value!r}"
            yield Anomaly("inconsistent offset", "L1", evidence)


def placements(facts: Facts) -> Iterator[tuple[Partition, int, str]]:
    """Every statement of the history that a value is at an offset."""
    for operation in facts.operations:
        if isinstance(operation, Send):
            if operation.outcome is Outcome.OK and operation.offset is not None:
                yield operation.partition, operation.offset, operation.value
        elif isinstance(operation, Poll):
            for offset, value in operation.records:
                yield operation.partition, offset, value


def duplicates(facts: Facts) -> Iterator[Anomaly]:
    """L3, P1: a value is in the log once, at the offset that its sender was told."""
    places: dict[str, tuple[Partition, int]] = {}
    for partition, offset, value in placements(facts):
        first = places.setdefault(value, (partition, offset))
        if first != (partition, offset):
            yield Anomaly("duplicate", "L3", f"{value!r} at {first} and {(partition, offset)}")


def wrong_reads(facts: Facts) -> Iterator[Anomaly]:
    """T8: aborted data is never visible to read_committed; refused and unsent data never at all."""
    for reading, records in facts.read_by.items():
        for offset, value in records.items():
            where = f"{reading} offset {offset}: {value!r}"
            send = facts.sends.get(value)
            if send is None or send.partition != reading[1]:
                yield Anomaly("phantom", "L1", where)
            elif send.outcome is Outcome.FAIL:
                yield Anomaly("refused read", "P1", where)
            elif reading in facts.committed_readers and facts.fate(send) is Outcome.FAIL:
                yield Anomaly("aborted read", "T8", where)


def unseen_writes(facts: Facts) -> Iterator[Anomaly]:
    """L2, T7: what was acknowledged and committed is there when a drained reader looks."""
    for send in facts.sends.values():
        if facts.fate(send) is not Outcome.OK:
            continue
        for drained in facts.drained[send.partition]:
            records = facts.read_by[drained.reader, send.partition]
            place = facts.found.get(send.value)
            offset = send.offset if place is None else place[1]
            if offset is None or (offset >= drained.start and records.get(offset) != send.value):
                last = max(records, default=-1)
                name = "lost write" if offset is not None and offset < last else "unseen"
                yield Anomaly(name, "L2", f"{send.value!r} at {offset}, {drained}")


def session_order(facts: Facts) -> Iterator[Anomaly]:
    """L4: one session's records of one partition lie in the order of sending."""
    last: dict[tuple[str, Partition], tuple[int, str]] = {}
    for send in facts.sends.values():
        place = facts.found.get(send.value)
        offset = send.offset if place is None else place[1]
        if offset is None:
            continue
        lane = send.session, send.partition
        before = last.get(lane)
        if before is not None and offset < before[0]:
            evidence = f"{lane}: {before[1]!r} at {before[0]}, then {send.value!r} at {offset}"
            yield Anomaly("reordered", "L4", evidence)
        last[lane] = offset, send.value


def polls(facts: Facts) -> Iterator[Anomaly]:
    """L1, L5: a reader goes forward, and over nothing that it should have seen.

    A skip is judged against the union of what every reader saw: for a committed reader the
    committed view, for others also the rest.
    """
    known = visible(facts)
    position: dict[Reading, int] = {}
    index: dict[Reading, int] = {}
    for operation in facts.operations:
        if isinstance(operation, Seek):
            reading = operation.reader, operation.partition
            position[reading] = operation.offset
            index.pop(reading, None)
        elif isinstance(operation, Poll):
            reading = operation.reader, operation.partition
            order = known[operation.partition]
            for offset, value in operation.records:
                at = position.get(reading, 0)
                if offset < at:
                    where = f"{reading}: {value!r} at {offset} after position {at}"
                    yield Anomaly("non-monotonic poll", "L1", where)
                else:
                    yield from skipped(facts, reading, order, index, at, offset)
                position[reading] = offset + 1


def skipped(
    facts: Facts,
    reading: Reading,
    order: list[tuple[int, str]],
    index: dict[Reading, int],
    at: int,
    offset: int,
) -> Iterator[Anomaly]:
    """Records between the position `at` and `offset` that must have been seen on the way."""
    i = index.get(reading)
    if i is None:
        i = first_at(order, at)
    while i < len(order) and order[i][0] < offset:
        if order[i][0] >= at:
            yield Anomaly("skip", "L2", f"{reading} went from {at} to {offset} over {order[i]}")
        i += 1
    index[reading] = i


def first_at(order: list[tuple[int, str]], offset: int) -> int:
    """Index of the first record at or above `offset`."""
    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        if order[middle][0] < offset:
            low = middle + 1
        else:
            high = middle
    return low


def visible(facts: Facts) -> Mapping[Partition, list[tuple[int, str]]]:
    """Per partition, in order, the records that every reader has to see (committed or plain)."""
    known: dict[Partition, list[tuple[int, str]]] = defaultdict(list)
    for partition, versions in facts.versions.items():
        for offset in sorted(versions):
            value = versions[offset]
            send = facts.sends.get(value)
            if send is not None and facts.fate(send) is Outcome.OK:
                known[partition].append((offset, value))
    return known


def atomicity(facts: Facts) -> Iterator[Anomaly]:
    """T9: of a transaction, drained readers see every acknowledged record or none, offsets
    included.
    """
    final = {
        op.target: op.offset for op in facts.operations if isinstance(op, Committed) and op.final
    }
    seen = {
        value
        for (reader, partition), records in facts.read_by.items()
        if any(d.reader == reader for d in facts.drained[partition])
        and (reader, partition) in facts.committed_readers
        for value in records.values()
    }
    for transaction, end in facts.ends.items():
        sends = [
            s
            for s in facts.of_transaction[transaction]
            if s.outcome is Outcome.OK and facts.drained[s.partition]
        ]
        present = [s.value for s in sends if s.value in seen]
        missing = [s.value for s in sends if s.value not in seen]
        behind = [
            target
            for target, offset in end.offsets.items()
            if target in final and (final[target] is None or (final[target] or 0) < offset)
        ]
        if (present and missing) or (present and behind):
            evidence = f"{transaction}: saw {present}, not {missing}, offsets behind {behind}"
            yield Anomaly("torn transaction", "T9", evidence)
        ahead = [t for t, o in end.offsets.items() if t in final and final[t] == o]
        if missing and ahead and not present and sole_cause(facts, transaction, ahead):
            yield Anomaly("torn transaction", "T9", f"{transaction}: offsets {ahead}, no records")


def sole_cause(facts: Facts, transaction: str, targets: list[GroupPartition]) -> bool:
    """Whether only `transaction` could have moved all of `targets` where they are."""
    mine = facts.ends[transaction].offsets
    return not any(
        other.offsets.get(target) == mine[target]
        for target in targets
        for name, other in facts.ends.items()
        if name != transaction
    )


def watermarks(facts: Facts) -> Iterator[Anomaly]:
    before: dict[Partition, Watermarks] = {}
    for mark in facts.operations:
        if not isinstance(mark, Watermarks):
            continue
        if not mark.log_start <= mark.last_stable <= mark.high_watermark <= mark.log_end:
            yield Anomaly("watermark order", "L6", f"{mark}")
        last = before.get(mark.partition)
        if last is not None and (
            mark.log_start < last.log_start or mark.high_watermark < last.high_watermark
        ):
            yield Anomaly("watermark went back", "L8", f"{last} then {mark}")
        before[mark.partition] = mark


def committed_offsets(facts: Facts) -> Iterator[Anomaly]:
    """G6: a committed offset moves back only by an explicit reset."""
    last: dict[GroupPartition, int] = {}
    for operation in facts.operations:
        if isinstance(operation, Reset):
            last.pop(operation.target, None)
        elif isinstance(operation, Committed):
            before = last.get(operation.target)
            now = -1 if operation.offset is None else operation.offset
            if before is not None and now < before:
                evidence = f"{operation.target}: {before} then {operation.offset}"
                yield Anomaly("offset went back", "G6", evidence)
            last[operation.target] = now
