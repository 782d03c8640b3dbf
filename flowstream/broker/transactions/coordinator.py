"""The transaction coordinator: who may do what to which transaction now, as Kafka 4.3 decides it.

Methods decide and change nothing durable; `apply` is the only mutator of that. It must not know
requests' versions, logs or replies: `handlers` translate, `completion` carries decisions out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import NamedTuple

from flowstream.broker.config import BrokerConfig
from flowstream.broker.transactions import transitions
from flowstream.broker.transactions.producer_ids import ProducerIds
from flowstream.broker.transactions.records import (
    NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID,
    Transaction,
    TransactionRecord,
    decode_key,
    decode_value,
    encode_key,
    encode_value,
)
from flowstream.broker.transactions.states import (
    COMPLETE_ABORT,
    COMPLETE_COMMIT,
    EMPTY,
    IDLE,
    ONGOING,
    PREPARE_ABORT,
    PREPARE_COMMIT,
    PREPARED,
)
from flowstream.broker.transactions.timeouts import Timeouts
from flowstream.broker.transactions.transitions import MAX_EPOCH, V2, exhausted
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.error_codes import ErrorCode

MARKERS_AT_ONCE = 128
"""What the transactions weigh that are aborted in one tick, some 60 us each (X4)."""
ABORT_WEIGHT = 4
"""What one of them costs beside its markers."""
IDS_AT_ONCE = 1 << 13
"""That are looked at for their expiry in one tick."""
EXPIRED_AT_ONCE = 128
"""That are forgotten in one tick."""


class Owner(NamedTuple):
    """A producer id and epoch, as a request claims or an answer grants them."""

    producer_id: int = NO_PRODUCER_ID
    producer_epoch: int = NO_PRODUCER_EPOCH


class Verdict(NamedTuple):
    """What a request comes to: an error, or the record to write; and the owner to answer."""

    error: ErrorCode = ErrorCode.NONE
    record: TransactionRecord | None = None
    owner: Owner = Owner()


class TransactionCoordinator:
    """Every transactional id of this node. An EventSourced core: durable state = fold(records)."""

    def __init__(self, config: BrokerConfig) -> None:
        self.config = config
        self.transactions: dict[str, Transaction] = {}
        self.by_producer_id: dict[int, str] = {}
        """Current producer id -> transactional id."""
        self.producer_ids = ProducerIds()
        self._timeouts = Timeouts()
        self._started = Instant(0)
        self._next_sweep: Instant | None = None
        self._unswept: deque[str] = deque()
        """The ids that are still to be looked at in this round of expiry."""

    # ---- durable state

    def encode(self, record: TransactionRecord) -> tuple[bytes | None, bytes | None]:
        """Key and value as they stand in the log."""
        transaction = record.transaction
        value = None if transaction is None else encode_value(transaction)
        return encode_key(record.transactional_id), value

    def decode(self, key: bytes | None, value: bytes | None) -> TransactionRecord | None:
        """The inverse of `encode`; None for keys of newer brokers."""
        transactional_id = None if key is None else decode_key(key)
        if transactional_id is None:
            return None
        return TransactionRecord(transactional_id, None if value is None else decode_value(value))

    def apply(self, record: TransactionRecord) -> None:
        """The only mutator of durable state, live and on replay."""
        transactional_id, transaction = record
        old = self.transactions.get(transactional_id)
        if old is not None and self.by_producer_id.get(old.producer_id) == transactional_id:
            del self.by_producer_id[old.producer_id]
        if transaction is None:
            self.transactions.pop(transactional_id, None)
            self._timeouts.cancel(transactional_id)
            return
        self.transactions[transactional_id] = transaction
        self.by_producer_id[transaction.producer_id] = transactional_id
        if transaction.state is not ONGOING:
            self._timeouts.cancel(transactional_id)
        elif old is None or old.state is not ONGOING:
            self._timeouts.set(
                transactional_id, Instant(transaction.start + transaction.timeout_ms)
            )

    # ---- requests

    def init_producer_id(
        self, transactional_id: str, timeout_ms: int, expected: Owner | None, now: Instant
    ) -> Verdict:
        """Give `transactional_id` its next epoch. A verdict whose record is PREPARE_ABORT means:
        abort what is open first, then ask again. `expected` is the id and epoch of a producer that
        recovers (KIP-360)."""
        if not transactional_id:
            return Verdict(ErrorCode.INVALID_REQUEST)
        if not 0 < timeout_ms <= self.config.transaction_max_timeout_ms:
            return Verdict(ErrorCode.INVALID_TRANSACTION_TIMEOUT)
        old = self.transactions.get(transactional_id)
        if old is None:
            old = transitions.created(self.producer_ids.take(), timeout_ms, now)
        if expected is not None and not _is_known(old, expected):
            return Verdict(ErrorCode.PRODUCER_FENCED)
        if old.state in PREPARED:
            return Verdict(ErrorCode.CONCURRENT_TRANSACTIONS)
        if old.state is ONGOING:
            return self._fence(transactional_id, old, now)
        new = self._next_epoch(old, timeout_ms, expected, now)
        if new is None:
            return Verdict(ErrorCode.PRODUCER_FENCED)
        owner = Owner(new.producer_id, new.producer_epoch)
        return Verdict(record=TransactionRecord(transactional_id, new), owner=owner)

    def lacks_producer_id(self, transactional_id: str) -> bool:
        """A decision about this id would need a new producer id, and none is at hand."""
        transaction = self.transactions.get(transactional_id)
        needed = transaction is None or exhausted(transaction.producer_epoch)
        return needed and self.producer_ids.empty

    def add_partitions(
        self,
        transactional_id: str,
        owner: Owner,
        partitions: Collection[TopicPartition],
        client_version: int,
        now: Instant,
    ) -> Verdict:
        """Let `partitions` join the owner's transaction, which begins if none is open (T1)."""
        error = self._refusal(transactional_id, owner)
        if error is not ErrorCode.NONE:
            return Verdict(error)
        old = self.transactions[transactional_id]
        if old.state is ONGOING and all(each in old.partitions for each in partitions):
            return Verdict()
        new = transitions.with_partitions(old, partitions, client_version, now)
        return Verdict(record=TransactionRecord(transactional_id, new))

    def verify(self, transactional_id: str, owner: Owner, partition: TopicPartition) -> ErrorCode:
        """May `owner` write to `partition` now? Only in an open transaction that it joined (T1)."""
        error = self._refusal(transactional_id, owner)
        if error is not ErrorCode.NONE:
            return error
        transaction = self.transactions[transactional_id]
        if transaction.state is ONGOING and partition in transaction.partitions:
            return ErrorCode.NONE
        return ErrorCode.TRANSACTION_ABORTABLE

    def end(
        self,
        transactional_id: str,
        owner: Owner,
        *,
        commit: bool,
        client_version: int,
        now: Instant,
    ) -> Verdict:
        """Decide the owner's transaction. A verdict without error and record is the answer to a
        repeat of an EndTxn that took effect before (T2)."""
        if not transactional_id:
            return Verdict(ErrorCode.INVALID_REQUEST)
        old = self.transactions.get(transactional_id)
        if old is None:
            return Verdict(ErrorCode.INVALID_PRODUCER_ID_MAPPING)
        v2 = client_version >= V2
        moved_on = v2 and _is_retry_over_id_change(old, owner)
        repeat = moved_on or (v2 and old.producer_epoch == owner.producer_epoch + 1)
        if old.producer_id != owner.producer_id and not moved_on:
            return Verdict(ErrorCode.INVALID_PRODUCER_ID_MAPPING)
        if not _may_end(old, owner, v2=v2, repeat=repeat):
            return Verdict(ErrorCode.PRODUCER_FENCED)
        error = _end_refusal(old, commit=commit, v2=v2, repeat=repeat)
        if error is not None:
            return Verdict(error, owner=Owner(old.producer_id, old.producer_epoch))
        return self._prepare(transactional_id, old, commit, client_version, now)

    def complete(self, transactional_id: str, now: Instant) -> TransactionRecord:
        """The record that ends a prepared transaction whose markers are durable."""
        old = self.transactions[transactional_id]
        return TransactionRecord(transactional_id, transitions.completed(old, now))

    # ---- time and recovery

    def prepared(self) -> list[str]:
        """The transactional ids whose outcome is decided but not carried out (T7)."""
        return [name for name, each in self.transactions.items() if each.state in PREPARED]

    def adopt(
        self, owner: Owner, partition: TopicPartition, now: Instant
    ) -> TransactionRecord | None:
        """`partition` holds data of `owner` in an open transaction that it never joined here: its
        record was lost with a crash, unacknowledged. When the transaction can still be that
        owner's open one it joins now, so that a retry of the write stays true and a timeout ends
        it (T10); None when the data can only be aborted."""
        transactional_id = self.by_producer_id.get(owner.producer_id)
        if transactional_id is None:
            return None
        old = self.transactions[transactional_id]
        if old.producer_epoch != owner.producer_epoch or old.state in PREPARED:
            return None
        version = old.client_version if old.state is ONGOING else V2
        new = transitions.with_partitions(old, (partition,), version, now)
        return TransactionRecord(transactional_id, new)

    def recall(self, now: Instant) -> None:
        """After a start: the time of what is open, or idle, runs from now where the clock was set
        back while the node was down. Else it would stay so for as long as that was (T10).
        """
        self._started = now
        for transactional_id, transaction in self.transactions.items():
            if transaction.state is ONGOING and transaction.start > now:
                self._timeouts.set(transactional_id, Instant(now + transaction.timeout_ms))

    def deadline(self) -> Instant | None:
        """When `overdue` or `expired` is wanted next."""
        soonest = self._timeouts.soonest
        wanted = [] if soonest is None else [soonest]
        if self.transactions:
            wanted.append(Instant(0) if self._unswept else self._next_sweep or Instant(0))
        return min(wanted, default=None)

    def overdue(self, now: Instant) -> list[str]:
        """Transactional ids whose open transaction's time is up; each is named once (T10), some at
        a time: after a restart that may be all of them (X4).
        """
        found: list[str] = []
        room = MARKERS_AT_ONCE
        while room > 0 and (name := self._timeouts.take_due(now)) is not None:
            found.append(name)
            room -= ABORT_WEIGHT + len(self.transactions[name].partitions)
        return found

    def abort_overdue(self, transactional_id: str, now: Instant) -> TransactionRecord | None:
        """Abort a transaction whose time is up, and bump the epoch (T4); None when it has ended."""
        old = self.transactions.get(transactional_id)
        if old is None or old.state is not ONGOING:
            return None
        if not self._timeouts.is_over(transactional_id, now):
            return None
        return self._fence(transactional_id, old, now).record

    def expired(self, now: Instant) -> list[TransactionRecord]:
        """Forget the idle transactional ids that nobody has used for long, some at a time (X4)."""
        if not self._unswept:
            if self._next_sweep is not None and now < self._next_sweep:
                return []
            interval = self.config.transaction_remove_expired_transaction_cleanup_interval_ms
            self._next_sweep = Instant(now + interval)
            self._unswept.extend(self.transactions)
        found: list[TransactionRecord] = []
        for _ in range(min(len(self._unswept), IDS_AT_ONCE)):
            name = self._unswept.popleft()
            if self._has_expired(name, now):
                found.append(TransactionRecord(name, None))
            if len(found) == EXPIRED_AT_ONCE:
                break
        return found

    # ---- parts of the decisions

    def _refusal(self, transactional_id: str, owner: Owner) -> ErrorCode:
        """Why `owner` may not use the transaction of `transactional_id` now."""
        if not transactional_id:
            return ErrorCode.INVALID_REQUEST
        transaction = self.transactions.get(transactional_id)
        if transaction is None or transaction.producer_id != owner.producer_id:
            return ErrorCode.INVALID_PRODUCER_ID_MAPPING
        if transaction.producer_epoch != owner.producer_epoch:
            return ErrorCode.PRODUCER_FENCED
        if transaction.state in PREPARED:
            return ErrorCode.CONCURRENT_TRANSACTIONS
        return ErrorCode.NONE

    def _next_epoch(
        self, old: Transaction, timeout_ms: int, expected: Owner | None, now: Instant
    ) -> Transaction | None:
        """The state with the epoch to answer; None when the expected epoch is not the owner's."""
        epoch = old.producer_epoch
        current = expected is None or epoch in (NO_PRODUCER_EPOCH, expected.producer_epoch)
        if current and exhausted(epoch):
            new_id, known = self.producer_ids.take(), expected is not None
            return transitions.with_producer_id(old, new_id, timeout_ms, now, known_owner=known)
        if current:
            last = NO_PRODUCER_EPOCH if expected is None else epoch
            return transitions.with_epoch(old, epoch + 1, last, timeout_ms, now)
        assert expected is not None
        if expected.producer_epoch == old.last_producer_epoch:
            # A retry of a call that took effect: the same answer. Nobody else has come in between,
            # for that would have reset the last epoch.
            last = old.last_producer_epoch
            return transitions.with_epoch(old, epoch, last, timeout_ms, now)
        return None

    def _fence(self, transactional_id: str, old: Transaction, now: Instant) -> Verdict:
        """Abort from the broker's side: always with an epoch bump, for v1 clients too (T4)."""
        return self._prepare(transactional_id, old, False, V2, now)

    def _prepare(
        self, transactional_id: str, old: Transaction, commit: bool, version: int, now: Instant
    ) -> Verdict:
        new_id = NO_PRODUCER_ID
        if version >= V2 and exhausted(old.producer_epoch):
            new_id = self.producer_ids.take()
        new = transitions.prepared(
            old, commit=commit, client_version=version, next_producer_id=new_id, now=now
        )
        owner = Owner(new.producer_id, new.producer_epoch)
        if new_id != NO_PRODUCER_ID:
            owner = Owner(new_id, 0)
        return Verdict(record=TransactionRecord(transactional_id, new), owner=owner)

    def _has_expired(self, transactional_id: str, now: Instant) -> bool:
        transaction = self.transactions.get(transactional_id)
        if transaction is None or transaction.state not in IDLE:
            return False
        used = transaction.last_update if transaction.last_update <= now else self._started
        return now - used >= self.config.transactional_id_expiration_ms


