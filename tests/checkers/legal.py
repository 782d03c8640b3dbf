"""Random legal histories: a small correct broker, its clients, and what they would write down."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

from .history import (
    Committed,
    Drained,
    End,
    GroupPartition,
    Operation,
    Outcome,
    Partition,
    Poll,
    Seek,
    Send,
    Watermarks,
)

PARTITIONS = (Partition("t", 0), Partition("t", 1), Partition("u", 0))
TARGET = GroupPartition("g", Partition("in", 0))


class Rng(Protocol):
    """The door to randomness."""

    def random(self) -> float: ...
    def randrange(self, stop: int) -> int: ...


class Cluster:
    """A correct log: plain and transactional records, markers, lost answers."""

    def __init__(self, rng: Rng) -> None:
        self.rng = rng
        self.history: list[Operation] = []
        self.logs: dict[Partition, list[str | None]] = defaultdict(list)
        self.aborted: set[str] = set()
        self.input_offset = 0
        self.sent = 0

    def send(self, session: str, transaction: str | None) -> None:
        """Append a record, or not; tell the client, or not."""
        partition = PARTITIONS[self.rng.randrange(len(PARTITIONS))]
        value = f"v{self.sent}"
        self.sent += 1
        chance = self.rng.random()
        if transaction is None and chance < 0.1:
            self.history.append(Send(session, partition, value, Outcome.FAIL))
            return
        written = chance < 0.9 or transaction is not None
        if written:
            self.logs[partition].append(value)
        outcome = Outcome.OK if written and chance < 0.8 else Outcome.UNKNOWN
        offset = len(self.logs[partition]) - 1 if outcome is Outcome.OK else None
        self.history.append(Send(session, partition, value, outcome, offset, transaction))

    def transact(self, session: str, transaction: str) -> None:
        """One transaction of a few records and offsets, ended with or without an answer."""
        for _ in range(1 + self.rng.randrange(3)):
            self.send(session, transaction)
        commit = self.rng.random() < 0.7
        values = {s.value for s in self.history if isinstance(s, Send)}
        mine = {
            s.value
            for s in self.history
            if isinstance(s, Send) and s.transaction == transaction and s.value in values
        }
        outcome = Outcome.OK if self.rng.random() < 0.8 else Outcome.UNKNOWN
        happened = commit and (outcome is Outcome.OK or self.rng.random() < 0.5)
        offsets = {TARGET: self.input_offset + 1}
        if happened:
            self.input_offset += 1
        else:
            self.aborted |= mine
        for partition in PARTITIONS:
            if any(value in mine for value in self.logs[partition]):
                self.logs[partition].append(None)
        self.history.append(End(transaction, commit, outcome, offsets))

    def view(self, partition: Partition, start: int) -> list[tuple[int, str]]:
        """What read_committed shows of `partition` from `start` on."""
        return [
            (offset, value)
            for offset, value in enumerate(self.logs[partition])
            if offset >= start and value is not None and value not in self.aborted
        ]

    def read(self, reader: str, positions: dict[Partition, int], upto: int) -> None:
        """One poll of every partition, at most `upto` records each."""
        for partition in PARTITIONS:
            records = self.view(partition, positions.get(partition, 0))[:upto]
            if records:
                positions[partition] = records[-1][0] + 1
                self.history.append(Poll(reader, partition, tuple(records)))

    def look(self) -> None:
        """Watermarks and committed offsets as answers show them."""
        for partition in PARTITIONS:
            end = len(self.logs[partition])
            self.history.append(Watermarks(partition, 0, end, end, end))
        self.history.append(Committed(TARGET, self.input_offset or None))


def legal_history(rng: Rng) -> Sequence[Operation]:
    """A random history of a correct cluster, drained at the end."""
    cluster = Cluster(rng)
    slow: dict[Partition, int] = {}
    for i in range(3 + rng.randrange(10)):
        match rng.randrange(5):
            case 0 | 1:
                cluster.transact(f"s{rng.randrange(2)}", f"tx{i}")
            case 2:
                cluster.send(f"p{rng.randrange(2)}", None)
            case 3:
                cluster.read("slow", slow, 1 + rng.randrange(3))
            case _:
                cluster.look()
        if rng.random() < 0.1:
            partition = PARTITIONS[rng.randrange(len(PARTITIONS))]
            slow[partition] = rng.randrange(1 + len(cluster.logs[partition]))
            cluster.history.append(Seek("slow", partition, slow[partition]))
    cluster.read("last", {}, 1 << 30)
    cluster.history.extend(Drained("last", partition) for partition in PARTITIONS)
    cluster.history.append(Committed(TARGET, cluster.input_offset or None, final=True))
    return cluster.history
