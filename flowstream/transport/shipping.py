"""Bring sealed batches to the leaders of their partitions, each until it is answered.

A batch that got no answer is sent again with the same sequence: the broker tells a repeat from a
new one (P1). Knows no transaction; the caller decides what a refusal means.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from flowstream.clock import monotonic_ms
from flowstream.transport.batches import SealedBatch
from flowstream.transport.cluster import DEFAULT_LANE, Cluster, Leader, backoffs
from flowstream.transport.errors import (
    ConnectionLost,
    RefusedForGood,
    UnknownTopic,
    error_name,
)
from flowstream.transport.types import TopicPartition
from flowstream.wire.api import ApiKey
from flowstream.wire.error_codes import ErrorCode, retriable
from flowstream.wire.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)

MAX_VERSION_V1 = 11
"""Up to here a transaction's partitions are added by a request of their own."""
MIN_VERSION_V2 = 12
"""From here on Produce adds them implicitly (KIP-890)."""
_MAX_VERSION = 12  # 13 names topics by id
_ACKS_ALL = -1
_STORED = (ErrorCode.NONE, ErrorCode.DUPLICATE_SEQUENCE_NUMBER)


REMEDIES: Mapping[int, str] = {
    ErrorCode.MESSAGE_TOO_LARGE: "raise the topic's max.message.bytes, or write smaller records",
    ErrorCode.RECORD_LIST_TOO_LARGE: "raise the topic's segment.bytes, or write smaller records",
    ErrorCode.INVALID_RECORD: "a compacted topic takes no record without a key: give each one",
    ErrorCode.INVALID_TIMESTAMP: "see the topic's message.timestamp.* settings",
    ErrorCode.TOPIC_AUTHORIZATION_FAILED: "allow the worker's user to write to the topic",
    ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "allow the worker's user to write under its"
    " transactional ids, which begin with the app's id",
    ErrorCode.CLUSTER_AUTHORIZATION_FAILED: "allow the worker's user to produce",
    ErrorCode.GROUP_AUTHORIZATION_FAILED: "allow the worker's user to read the group of the app's"
    " id",
    ErrorCode.POLICY_VIOLATION: "ask who runs the cluster",
    ErrorCode.UNSUPPORTED_COMPRESSION_TYPE: "change the topic's compression.type",
    ErrorCode.UNSUPPORTED_FOR_MESSAGE_FORMAT: "the topic needs message format v2",
}
"""Codes of Produce and of what a transaction asks beside it that will come again whenever the same
is sent, and what helps.
"""


class Refusal(NamedTuple):
    """A batch that the broker will not take."""

    tp: TopicPartition
    code: int
    message: str | None

    @property
    def reason(self) -> str:
        """Which partition, Kafka's error, and the broker's words if it has any."""
        words = f" ({self.message})" if self.message else ""
        return f"{self.tp.topic}-{self.tp.partition}: {error_name(self.code)}{words}"


def for_good(refused: Sequence[Refusal]) -> RefusedForGood | None:
    """The error of refusals that will come again, None when there is no such among them."""
    for refusal in refused:
        remedy = REMEDIES.get(refusal.code)
        if remedy is not None:
            told = f"the broker refuses records of {refusal.reason}: {remedy}"
            return RefusedForGood(told, code=refusal.code)
    return None


@dataclass(slots=True)
class Shipment:
    """What became of the batches. `offsets` are those of first records."""

    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    refused: list[Refusal] = field(default_factory=list)
    uncertain: bool = False
    """Some request went unanswered, though its repeat was answered."""


@dataclass(frozen=True, slots=True)
class Route:
    """How to ship: under which transaction, in which versions, on which connections, how long."""

    transactional_id: str | None = None
    min_version: int = 3
    max_version: int = _MAX_VERSION
    lane: Hashable = DEFAULT_LANE
    timeout_ms: int = 30_000
    request_timeout_ms: int = 10_000


async def ship(cluster: Cluster, batches: Sequence[SealedBatch], route: Route) -> Shipment:
    """Ship at most one batch per partition. Raises ConnectionLost when one is still unanswered
    after `timeout_ms`: it may or may not be in the log.
    """
    shipment = Shipment()
    waiting = {batch.tp: batch for batch in batches}
    assert len(waiting) == len(batches), "one batch per partition and request"
    deadline = monotonic_ms() + route.timeout_ms
    pauses = backoffs()
    while waiting:
        by_node = await _by_leader(cluster, waiting, shipment)
        sending = [_send(cluster, node, group, route) for node, group in by_node.items()]
        # One broker needs no task: that is a round of the loop less.
        answers = [await sending[0]] if len(sending) == 1 else await asyncio.gather(*sending)
        for group, answer in zip(by_node.values(), answers, strict=True):
            _settle(cluster, group, answer, waiting, shipment)
        if waiting:
            if monotonic_ms() >= deadline:
                names = ", ".join(f"{tp.topic}-{tp.partition}" for tp in sorted(waiting))
                raise ConnectionLost(f"no answer for batches of {names}")
            await asyncio.sleep(next(pauses))
    return shipment


async def _by_leader(
    cluster: Cluster, waiting: dict[TopicPartition, SealedBatch], shipment: Shipment
) -> dict[int, list[SealedBatch]]:
    groups: dict[int, list[SealedBatch]] = {}
    for tp, batch in list(waiting.items()):
        try:
            node = await cluster.leader(tp)
        except UnknownTopic as error:
            code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            shipment.refused.append(Refusal(tp, code, str(error)))
            del waiting[tp]
        except ConnectionLost:
            continue
        else:
            groups.setdefault(node, []).append(batch)
    return groups


async def _send(
    cluster: Cluster, node: int, batches: Sequence[SealedBatch], route: Route
) -> ProduceResponse | None:
    try:
        answer: ProduceResponse = await cluster.request(
            node,
            ApiKey.PRODUCE,
            lambda _: _request(batches, route),
            min_version=route.min_version,
            max_version=route.max_version,
            timeout_ms=route.request_timeout_ms,
            lane=route.lane,
        )
    except ConnectionLost:
        return None
    return answer


def _request(batches: Sequence[SealedBatch], route: Route) -> ProduceRequest:
    topics: dict[str, list[PartitionProduceData]] = {}
    for tp, data, _ in batches:
        topics.setdefault(tp.topic, []).append(
            PartitionProduceData(index=tp.partition, records=data)
        )
    return ProduceRequest(
        transactional_id=route.transactional_id,
        acks=_ACKS_ALL,
        timeout_ms=route.request_timeout_ms,
        topic_data=tuple(
            TopicProduceData(name=name, partition_data=tuple(data)) for name, data in topics.items()
        ),
    )


def _settle(
    cluster: Cluster,
    batches: Sequence[SealedBatch],
    answer: ProduceResponse | None,
    waiting: dict[TopicPartition, SealedBatch],
    shipment: Shipment,
) -> None:
    """Take out of `waiting` what is stored or refused; the rest is sent again."""
    if answer is None:
        shipment.uncertain = True
        for batch in batches:
            cluster.forget(Leader(batch.tp))
        return
    for topic in answer.responses:
        for result in topic.partition_responses:
            tp = TopicPartition(topic.name, result.index)
            if result.error_code in _STORED:
                shipment.offsets[tp] = result.base_offset
                waiting.pop(tp, None)
            elif retriable(result.error_code):
                cluster.forget(Leader(tp))
            else:
                shipment.refused.append(Refusal(tp, result.error_code, result.error_message))
                waiting.pop(tp, None)
