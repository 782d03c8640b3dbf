"""EndTxn (26): commit or abort a transaction.

The answer waits until every marker is durable: a client that goes on at once never meets
CONCURRENT_TRANSACTIONS, and what it committed is visible. A repeat gets the same answer (T2). From
5 on the epoch is bumped and returned (KIP-890); 0 and 1 know INVALID_PRODUCER_EPOCH only."""

from __future__ import annotations

from flowstream.broker.completion import carry_out, with_producer_ids
from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.transactions.coordinator import Owner
from flowstream.broker.transactions.errors import told
from flowstream.broker.transactions.transitions import V2
from flowstream.broker.types import Instant
from flowstream.wire.messages.end_txn import EndTxnRequest, EndTxnResponse

FENCED_SINCE = 2
V2_SINCE = 5


def handle(request: Request[EndTxnRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Prepare, write markers, complete, answer; or answer at once when there is nothing to end."""
    body, version = request.body, request.to.version
    if cores.transactions.lacks_producer_id(body.transactional_id):
        return with_producer_ids(cores, now, lambda now: handle(request, cores, now))
    verdict = cores.transactions.end(
        body.transactional_id,
        Owner(body.producer_id, body.producer_epoch),
        commit=body.committed,
        client_version=V2 if version >= V2_SINCE else 0,
        now=now,
    )
    error = told(verdict.error, version, FENCED_SINCE)
    owner = Owner() if error else verdict.owner
    reply: list[Effect] = [
        Reply(
            request.to,
            EndTxnResponse(
                error_code=error,
                producer_id=owner.producer_id,
                producer_epoch=owner.producer_epoch,
            ),
        )
    ]
    if verdict.record is None:
        return reply
    return carry_out(cores, verdict.record, now, lambda now: reply)
