"""DescribeProducers (61): the producers that a partition remembers, and where their open
transactions begin (KIP-664): what `kafka-transactions.sh find-hanging` asks."""

from __future__ import annotations

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.log.producers import Producer
from flowstream.broker.metadata.names import problem_with
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.describe_producers import (
    DescribeProducersRequest,
    DescribeProducersResponse,
    PartitionResponse,
    ProducerState,
    TopicResponse,
)


def handle(request: Request[DescribeProducersRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer at once."""
    asked: dict[str, dict[int, None]] = {}  # repetitions would multiply the answer (X3)
    for topic in request.body.topics:
        asked.setdefault(topic.name, {}).update(dict.fromkeys(topic.partition_indexes))
    topics = tuple(
        TopicResponse(
            name=name, partitions=tuple(_describe(cores, name, number) for number in numbers)
        )
        for name, numbers in asked.items()
    )
    return [Reply(request.to, DescribeProducersResponse(topics=topics))]


def _describe(cores: Cores, topic: str, number: int) -> PartitionResponse:
    log = cores.logs.by_name.get(TopicPartition(topic, number))
    if log is not None:
        return PartitionResponse(
            partition_index=number, active_producers=tuple(map(_state, log.producers))
        )
    problem = problem_with(topic)
    if problem is not None:
        error, message = ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic name is invalid: {problem}"
    else:
        error = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        message = "This server does not host this topic-partition."
    return PartitionResponse(partition_index=number, error_code=error, error_message=message)


def _state(producer: Producer) -> ProducerState:
    return ProducerState(
        producer_id=producer.producer_id,
        producer_epoch=producer.epoch,
        last_sequence=producer.batches[-1][0] if producer.batches else -1,
        last_timestamp=producer.timestamp,
        coordinator_epoch=producer.coordinator_epoch,
        current_txn_start_offset=producer.first_offset,
    )
