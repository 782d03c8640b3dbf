"""WriteTxnMarkers (27): end a producer's transaction in some partitions.

Between brokers in Kafka; here our own coordinator writes markers itself, and this serves the admin
tool that aborts a hanging transaction (KIP-664). 2 carries the transaction version: under v2 a
marker's epoch must be above the one that wrote the data (KIP-1228).
"""

from __future__ import annotations

from flowstream.broker.coordination import append_markers, replies_when_durable
from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.transactions.markers import Marker
from flowstream.broker.transactions.transitions import V2
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.write_txn_markers import (
    WritableTxnMarker,
    WritableTxnMarkerPartitionResult,
    WritableTxnMarkerResult,
    WritableTxnMarkerTopic,
    WritableTxnMarkerTopicResult,
    WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
)


def handle(request: Request[WriteTxnMarkersRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer when the markers are durable."""
    effects: list[Effect] = []
    results = []
    for asked in request.body.markers:
        topics = tuple(_write(asked, topic, cores, now, effects) for topic in asked.topics)
        results.append(WritableTxnMarkerResult(producer_id=asked.producer_id, topics=topics))
    response = WriteTxnMarkersResponse(markers=tuple(results))
    return effects + replies_when_durable([(request.to, response)])


def _write(
    asked: WritableTxnMarker,
    topic: WritableTxnMarkerTopic,
    cores: Cores,
    now: Instant,
    effects: list[Effect],
) -> WritableTxnMarkerTopicResult:
    results = []
    for number in topic.partition_indexes:
        partition = TopicPartition(topic.name, number)
        error = _refusal(asked, partition, cores)
        if error is ErrorCode.NONE:
            marker = Marker(
                asked.producer_id,
                asked.producer_epoch,
                asked.coordinator_epoch,
                asked.transaction_result,
                partition,
            )
            effects += append_markers(cores, (marker,), now)
        results.append(WritableTxnMarkerPartitionResult(partition_index=number, error_code=error))
    return WritableTxnMarkerTopicResult(name=topic.name, partitions=tuple(results))


def _refusal(asked: WritableTxnMarker, partition: TopicPartition, cores: Cores) -> ErrorCode:
    log = cores.logs.by_name.get(partition)
    if log is None:
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    producer = log.producers.by_id.get(asked.producer_id)
    if producer is None:
        return ErrorCode.NONE
    if asked.coordinator_epoch < producer.coordinator_epoch:
        return ErrorCode.TRANSACTION_COORDINATOR_FENCED
    lowest = producer.epoch + (asked.transaction_version >= V2)
    if asked.producer_epoch < lowest:
        return ErrorCode.INVALID_PRODUCER_EPOCH
    return ErrorCode.NONE
