"""What a topic may be: its name, its number of partitions, and where these are placed.

Pure. Each check raises `Refusal`, in the words of Kafka.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeVar

from flowstream.broker.metadata.controller import INTERNAL_TOPICS, METADATA_TOPIC
from flowstream.broker.metadata.image import Topic
from flowstream.broker.metadata.names import folded, problem_with
from flowstream.broker.metadata.plan import Refusal
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.create_partitions import CreatePartitionsTopic
from flowstream.wire.messages.create_topics import CreatableTopic

T = TypeVar("T")

MAX_PARTITIONS = 10_000
"""Partitions that one request may create, as Kafka's controller bounds one batch of records."""


def duplicates(items: Iterable[T]) -> set[T]:
    """What stands more than once in a request."""
    return {item for item, count in Counter(items).items() if count > 1}


def check_name(name: str, taken: Mapping[str, str]) -> None:
    """Whether a topic may have this name, beside those that are `taken`, by their folded names."""
    problem = problem_with(name)
    if problem is not None:
        raise Refusal(ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic name is invalid: {problem}")
    if name == METADATA_TOPIC:
        raise Refusal(ErrorCode.TOPIC_AUTHORIZATION_FAILED, "Authorization failed.")
    clash = taken.get(folded(name), name)
    if clash != name:
        raise Refusal(
            ErrorCode.INVALID_TOPIC_EXCEPTION,
            f"Topic '{name}' collides with existing topic: {clash}",
        )


def assigned(topic: CreatableTopic, node_id: int) -> int:
    """How many partitions a topic has whose request places them itself."""
    if topic.num_partitions != -1:
        raise Refusal(
            ErrorCode.INVALID_REQUEST,
            "A manual partition assignment was specified, but numPartitions was not set to -1.",
        )
    if topic.replication_factor != -1:
        raise Refusal(
            ErrorCode.INVALID_REQUEST,
            "A manual partition assignment was specified, but replication factor "
            "was not set to -1.",
        )
    if sorted(each.partition_index for each in topic.assignments) != list(
        range(len(topic.assignments))
    ):
        raise Refusal(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            "partitions should be a consecutive 0-based integer sequence",
        )
    for each in topic.assignments:
        check_replicas(each.broker_ids, node_id)
    return len(topic.assignments)


def check_replicas(broker_ids: tuple[int, ...], node_id: int) -> None:
    """Whether a partition may be placed on exactly these brokers. Raises Refusal."""
    if not broker_ids:
        raise Refusal(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            "The manual partition assignment includes an empty replica list.",
        )
    repeated = duplicates(broker_ids)
    if repeated:
        raise Refusal(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            f"The manual partition assignment includes the broker {min(repeated)} more than once.",
        )
    unknown = next((broker for broker in broker_ids if broker != node_id), None)
    if unknown is not None:
        raise Refusal(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            f"The manual partition assignment includes broker {unknown}, "
            "but no such broker is registered.",
        )


def check_replication(factor: int) -> None:
    """Whether partitions may have so many copies."""
    if factor < 1:
        raise Refusal(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            "Replication factor must be larger than 0, or -1 to use the default value.",
        )
    if factor > 1:
        raise Refusal(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"Unable to replicate the partition {factor} time(s): The target replication factor "
            f"of {factor} cannot be reached because only 1 broker(s) are registered.",
        )


def check_bound(partitions: int) -> None:
    """Whether one request may create so many partitions."""
    if partitions > MAX_PARTITIONS:
        raise Refusal(
            ErrorCode.POLICY_VIOLATION,
            f"Excessively large number of partitions per request: at most {MAX_PARTITIONS}.",
        )


def check_growth(topic: Topic, asked: CreatePartitionsTopic, node_id: int, already: int) -> None:
    """Whether a topic may grow as it is asked; `already` is what the request has added before."""
    current = len(topic.partitions)
    if asked.count == current:
        raise Refusal(ErrorCode.INVALID_PARTITIONS, f"Topic already has {current} partition(s).")
    if asked.count < current:
        raise Refusal(
            ErrorCode.INVALID_PARTITIONS,
            f"The topic {topic.name} currently has {current} partition(s); "
            f"{asked.count} would not be an increase.",
        )
    if topic.name in INTERNAL_TOPICS:
        # The partition of a group or transactional id is hash % count: growing would lose them.
        raise Refusal(ErrorCode.INVALID_REQUEST, f"{topic.name} is internal: it cannot be grown.")
    added = asked.count - current
    check_bound(already + added)
    if asked.assignments is not None:
        if len(asked.assignments) != added:
            raise Refusal(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                f"Attempted to add {added} additional partition(s), but only "
                f"{len(asked.assignments)} assignment(s) were specified.",
            )
        for each in asked.assignments:
            check_replicas(each.broker_ids, node_id)
