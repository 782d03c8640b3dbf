"""ListTransactions (66): transactional ids and their states (KIP-664).

1 filters by how long a transaction has been going on (KIP-994), 2 by a regular expression that the
whole id matches (KIP-1152).
"""

from __future__ import annotations

from collections.abc import Callable

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.patterns import InvalidPattern, full_match
from flowstream.broker.transactions.records import Transaction
from flowstream.broker.transactions.states import NAMES
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.list_transactions import (
    ListTransactionsRequest,
    ListTransactionsResponse,
    TransactionState,
)


def handle(request: Request[ListTransactionsRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer at once."""
    body = request.body
    try:
        is_named = _pattern(body.transactional_id_pattern)
    except InvalidPattern:
        invalid = ListTransactionsResponse(error_code=ErrorCode.INVALID_REGULAR_EXPRESSION)
        return [Reply(request.to, invalid)]
    names = frozenset(NAMES.values())
    unknown = tuple(name for name in body.state_filters if name not in names)
    matches = _filter(body, now)
    states = tuple(
        TransactionState(
            transactional_id=name,
            producer_id=each.producer_id,
            transaction_state=NAMES[each.state],
        )
        for name, each in cores.transactions.transactions.items()
        if matches(each) and is_named(name)
    )
    response = ListTransactionsResponse(unknown_state_filters=unknown, transaction_states=states)
    return [Reply(request.to, response)]


def _pattern(pattern: str | None) -> Callable[[str], bool]:
    return full_match(pattern) if pattern else lambda name: True


def _filter(body: ListTransactionsRequest, now: Instant) -> Callable[[Transaction], bool]:
    """Whether a transaction is asked for. Thousands of each may be named (X4)."""
    producers = frozenset(body.producer_id_filters)
    states = frozenset(body.state_filters)

    def matches(each: Transaction) -> bool:
        if producers and each.producer_id not in producers:
            return False
        if states and NAMES[each.state] not in states:
            return False
        return body.duration_filter < 0 or now - each.start > body.duration_filter

    return matches
