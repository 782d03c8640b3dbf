"""ListTransactions (66): transactional ids that this broker coordinates (KIP-664).

1 filters by duration (KIP-994); 2 by a pattern (KIP-1152).
"""

from __future__ import annotations

from flowstream.wire.fields import INT16, INT32, INT64, STRING, array, field, message, struct


@message(versions="0-2", flexible="0+")
class ListTransactionsRequest:
    """Filters; empty ones let everything pass."""

    state_filters: tuple[str, ...] = field(array(STRING), "0+")
    producer_id_filters: tuple[int, ...] = field(array(INT64), "0+")
    duration_filter: int = field(INT64, "1+", default=-1)
    transactional_id_pattern: str | None = field(STRING, "2+", nullable="2+", default=None)


@struct
class TransactionState:
    """One of the `transaction_states` of `ListTransactionsResponse`."""

    transactional_id: str = field(STRING, "0+")
    producer_id: int = field(INT64, "0+")
    transaction_state: str = field(STRING, "0+")


@message(versions="0-2", flexible="0+")
class ListTransactionsResponse:
    """The transactions that match."""

    throttle_time_ms: int = field(INT32, "0+")
    error_code: int = field(INT16, "0+")
    unknown_state_filters: tuple[str, ...] = field(array(STRING), "0+")
    transaction_states: tuple[TransactionState, ...] = field(array(TransactionState), "0+")
