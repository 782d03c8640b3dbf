"""Idempotence and transactions of one partition: what is remembered of each producer, and what it
may write next.

`check` decides, `append` and `finish` change; the state is a fold of the log (P3), and `.snapshot`
files keep it at an offset. The rules are Kafka's (KIP-98, KIP-360, KIP-890), except that a
producer's expiry counts from its last *arrival*: its records may carry old timestamps, and
forgetting a living producer would let a retry in twice (P2).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode

REMEMBERED_BATCHES = 5
"""As many as an idempotent client has in flight at most."""

NO_SEQUENCE = -1
NO_EPOCH = -1
NO_TRANSACTION = -1
_SEQUENCES = 1 << 31


class Batch(NamedTuple):
    """One remembered batch of a producer. `span` is its number of offsets less one."""

    last_sequence: int
    last_offset: int
    span: int
    timestamp: int

    @property
    def first_sequence(self) -> int:
        """Sequence of its first record."""
        return (self.last_sequence - self.span) % _SEQUENCES


class Wrong(NamedTuple):
    """Why a batch is refused."""

    error: ErrorCode
    message: str


class Producer:
    """What a partition knows of one producer id."""

    __slots__ = (
        "batches",
        "coordinator_epoch",
        "epoch",
        "first_offset",
        "next_sequence",
        "producer_id",
        "seen",
        "timestamp",
    )

    def __init__(self, producer_id: int, epoch: int, seen: Instant) -> None:
        """A producer of which nothing is known but its id."""
        self.producer_id = producer_id
        self.epoch = epoch
        self.seen = seen
        self.batches: deque[Batch] = deque(maxlen=REMEMBERED_BATCHES)
        self.next_sequence = NO_SEQUENCE
        self.timestamp = -1
        self.coordinator_epoch = -1
        self.first_offset = NO_TRANSACTION

    def take_epoch(self, epoch: int) -> None:
        """A new epoch starts its sequences afresh; the batches of the old one are no longer
        retried.
        """
        if epoch != self.epoch:
            self.epoch = epoch
            self.batches.clear()
            self.next_sequence = NO_SEQUENCE

    def remember(self, batch: Batch) -> None:
        """`batch` is the newest one of the current epoch."""
        self.batches.append(batch)
        last = batch.last_sequence
        self.next_sequence = NO_SEQUENCE if last < 0 else (last + 1) % _SEQUENCES


class Producers:
    """All producers of one partition and their open transactions."""

    __slots__ = ("by_id", "open", "snapshot_offset")

    def __init__(self) -> None:
        """Nobody has written yet."""
        self.by_id: dict[int, Producer] = {}
        self.open: dict[int, int] = {}
        """Producer id -> first offset of its open transaction, in the order of the offsets."""
        self.snapshot_offset = 0
        """Offset of the newest snapshot: another one at the same offset would say the same."""

    def __iter__(self) -> Iterator[Producer]:
        return iter(self.by_id.values())

    @property
    def oldest_open(self) -> int | None:
        """First offset of the oldest open transaction."""
        return next(iter(self.open.values()), None)

    def in_transaction(self, producer_id: int, epoch: int) -> bool:
        """Whether (id, epoch) has a transaction open here, so that its next batch needs no
        confirmation (T1).
        """
        producer = self.by_id.get(producer_id)
        return producer is not None and producer.epoch == epoch and producer_id in self.open

    def check(
        self,
        producer_id: int,
        epoch: int,
        sequence: int,
        span: int,
        transactional: bool,
        confirmed: bool,
        strict: bool,
    ) -> Batch | Wrong | None:
        """None to append; the remembered batch when this is a repetition of it (P1); otherwise why
        not.

        `confirmed`: the coordinator says that the partition is in this producer's open transaction.
        `strict`: the producer speaks protocol v2, whose first batch in a partition always has
        sequence 0 (KIP-890).
        """
        producer = self.by_id.get(producer_id)
        if producer is None:
            if strict and sequence != 0:
                return Wrong(
                    ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
                    f"producer {producer_id} begins with sequence {sequence}",
                )
        elif epoch == producer.epoch:
            # An empty list: only markers are known, of this very epoch, or all its data was
            # deleted.
            if sequence != producer.next_sequence and (producer.batches or sequence != 0):
                return self._repeated(producer, sequence, span)
        else:
            wrong = _check_new_epoch(producer, epoch, sequence)
            if wrong is not None:
                return wrong
        return self._check_transaction(producer_id, epoch, transactional, confirmed)

    def _repeated(self, producer: Producer, sequence: int, span: int) -> Batch | Wrong:
        """The batch among the remembered ones that equals (sequence, span)."""
        for batch in producer.batches:
            if batch.span == span and batch.first_sequence == sequence:
                return batch
        expected = producer.next_sequence
        return Wrong(
            ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
            f"producer {producer.producer_id} sent sequence {sequence}, not {max(expected, 0)}",
        )

    def _check_transaction(
        self, producer_id: int, epoch: int, transactional: bool, confirmed: bool
    ) -> Wrong | None:
        if transactional:
            if confirmed or self.in_transaction(producer_id, epoch):
                return None
            return Wrong(
                ErrorCode.INVALID_TXN_STATE,
                f"the partition is in no open transaction of producer {producer_id}",
            )
        if producer_id in self.open:
            return Wrong(
                ErrorCode.INVALID_TXN_STATE,
                f"producer {producer_id} has a transaction open and sent a batch outside it",
            )
        return None

    def append(
        self,
        producer_id: int,
        epoch: int,
        sequence: int,
        base_offset: int,
        span: int,
        timestamp: int,
        transactional: bool,
        now: Instant,
    ) -> None:
        """Fold in an appended data batch. `timestamp` is the batch's largest."""
        producer = self.by_id.get(producer_id)
        if producer is None:
            producer = self.by_id[producer_id] = Producer(producer_id, epoch, now)
        elif producer.epoch != epoch:
            producer.take_epoch(epoch)
        last = NO_SEQUENCE if sequence < 0 else (sequence + span) % _SEQUENCES
        producer.batches.append(Batch(last, base_offset + span, span, timestamp))
        producer.next_sequence = NO_SEQUENCE if last < 0 else (last + 1) % _SEQUENCES
        producer.timestamp = timestamp
        producer.seen = now
        if transactional and producer.first_offset < 0:
            producer.first_offset = base_offset
            self.open[producer_id] = base_offset

    def finish(
        self, producer_id: int, epoch: int, coordinator_epoch: int, timestamp: int, now: Instant
    ) -> int | None:
        """Fold in a marker. The first offset of the transaction that it ends, None when there was
        none here.
        """
        producer = self.by_id.get(producer_id)
        if producer is None:
            producer = self.by_id[producer_id] = Producer(producer_id, epoch, now)
        producer.take_epoch(epoch)
        producer.coordinator_epoch = coordinator_epoch
        producer.timestamp = timestamp
        producer.seen = now
        producer.first_offset = NO_TRANSACTION
        return self.open.pop(producer_id, None)

    def restore(self, producers: Iterable[Producer], offset: int) -> None:
        """Begin from a snapshot taken at `offset`."""
        self.by_id = {producer.producer_id: producer for producer in producers}
        starts = [(p.first_offset, p.producer_id) for p in self if p.first_offset >= 0]
        self.open = {producer_id: start for start, producer_id in sorted(starts)}
        self.snapshot_offset = offset

    def expire(self, before: Instant) -> None:
        """Forget who was last heard of before `before` and has no transaction open."""
        gone = [p.producer_id for p in self if p.seen < before and p.first_offset < 0]
        for producer_id in gone:
            del self.by_id[producer_id]


def _check_new_epoch(producer: Producer, epoch: int, sequence: int) -> Wrong | None:
    if epoch < producer.epoch:
        return Wrong(
            ErrorCode.INVALID_PRODUCER_EPOCH,
            f"epoch {epoch} of producer {producer.producer_id} is older than {producer.epoch}",
        )
    if sequence != 0 and producer.epoch != NO_EPOCH:
        return Wrong(
            ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
            f"producer {producer.producer_id} begins epoch {epoch} with sequence {sequence}",
        )
    return None