def _is_known(old: Transaction, expected: Owner) -> bool:
    """The recovering producer is this id's: fresh state, the current producer id, or the previous
    one used up, when the answer that told of the change was lost (KIP-360)."""
    return (
        old.producer_epoch == NO_PRODUCER_EPOCH
        or expected.producer_id == old.producer_id
        or (expected.producer_id == old.previous_producer_id and exhausted(expected.producer_epoch))
    )


def _is_retry_over_id_change(old: Transaction, owner: Owner) -> bool:
    """An EndTxn that used up the epochs is repeated: the client still has the old id."""
    return (
        old.previous_producer_id == owner.producer_id
        and owner.producer_epoch == MAX_EPOCH - 1
        and old.producer_epoch == 0
    )


def _may_end(old: Transaction, owner: Owner, *, v2: bool, repeat: bool) -> bool:
    """Is the epoch one that may end this transaction or repeat its end? Under v2 the epoch alone
    tells a repeat from the next transaction's end; under v1 both have the same."""
    same = owner.producer_epoch == old.producer_epoch
    if v2 and old.state in PREPARED:
        return repeat
    if v2 and old.state in (COMPLETE_COMMIT, COMPLETE_ABORT):
        return repeat or same
    return same


def _end_refusal(old: Transaction, *, commit: bool, v2: bool, repeat: bool) -> ErrorCode | None:
    """The answer when nothing is to be written, NONE for a repeat; None when the end can be
    prepared."""
    if old.state is ONGOING:
        return None
    same_outcome = old.state in (
        (PREPARE_COMMIT, COMPLETE_COMMIT) if commit else (PREPARE_ABORT, COMPLETE_ABORT)
    )
    if old.state in PREPARED:
        if same_outcome:
            return ErrorCode.CONCURRENT_TRANSACTIONS
        return ErrorCode.INVALID_TXN_STATE
    if v2 and not repeat:
        # Aborting when nothing was added is legal under v2: the client cannot know (KIP-890).
        return ErrorCode.INVALID_TXN_STATE if commit else None
    if same_outcome and old.state is not EMPTY:
        return ErrorCode.NONE
    return ErrorCode.INVALID_TXN_STATE
