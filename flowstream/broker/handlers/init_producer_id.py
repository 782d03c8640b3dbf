"""InitProducerId (22): a producer id and epoch; with a transactional id the predecessor is fenced.

An open transaction of the id is aborted first, and the answer waits for that: where Kafka answers
CONCURRENT_TRANSACTIONS and lets the client ask again, we ask again ourselves. 3 lets a producer
recover with its own id and epoch (KIP-360); up to 3 PRODUCER_FENCED is told as
INVALID_PRODUCER_EPOCH (KIP-588).
"""

from __future__ import annotations

from flowstream.broker.completion import carry_out, with_producer_ids
from flowstream.broker.coordination import commit_transaction
from flowstream.broker.cores import Cores
from flowstream.broker.decision import Decision
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.transactions.coordinator import Owner, Verdict
from flowstream.broker.transactions.errors import told
from flowstream.broker.transactions.states import PREPARE_ABORT
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.init_producer_id import (
    InitProducerIdRequest,
    InitProducerIdResponse,
)

FENCED_SINCE = 4


def handle(request: Request[InitProducerIdRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer once the new epoch, and the producer id's block, are durable."""
    body = request.body
    transactional_id = body.transactional_id
    if transactional_id is None:
        if cores.transactions.producer_ids.empty:
            return with_producer_ids(cores, now, lambda now: handle(request, cores, now))
        owner = Owner(cores.transactions.producer_ids.take(), 0)
        return [Reply(request.to, _answer(ErrorCode.NONE, owner))]
    if (body.producer_id == -1) != (body.producer_epoch == -1):
        return [Reply(request.to, _answer(ErrorCode.INVALID_REQUEST))]
    if transactional_id and cores.transactions.lacks_producer_id(transactional_id):
        return with_producer_ids(cores, now, lambda now: handle(request, cores, now))
    expected = None if body.producer_id == -1 else Owner(body.producer_id, body.producer_epoch)
    verdict = cores.transactions.init_producer_id(
        transactional_id, body.transaction_timeout_ms, expected, now
    )
    return _carry_out(request, cores, verdict, now)


def _carry_out(
    request: Request[InitProducerIdRequest], cores: Cores, verdict: Verdict, now: Instant
) -> list[Effect]:
    record = verdict.record
    if record is None:
        error = told(verdict.error, request.to.version, FENCED_SINCE)
        return [Reply(request.to, _answer(error))]
    assert record.transaction is not None
    if record.transaction.state is PREPARE_ABORT:
        return carry_out(cores, record, now, lambda now: handle(request, cores, now))
    replies = ((request.to, _answer(ErrorCode.NONE, verdict.owner)),)
    decision = Decision(records=(record,), replies=replies)
    return commit_transaction(cores, record.transactional_id, decision, now)


def _answer(error: ErrorCode, owner: Owner | None = None) -> InitProducerIdResponse:
    granted = owner or Owner()
    return InitProducerIdResponse(
        error_code=error,
        producer_id=granted.producer_id,
        producer_epoch=granted.producer_epoch,
    )
