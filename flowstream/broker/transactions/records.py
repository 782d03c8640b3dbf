"""The records of `__transaction_state` in Kafka's schemas, and the value they carry: one
transactional id's state.

Pure data and its two codecs. Who may change what is decided in `transitions` and `coordinator`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from flowstream.broker.transactions.states import EMPTY, TransactionState
from flowstream.broker.types import Instant, TopicPartition
from flowstream.errors import FlowstreamError, WireError
from flowstream.wire.fields import INT8, INT16, INT32, INT64, STRING, array, message, struct
from flowstream.wire.fields import field as wire_field
from flowstream.wire.schema import decode, encode

NO_PRODUCER_ID = -1
NO_PRODUCER_EPOCH = -1
NO_TIME = Instant(-1)

KEY_VERSION = 0
VALUE_VERSION = 1
"""Version 1 is the first flexible one; transactions v2 need its tagged fields (KIP-890)."""


@message(versions="0", flexible="none")
class TransactionLogKey:
    """Which transactional id a record is about."""

    transactional_id: str = wire_field(STRING, "0")


@struct
class PartitionsSchema:
    """Partitions of one topic in the transaction."""

    topic: str = wire_field(STRING, "0+")
    partition_ids: tuple[int, ...] = wire_field(array(INT32), "0+")


@message(versions="0-1", flexible="1+")
class TransactionLogValue:
    """A transactional id's state. `transaction_partitions` is null in state EMPTY."""

    producer_id: int = wire_field(INT64, "0+")
    previous_producer_id: int = wire_field(INT64, "1+", default=-1, tag=0, tagged="1+")
    next_producer_id: int = wire_field(INT64, "1+", default=-1, tag=1, tagged="1+")
    producer_epoch: int = wire_field(INT16, "0+")
    next_producer_epoch: int = wire_field(INT16, "1+", default=-1, tag=3, tagged="1+")
    transaction_timeout_ms: int = wire_field(INT32, "0+")
    transaction_status: int = wire_field(INT8, "0+")
    transaction_partitions: tuple[PartitionsSchema, ...] | None = wire_field(
        array(PartitionsSchema), "0+", nullable="0+"
    )
    transaction_last_update_timestamp_ms: int = wire_field(INT64, "0+")
    transaction_start_timestamp_ms: int = wire_field(INT64, "0+")
    client_transaction_version: int = wire_field(INT16, "1+", tag=2, tagged="1+")


class TransactionLogError(FlowstreamError):
    """A `__transaction_state` record that cannot be understood."""


class Transaction(NamedTuple):
    """The state of one transactional id."""

    producer_id: int
    producer_epoch: int
    timeout_ms: int
    state: TransactionState
    last_update: Instant
    start: Instant = NO_TIME
    partitions: Mapping[TopicPartition, None] = MappingProxyType({})
    """In the order they were added; a mapping because producing asks for membership."""
    previous_producer_id: int = NO_PRODUCER_ID
    """The producer id before the last transition: how a retry across an id change is recognised."""
    next_producer_id: int = NO_PRODUCER_ID
    """The id the producer goes on with once a transaction that used up the epochs completes."""
    client_version: int = 0
    """Transaction protocol of the client: 0 for v1, 2 for v2 (KIP-890)."""
    last_producer_epoch: int = NO_PRODUCER_EPOCH
    """The epoch before the current one, when its owner may still retry with it (KIP-360). Not in
    the log, as in Kafka: a retry that spans a restart is refused."""


class TransactionRecord(NamedTuple):
    """From now on `transactional_id` is in this state; None: it is forgotten."""

    transactional_id: str
    transaction: Transaction | None


def encode_key(transactional_id: str) -> bytes:
    """The key of every record of a transactional id."""
    key = TransactionLogKey(transactional_id=transactional_id)
    return KEY_VERSION.to_bytes(2, "big") + encode(key, KEY_VERSION)


def encode_value(transaction: Transaction) -> bytes:
    """A state as Kafka 4 writes it under transaction.version=2."""
    value = TransactionLogValue(
        producer_id=transaction.producer_id,
        previous_producer_id=transaction.previous_producer_id,
        next_producer_id=transaction.next_producer_id,
        producer_epoch=transaction.producer_epoch,
        transaction_timeout_ms=transaction.timeout_ms,
        transaction_status=transaction.state,
        transaction_partitions=(
            None if transaction.state is EMPTY else _grouped(transaction.partitions)
        ),
        transaction_last_update_timestamp_ms=transaction.last_update,
        transaction_start_timestamp_ms=transaction.start,
        client_transaction_version=transaction.client_version,
    )
    return VALUE_VERSION.to_bytes(2, "big") + encode(value, VALUE_VERSION)


def decode_key(key: bytes) -> str | None:
    """The transactional id of a record; None for key types that newer brokers may have added."""
    if int.from_bytes(key[:2], "big") != KEY_VERSION:
        return None
    try:
        return decode(TransactionLogKey, key[2:], KEY_VERSION).transactional_id
    except WireError as error:
        raise TransactionLogError(f"bad transaction log key {key[:64].hex()}: {error}") from error


def decode_value(data: bytes) -> Transaction:
    """The state in a record's value."""
    version = int.from_bytes(data[:2], "big")
    try:
        value = decode(TransactionLogValue, data[2:], version)
        state = TransactionState(value.transaction_status)
    except (WireError, ValueError) as error:
        raise TransactionLogError(
            f"bad transaction log value of version {version}: {error}"
        ) from error
    partitions = {
        TopicPartition(each.topic, partition): None
        for each in value.transaction_partitions or ()
        for partition in each.partition_ids
    }
    return Transaction(
        producer_id=value.producer_id,
        producer_epoch=value.producer_epoch,
        timeout_ms=value.transaction_timeout_ms,
        state=state,
        last_update=Instant(value.transaction_last_update_timestamp_ms),
        start=Instant(value.transaction_start_timestamp_ms),
        partitions=partitions,
        previous_producer_id=value.previous_producer_id,
        next_producer_id=value.next_producer_id,
        client_version=value.client_transaction_version,
    )


def _grouped(partitions: Iterable[TopicPartition]) -> tuple[PartitionsSchema, ...]:
    topics: dict[str, list[int]] = {}
    for topic, partition in partitions:
        topics.setdefault(topic, []).append(partition)
    return tuple(
        PartitionsSchema(topic=topic, partition_ids=tuple(ids)) for topic, ids in topics.items()
    )
