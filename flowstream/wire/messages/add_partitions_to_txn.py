"""AddPartitionsToTxn (24): add partitions to a transaction.

3 is flexible; 4 carries many transactions and can only verify (between brokers, KIP-890); 5 may
answer TRANSACTION_ABORTABLE.
"""

from __future__ import annotations

from flowstream.wire.fields import (
    BOOLEAN,
    INT16,
    INT32,
    INT64,
    STRING,
    array,
    field,
    message,
    struct,
)


@struct
class AddPartitionsToTxnTopic:
    """One of the `topics` of `AddPartitionsToTxnTransaction`."""

    name: str = field(STRING, "0+")
    partitions: tuple[int, ...] = field(array(INT32), "0+")


@struct
class AddPartitionsToTxnTransaction:
    """One of the `transactions` of `AddPartitionsToTxnRequest`."""

    transactional_id: str = field(STRING, "4+")
    producer_id: int = field(INT64, "4+")
    producer_epoch: int = field(INT16, "4+")
    verify_only: bool = field(BOOLEAN, "4+")
    topics: tuple[AddPartitionsToTxnTopic, ...] = field(array(AddPartitionsToTxnTopic), "4+")


@message(versions="0-5", flexible="3+")
class AddPartitionsToTxnRequest:
    """One transaction up to version 3, many after."""

    transactions: tuple[AddPartitionsToTxnTransaction, ...] = field(
        array(AddPartitionsToTxnTransaction), "4+"
    )
    v3_and_below_transactional_id: str = field(STRING, "0-3")
    v3_and_below_producer_id: int = field(INT64, "0-3")
    v3_and_below_producer_epoch: int = field(INT16, "0-3")
    v3_and_below_topics: tuple[AddPartitionsToTxnTopic, ...] = field(
        array(AddPartitionsToTxnTopic), "0-3"
    )


@struct
class AddPartitionsToTxnPartitionResult:
    """One of the `results_by_partition` of `AddPartitionsToTxnTopicResult`."""

    partition_index: int = field(INT32, "0+")
    partition_error_code: int = field(INT16, "0+")


@struct
class AddPartitionsToTxnTopicResult:
    """One of the `topic_results` of `AddPartitionsToTxnResult`."""

    name: str = field(STRING, "0+")
    results_by_partition: tuple[AddPartitionsToTxnPartitionResult, ...] = field(
        array(AddPartitionsToTxnPartitionResult), "0+"
    )


@struct
class AddPartitionsToTxnResult:
    """One of the `results_by_transaction` of `AddPartitionsToTxnResponse`."""

    transactional_id: str = field(STRING, "4+")
    topic_results: tuple[AddPartitionsToTxnTopicResult, ...] = field(
        array(AddPartitionsToTxnTopicResult), "4+"
    )


@message(versions="0-5", flexible="3+")
class AddPartitionsToTxnResponse:
    """The outcome, by partition."""

    throttle_time_ms: int = field(INT32, "0+")
    error_code: int = field(INT16, "4+", ignorable=True)
    results_by_transaction: tuple[AddPartitionsToTxnResult, ...] = field(
        array(AddPartitionsToTxnResult), "4+"
    )
    results_by_topic_v3_and_below: tuple[AddPartitionsToTxnTopicResult, ...] = field(
        array(AddPartitionsToTxnTopicResult), "0-3"
    )
