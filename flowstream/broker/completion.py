"""How a decided transaction is carried out: PREPARE durable -> markers durable -> COMPLETE, and
only then the answer; the same after a timeout and after a restart (T7). Under durability `os` the
order of writes is enough, so all three are written in one turn.

Lives here: the order of these steps and what happens to transactions without a request. Who may
decide is the coordinator's business, what a request asked is the handlers'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from flowstream.broker.coordination import append_markers, commit_metadata, commit_transaction
from flowstream.broker.cores import Cores
from flowstream.broker.decision import Decision
from flowstream.broker.effects import Effect, WhenDurable
from flowstream.broker.metadata.controller import producer_id_block
from flowstream.broker.transactions.coordinator import Owner
from flowstream.broker.transactions.markers import COORDINATOR_EPOCH, Marker, markers_of
from flowstream.broker.transactions.records import TransactionRecord
from flowstream.broker.transactions.states import ONGOING, PREPARED
from flowstream.broker.transactions.transitions import V2
from flowstream.broker.types import Instant, TopicPartition

Then = Callable[[Instant], list[Effect]]


def nothing(now: Instant) -> list[Effect]:
    """No one waits for this transaction's end."""
    return []


def carry_out(cores: Cores, record: TransactionRecord, now: Instant, then: Then) -> list[Effect]:
    """Write a PREPARE record and finish the transaction; `then` once every marker is durable."""
    name = record.transactional_id
    effects = commit_transaction(cores, name, Decision(records=(record,)), now)
    return effects + _next(cores, lambda now: finish(cores, name, now, then), now)


def finish(cores: Cores, transactional_id: str, now: Instant, then: Then) -> list[Effect]:
    """Write the markers of a durably prepared transaction, then COMPLETE it. Repeatable (T7)."""
    transaction = cores.transactions.transactions[transactional_id]
    markers = markers_of(transaction)
    if transaction.client_version >= V2:
        markers = tuple(each for each in markers if not _is_past(cores, each))

    def complete(now: Instant) -> list[Effect]:
        # The answer need not wait for COMPLETE: without it a restart writes the markers again.
        record = cores.transactions.complete(transactional_id, now)
        decision = Decision(records=(record,))
        effects = commit_transaction(cores, transactional_id, decision, now)
        return effects + (then(now) if cores.fsync else [WhenDurable(then)])

    return append_markers(cores, markers, now) + _next(cores, complete, now)


def _next(cores: Cores, step: Then, now: Instant) -> list[Effect]:
    """A step whose writes may not become durable before what was written so far."""
    return [WhenDurable(step)] if cores.fsync else step(now)


def _is_past(cores: Cores, marker: Marker) -> bool:
    """The marker is there already and the next transaction has begun. Both carry the bumped epoch,
    so a second marker would end that one (KIP-890, KIP-1228)."""
    log = cores.logs.by_name.get(marker.partition)
    opened = log.open_transactions.get(marker.producer_id) if log is not None else None
    return opened is not None and opened[0] >= marker.producer_epoch


def resume(cores: Cores, now: Instant) -> list[Effect]:
    """After a start: finish what is prepared, then see to data in transactions nobody knows."""
    effects: list[Effect] = []
    cores.transactions.recall(now)
    for transactional_id in cores.transactions.prepared():
        effects += finish(cores, transactional_id, now, nothing)
    return [*effects, WhenDurable(lambda now: _settle_unknown(cores, now))]


def tick(cores: Cores, now: Instant) -> list[Effect]:
    """Abort transactions whose time is up (T10) and forget transactional ids that expired."""
    effects: list[Effect] = []
    for transactional_id in cores.transactions.overdue(now):
        effects += _abort_overdue(cores, transactional_id, now)
    for record in cores.transactions.expired(now):
        decision = Decision(records=(record,))
        effects += commit_transaction(cores, record.transactional_id, decision, now)
    return effects


def with_producer_ids(cores: Cores, now: Instant, then: Then) -> list[Effect]:
    """Do `then` once a block of producer ids is durably ours (T12)."""
    ids = cores.transactions.producer_ids
    effects: list[Effect] = []
    if not ids.block_pending:
        block, record = producer_id_block(cores.image, cores.config)
        effects += commit_metadata(cores, Decision(records=(record,)), now)
        ids.block_pending = True

        def add(now: Instant) -> list[Effect]:
            ids.add(block)
            return []

        effects.append(WhenDurable(add))
    return [*effects, WhenDurable(then)]


def _abort_overdue(cores: Cores, transactional_id: str, now: Instant) -> list[Effect]:
    if cores.transactions.lacks_producer_id(transactional_id):
        return with_producer_ids(
            cores, now, lambda now: _abort_overdue(cores, transactional_id, now)
        )
    record = cores.transactions.abort_overdue(transactional_id, now)
    return [] if record is None else carry_out(cores, record, now, nothing)


def _settle_unknown(cores: Cores, now: Instant) -> list[Effect]:
    """Data in an open transaction whose joining was lost with the crash was never acknowledged. It
    joins now if its transaction can still go on, else it is aborted: nothing hangs (T10)."""
    effects: list[Effect] = []
    markers: list[Marker] = []
    for partition, owner in _open_transactions(cores):
        if _is_joined(cores, owner, partition):
            continue
        record = cores.transactions.adopt(owner, partition, now)
        if record is None:
            markers.append(_abort(cores, owner, partition))
        else:
            decision = Decision(records=(record,))
            effects += commit_transaction(cores, record.transactional_id, decision, now)
    return effects + append_markers(cores, markers, now)


def _open_transactions(cores: Cores) -> Iterable[tuple[TopicPartition, Owner]]:
    return [
        (partition, Owner(producer_id, opened[0]))
        for partition, log in cores.logs.by_name.items()
        for producer_id, opened in log.open_transactions.items()
    ]


def _is_joined(cores: Cores, owner: Owner, partition: TopicPartition) -> bool:
    name = cores.transactions.by_producer_id.get(owner.producer_id)
    transaction = None if name is None else cores.transactions.transactions[name]
    if transaction is None or partition not in transaction.partitions:
        return False
    if transaction.state in PREPARED:
        return True
    return transaction.state is ONGOING and transaction.producer_epoch == owner.producer_epoch


def _abort(cores: Cores, owner: Owner, partition: TopicPartition) -> Marker:
    """An abort marker under the newest known epoch, so that late writes of the old one are
    fenced."""
    epoch = owner.producer_epoch
    name = cores.transactions.by_producer_id.get(owner.producer_id)
    if name is not None:
        epoch = max(epoch, cores.transactions.transactions[name].producer_epoch)
    return Marker(owner.producer_id, epoch, COORDINATOR_EPOCH, False, partition)
