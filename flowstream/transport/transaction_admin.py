"""Transactions seen from outside: listing, describing and ending those of others (KIP-664).

How a hanging one is recognised is decided here: a partition holds an open transaction that is older
than any may be, and no transactional id owns up to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from flowstream.clock import monotonic_ms
from flowstream.transport.cluster import Cluster, Coordinator, Leader, backoffs, same
from flowstream.transport.errors import RequestRefused, TransportError
from flowstream.transport.types import TopicPartition
from flowstream.wire.api import ApiKey
from flowstream.wire.error_codes import retriable
from flowstream.wire.messages import describe_producers as producers_message
from flowstream.wire.messages.describe_transactions import DescribeTransactionsRequest
from flowstream.wire.messages.init_producer_id import InitProducerIdRequest
from flowstream.wire.messages.list_transactions import ListTransactionsRequest
from flowstream.wire.messages.write_txn_markers import (
    WritableTxnMarker,
    WritableTxnMarkerTopic,
    WriteTxnMarkersRequest,
)

FENCE_TIMEOUT_MS = 60_000


class Listed(NamedTuple):
    """A transactional id as its coordinator lists it."""

    transactional_id: str
    producer_id: int
    state: str
    coordinator: int


@dataclass(frozen=True, slots=True)
class Described:
    """A transactional id with its transaction. `start_ms` is -1 when there is none."""

    transactional_id: str
    state: str
    producer_id: int
    producer_epoch: int
    timeout_ms: int
    start_ms: int
    partitions: tuple[TopicPartition, ...]


class ActiveProducer(NamedTuple):
    """A producer that a partition remembers. `txn_start` is -1 without an open transaction."""

    producer_id: int
    producer_epoch: int
    last_sequence: int
    last_timestamp_ms: int
    coordinator_epoch: int
    txn_start: int


class Open(NamedTuple):
    """An open transaction of a producer in a partition."""

    tp: TopicPartition
    producer: ActiveProducer


async def list_transactions(
    cluster: Cluster,
    *,
    states: Sequence[str] = (),
    producer_ids: Sequence[int] = (),
    longer_than_ms: int = -1,
) -> list[Listed]:
    """The transactional ids of all coordinators that match; empty filters let all pass."""
    found = []
    for node in cluster.nodes():
        answer = await cluster.request(
            node,
            ApiKey.LIST_TRANSACTIONS,
            lambda _: ListTransactionsRequest(
                state_filters=tuple(states),
                producer_id_filters=tuple(producer_ids),
                duration_filter=longer_than_ms,
            ),
            min_version=1 if longer_than_ms >= 0 else 0,
        )
        if answer.error_code:
            raise RequestRefused("listing transactions", answer.error_code)
        if answer.unknown_state_filters:
            unknown = ", ".join(answer.unknown_state_filters)
            raise TransportError(f"the cluster knows no transaction state {unknown}: try Ongoing")
        found += [
            Listed(each.transactional_id, each.producer_id, each.transaction_state, node)
            for each in answer.transaction_states
        ]
    return sorted(found)


async def describe_transaction(cluster: Cluster, transactional_id: str) -> Described:
    """One transactional id, asked of its coordinator."""
    answer = await cluster.request(
        Coordinator("transaction", transactional_id),
        ApiKey.DESCRIBE_TRANSACTIONS,
        lambda _: DescribeTransactionsRequest(transactional_ids=(transactional_id,)),
    )
    (found,) = answer.transaction_states
    if found.error_code:
        raise RequestRefused(f"transactional id {transactional_id!r}", found.error_code)
    return Described(
        transactional_id,
        found.transaction_state,
        found.producer_id,
        found.producer_epoch,
        found.transaction_timeout_ms,
        found.transaction_start_time_ms,
        tuple(
            TopicPartition(topic.topic, partition)
            for topic in found.topics
            for partition in topic.partitions
        ),
    )


async def describe_producers(
    cluster: Cluster, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, list[ActiveProducer]]:
    """The producers that the leader of each partition remembers."""
    found = {}
    for tp in partitions:
        topic = producers_message.TopicRequest(name=tp.topic, partition_indexes=(tp.partition,))
        request = producers_message.DescribeProducersRequest(topics=(topic,))
        answer = await cluster.request(Leader(tp), ApiKey.DESCRIBE_PRODUCERS, same(request))
        (result,) = answer.topics[0].partitions
        if result.error_code:
            raise RequestRefused(
                f"producers of {tp.topic}-{tp.partition}", result.error_code, result.error_message
            )
        found[tp] = sorted(_active(each) for each in result.active_producers)
    return found


def _active(each: Any) -> ActiveProducer:
    return ActiveProducer(
        each.producer_id,
        each.producer_epoch,
        each.last_sequence,
        each.last_timestamp,
        each.coordinator_epoch,
        each.current_txn_start_offset,
    )


async def fence(cluster: Cluster, transactional_id: str) -> None:
    """Abort the transaction of an id and fence its producer, as a successor would."""
    request = InitProducerIdRequest(
        transactional_id=transactional_id, transaction_timeout_ms=FENCE_TIMEOUT_MS
    )
    to = Coordinator("transaction", transactional_id)
    deadline = monotonic_ms() + FENCE_TIMEOUT_MS
    pauses = backoffs()
    while True:
        answer = await cluster.request(to, ApiKey.INIT_PRODUCER_ID, same(request))
        if not answer.error_code:
            return
        # While the transaction is being aborted the coordinator asks to come again.
        if not retriable(answer.error_code) or monotonic_ms() > deadline:
            raise RequestRefused(f"fencing {transactional_id!r}", answer.error_code)
        await asyncio.sleep(next(pauses))


async def abort_partition(
    cluster: Cluster, tp: TopicPartition, producer_id: int, epoch: int, coordinator_epoch: int
) -> None:
    """Write an abort marker into one partition, past the coordinator: for a hanging transaction
    only, whose coordinator knows nothing of it.
    """
    marker = WritableTxnMarker(
        producer_id=producer_id,
        producer_epoch=epoch,
        transaction_result=False,
        topics=(WritableTxnMarkerTopic(name=tp.topic, partition_indexes=(tp.partition,)),),
        coordinator_epoch=max(coordinator_epoch, 0),
    )
    answer = await cluster.request(
        Leader(tp), ApiKey.WRITE_TXN_MARKERS, lambda _: WriteTxnMarkersRequest(markers=(marker,))
    )
    for result in answer.markers[0].topics[0].partitions:
        if result.error_code:
            raise RequestRefused(f"aborting in {tp.topic}-{tp.partition}", result.error_code)


async def find_hanging(
    cluster: Cluster, partitions: Iterable[TopicPartition], older_than_ms: int, now_ms: int
) -> list[Open]:
    """Open transactions that are older than `older_than_ms` and that no coordinator will end."""
    suspects = [
        Open(tp, producer)
        for tp, producers in (await describe_producers(cluster, partitions)).items()
        for producer in producers
        if producer.txn_start >= 0 and now_ms - producer.last_timestamp_ms > older_than_ms
    ]
    if not suspects:
        return []
    ids = sorted({suspect.producer.producer_id for suspect in suspects})
    owners = {each.producer_id: each for each in await list_transactions(cluster, producer_ids=ids)}
    known: dict[int, Described] = {}
    for producer_id, owner in owners.items():
        known[producer_id] = await describe_transaction(cluster, owner.transactional_id)
    return [each for each in suspects if is_hanging(each, known.get(each.producer.producer_id))]


def is_hanging(open: Open, owner: Described | None) -> bool:
    """Whether the coordinator's state of the producer's transactional id will never end `open`."""
    return owner is None or open.tp not in owner.partitions
