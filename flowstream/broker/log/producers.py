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
from flowstream.wire.batch_header import TRANSACTIONAL, BatchHeader
from flowstream.wire.error_codes import ErrorCode

REMEMBERED_BATCHES = 5
"""As many as an idempotent client has in flight at most."""

NO_SEQUENCE = -1
NO_EPOCH = -1
NO_TRANSACTION = -1
_SEQUENCES = 1 << 31


Batch = tuple[int, int, int, int]
"""A remembered batch: last sequence, last offset, number of offsets less one, largest timestamp. A
plain tuple, because one is made per append.
"""


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
        last = batch[0]
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

    def check(self, header: BatchHeader, confirmed: bool, strict: bool) -> Batch | Wrong | None:
        """None to append; the remembered batch when this is a repetition of it (P1); otherwise why
        not.

        `confirmed`: the coordinator says that the partition is in this producer's open transaction.
        `strict`: the producer speaks protocol v2, whose first batch in a partition always has
        sequence 0 (KIP-890).
        """
        producer_id, epoch, sequence = (
            header.producer_id,
            header.producer_epoch,
            header.base_sequence,
        )
        producer = self.by_id.get(producer_id)
        if producer is None:
            if strict and sequence != 0:
                return Wrong(
                    ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
                    f"producer {producer_id} begins with sequence {sequence}",
                )
        elif epoch == producer.epoch:
            # No batches: only markers of this very epoch are known, so that it begins with 0.
            if sequence != producer.next_sequence and (producer.batches or sequence != 0):
                return _repeated(producer, header)
        else:
            wrong = _check_new_epoch(producer, epoch, sequence)
            if wrong is not None:
                return wrong
        transactional = header.attributes & TRANSACTIONAL != 0
        if not transactional and producer_id not in self.open:
            return None
        return self._check_transaction(producer_id, epoch, transactional, confirmed)

    def _check_transaction(
        self, producer_id: int, epoch: int, transactional: bool, confirmed: bool
    ) -> Wrong | None:
        if not transactional:
            return Wrong(
                ErrorCode.INVALID_TXN_STATE,
                f"producer {producer_id} has a transaction open and sent a batch outside it",
            )
        if confirmed or self.in_transaction(producer_id, epoch):
            return None
        return Wrong(
            ErrorCode.INVALID_TXN_STATE,
            f"the partition is in no open transaction of producer {producer_id}",
        )

    def append(self, header: BatchHeader, base_offset: int, now: Instant) -> None:
        """Fold in a data batch that was appended at `base_offset`."""
        producer_id, epoch = header.producer_id, header.producer_epoch
        producer = self.by_id.get(producer_id)
        if producer is None:
            producer = self.by_id[producer_id] = Producer(producer_id, epoch, now)
        elif producer.epoch != epoch:
            producer.take_epoch(epoch)
        span, timestamp = header.last_offset_delta, header.max_timestamp
        last = header.base_sequence
        if last >= 0:
            last = (last + span) % _SEQUENCES
            producer.next_sequence = (last + 1) % _SEQUENCES
        producer.batches.append((last, base_offset + span, span, timestamp))
        producer.timestamp = timestamp
        producer.seen = now
        if header.attributes & TRANSACTIONAL and producer.first_offset < 0:
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

    def fence(self, producer_id: int, epoch: int, now: Instant) -> None:
        """Fold in a marker that compaction emptied: its epoch still fences older ones."""
        producer = self.by_id.get(producer_id)
        if producer is None:
            producer = self.by_id[producer_id] = Producer(producer_id, epoch, now)
        producer.take_epoch(epoch)
        producer.seen = now

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


def _repeated(producer: Producer, header: BatchHeader) -> Batch | Wrong:
    """The remembered batch that `header` repeats."""
    for batch in producer.batches:
        last_sequence, _, span, _ = batch
        first = (last_sequence - span) % _SEQUENCES
        if span == header.last_offset_delta and first == header.base_sequence:
            return batch
    return Wrong(
        ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
        f"producer {producer.producer_id} sent sequence {header.base_sequence},"
        f" not {max(producer.next_sequence, 0)}",
    )


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
