"""How one transactional id's state becomes the next, as values: Kafka's transitions, none of their
conditions.

Epochs: the producer of a v1 transaction keeps its epoch; under v2 every end of a transaction bumps
it (KIP-890), and when the epochs of a producer id are used up the producer goes on with a new id
and epoch 0."""

from __future__ import annotations

from collections.abc import Iterable

from flowstream.broker.transactions.records import (
    NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID,
    NO_TIME,
    Transaction,
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
    SUCCESSORS,
)
from flowstream.broker.types import Instant, TopicPartition

MAX_EPOCH = (1 << 15) - 1
V2 = 2
"""The transaction version from which ending a transaction bumps the epoch."""


def exhausted(epoch: int) -> bool:
    """No epoch is left to hand out: the last one is kept for fencing."""
    return epoch >= MAX_EPOCH - 1


def created(producer_id: int, timeout_ms: int, now: Instant) -> Transaction:
    """A transactional id nobody has used yet, before its first epoch."""
    return Transaction(producer_id, NO_PRODUCER_EPOCH, timeout_ms, EMPTY, now)


def with_epoch(
    old: Transaction, epoch: int, last_epoch: int, timeout_ms: int, now: Instant
) -> Transaction:
    """InitProducerId answered: the producer starts over with `epoch`."""
    assert epoch in (old.producer_epoch, old.producer_epoch + 1), "epochs go up by one (T11)"
    assert not exhausted(epoch - 1) or epoch == old.producer_epoch, "an id change was due"
    new = old._replace(producer_epoch=epoch, last_producer_epoch=last_epoch)
    return _moved(old, _emptied(new, timeout_ms, now))


def with_producer_id(
    old: Transaction, producer_id: int, timeout_ms: int, now: Instant, *, known_owner: bool
) -> Transaction:
    """InitProducerId answered when the epochs were used up: a new id. A known owner may retry with
    its last epoch."""
    last = old.producer_epoch if known_owner else NO_PRODUCER_EPOCH
    new = old._replace(producer_id=producer_id, producer_epoch=0, last_producer_epoch=last)
    return _moved(old, _emptied(new, timeout_ms, now))


def with_partitions(
    old: Transaction, partitions: Iterable[TopicPartition], client_version: int, now: Instant
) -> Transaction:
    """Partitions join; the first ones begin the transaction."""
    return _moved(
        old,
        old._replace(
            state=ONGOING,
            partitions={**old.partitions, **dict.fromkeys(partitions)},
            start=now if old.state in IDLE else old.start,
            last_update=now,
            client_version=client_version,
        ),
    )


def prepared(
    old: Transaction,
    *,
    commit: bool,
    client_version: int,
    next_producer_id: int,
    now: Instant,
) -> Transaction:
    """The outcome is decided. Under v2 the epoch is bumped so that a late request cannot touch what
    follows."""
    epoch, last = old.producer_epoch, old.last_producer_epoch
    if client_version >= V2:
        epoch, last = min(epoch + 1, MAX_EPOCH), epoch
    return _moved(
        old,
        old._replace(
            state=PREPARE_COMMIT if commit else PREPARE_ABORT,
            producer_epoch=epoch,
            last_producer_epoch=last,
            next_producer_id=next_producer_id,
            client_version=client_version,
            # v2 may abort before any partition was added; then the transaction starts and ends now.
            start=now if old.state in IDLE else old.start,
            last_update=now,
        ),
    )


def completed(old: Transaction, now: Instant) -> Transaction:
    """Every marker is durable."""
    assert old.state in PREPARED, old.state
    new = old._replace(
        state=COMPLETE_COMMIT if old.state is PREPARE_COMMIT else COMPLETE_ABORT,
        partitions={},
        last_update=now,
        next_producer_id=NO_PRODUCER_ID,
    )
    if old.client_version >= V2 and old.next_producer_id != NO_PRODUCER_ID:
        new = new._replace(producer_id=old.next_producer_id, producer_epoch=0)
    return _moved(old, new)


def _emptied(new: Transaction, timeout_ms: int, now: Instant) -> Transaction:
    return new._replace(
        state=EMPTY, timeout_ms=timeout_ms, partitions={}, start=NO_TIME, last_update=now
    )


def _moved(old: Transaction, new: Transaction) -> Transaction:
    assert new.state in SUCCESSORS[old.state], f"{old.state.name} -> {new.state.name}"
    # T11: a producer id's epoch never goes back.
    assert new.producer_id != old.producer_id or new.producer_epoch >= old.producer_epoch
    return new._replace(previous_producer_id=old.producer_id)
