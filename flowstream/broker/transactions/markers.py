"""Which markers a decided transaction needs: one for every partition that joined, its group offsets
included (T9)."""

from __future__ import annotations

from typing import NamedTuple

from flowstream.broker.transactions.records import Transaction
from flowstream.broker.transactions.states import PREPARE_COMMIT, PREPARED
from flowstream.broker.types import TopicPartition

COORDINATOR_EPOCH = 0
"""The leader epoch of the `__transaction_state` partition; one node leads from the first day."""


class Marker(NamedTuple):
    """One transaction's outcome for one partition."""

    producer_id: int
    producer_epoch: int
    coordinator_epoch: int
    commit: bool
    partition: TopicPartition


def markers_of(transaction: Transaction) -> tuple[Marker, ...]:
    """The markers to write. Under v2 they carry the bumped epoch, which fences late writes
    (KIP-890)."""
    assert transaction.state in PREPARED, transaction.state
    commit = transaction.state is PREPARE_COMMIT
    return tuple(
        Marker(
            transaction.producer_id,
            transaction.producer_epoch,
            COORDINATOR_EPOCH,
            commit,
            partition,
        )
        for partition in transaction.partitions
    )
