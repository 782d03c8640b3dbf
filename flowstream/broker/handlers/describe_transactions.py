"""DescribeTransactions (65): the state of transactional ids (KIP-664)."""

from __future__ import annotations

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.transactions.states import NAMES
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.describe_transactions import (
    DescribeTransactionsRequest,
    DescribeTransactionsResponse,
    TopicData,
    TransactionState,
)


def handle(
    request: Request[DescribeTransactionsRequest], cores: Cores, now: Instant
) -> list[Effect]:
    """Answer at once."""
    once = dict.fromkeys(request.body.transactional_ids)  # repetitions multiply the answer (X3)
    states = tuple(_describe(each, cores) for each in once)
    return [Reply(request.to, DescribeTransactionsResponse(transaction_states=states))]


def _describe(transactional_id: str, cores: Cores) -> TransactionState:
    transaction = cores.transactions.transactions.get(transactional_id)
    if transaction is None:
        error = ErrorCode.TRANSACTIONAL_ID_NOT_FOUND
        if not transactional_id:
            error = ErrorCode.INVALID_REQUEST
        return TransactionState(error_code=error, transactional_id=transactional_id)
    topics: dict[str, list[int]] = {}
    for partition in transaction.partitions:
        topics.setdefault(partition.topic, []).append(partition.partition)
    return TransactionState(
        transactional_id=transactional_id,
        transaction_state=NAMES[transaction.state],
        transaction_timeout_ms=transaction.timeout_ms,
        transaction_start_time_ms=transaction.start,
        producer_id=transaction.producer_id,
        producer_epoch=transaction.producer_epoch,
        topics=tuple(
            TopicData(topic=topic, partitions=tuple(numbers)) for topic, numbers in topics.items()
        ),
    )
