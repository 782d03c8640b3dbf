"""How a produced batch joins its transaction: the coordinator confirms, or is told, before the log
takes it (T1).

The coordinator is asked about every transactional batch, not only about a producer's first one in a
partition: here it costs a look-up, and a batch that comes after its transaction was decided is
always refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from flowstream.broker.coordination import commit_transaction
from flowstream.broker.cores import Cores
from flowstream.broker.decision import Decision
from flowstream.broker.effects import Effect
from flowstream.broker.transactions.coordinator import Owner
from flowstream.broker.transactions.errors import IMPLICIT_SINCE, told_in_produce
from flowstream.broker.transactions.transitions import V2
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.batch import BatchHeader
from flowstream.wire.error_codes import ErrorCode


def join(
    cores: Cores,
    transactional_id: str,
    header: BatchHeader,
    partition: TopicPartition,
    version: int,
    now: Instant,
) -> tuple[ErrorCode, list[Effect]]:
    """Whether the batch may be appended, and the effects of letting its partition join.

    The coordinator's record and the batch become durable together. When a crash keeps the batch
    alone, nobody was told of it: the next start settles it.
    """
    owner = Owner(header.producer_id, header.producer_epoch)
    if version < IMPLICIT_SINCE:
        error = cores.transactions.verify(transactional_id, owner, partition)
        return told_in_produce(error, version), []
    verdict = cores.transactions.add_partitions(transactional_id, owner, (partition,), V2, now)
    if verdict.record is None:
        return told_in_produce(verdict.error, version), []
    decision = Decision(records=(verdict.record,))
    return ErrorCode.NONE, commit_transaction(cores, transactional_id, decision, now)


def join_together(
    cores: Cores,
    transactional_id: str,
    batches: Sequence[tuple[BatchHeader, TopicPartition]],
    now: Instant,
) -> list[Effect]:
    """Let the partitions of one request's batches join at once: one after the other each would
    write all before it once more. Where that is refused, `join` says why.
    """
    owners = {(header.producer_id, header.producer_epoch) for header, _ in batches}
    if len(batches) < 2 or len(owners) > 1:
        return []
    partitions = [partition for _, partition in batches]
    verdict = cores.transactions.add_partitions(
        transactional_id, Owner(*owners.pop()), partitions, V2, now
    )
    if verdict.record is None:
        return []
    return commit_transaction(cores, transactional_id, Decision(records=(verdict.record,)), now)
