"""DescribeTransactions (65): state of transactional ids (KIP-664)."""

from __future__ import annotations

from flowstream.wire.fields import INT16, INT32, INT64, STRING, array, field, message, struct


@message(versions="0", flexible="0+")
class DescribeTransactionsRequest:
    """The ids asked about."""

    transactional_ids: tuple[str, ...] = field(array(STRING), "0+")


@struct
class TopicData:
    """One of the `topics` of `TransactionState`."""

    topic: str = field(STRING, "0+")
    partitions: tuple[int, ...] = field(array(INT32), "0+")


@struct
class TransactionState:
    """One of the `transaction_states` of `DescribeTransactionsResponse`."""

    error_code: int = field(INT16, "0+")
    transactional_id: str = field(STRING, "0+")
    transaction_state: str = field(STRING, "0+")
    transaction_timeout_ms: int = field(INT32, "0+")
    transaction_start_time_ms: int = field(INT64, "0+")
    producer_id: int = field(INT64, "0+")
    producer_epoch: int = field(INT16, "0+")
    topics: tuple[TopicData, ...] = field(array(TopicData), "0+")


@message(versions="0", flexible="0+")
class DescribeTransactionsResponse:
    """Each transaction, or an error."""

    throttle_time_ms: int = field(INT32, "0+")
    transaction_states: tuple[TransactionState, ...] = field(array(TransactionState), "0+")
