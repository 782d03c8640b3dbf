"""AddOffsetsToTxn (25): the partition that keeps a group's offsets joins a transaction.

Protocol v2 does without: TxnOffsetCommit 5 joins it (KIP-890). 0 and 1 know INVALID_PRODUCER_EPOCH
instead of PRODUCER_FENCED.
"""

from __future__ import annotations

from flowstream.broker.coordination import (
    commit_transaction,
    ensure_internal_topic,
    group_partition,
    replies_when_durable,
)
from flowstream.broker.cores import OFFSETS_TOPIC, Cores
from flowstream.broker.decision import Decision
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.transactions.coordinator import Owner
from flowstream.broker.transactions.errors import told
from flowstream.broker.types import Instant
from flowstream.wire.messages.add_offsets_to_txn import (
    AddOffsetsToTxnRequest,
    AddOffsetsToTxnResponse,
)

FENCED_SINCE = 2


def handle(request: Request[AddOffsetsToTxnRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer when the joining is durable."""
    body = request.body
    effects = ensure_internal_topic(cores, OFFSETS_TOPIC, now)
    verdict = cores.transactions.add_partitions(
        body.transactional_id,
        Owner(body.producer_id, body.producer_epoch),
        (group_partition(cores, body.group_id),),
        0,
        now,
    )
    error = told(verdict.error, request.to.version, FENCED_SINCE)
    reply = (request.to, AddOffsetsToTxnResponse(error_code=error))
    if verdict.record is None:
        return effects + replies_when_durable([reply])
    decision = Decision(records=(verdict.record,), replies=(reply,))
    return effects + commit_transaction(cores, body.transactional_id, decision, now)
