"""What clients may ask of topics: create, delete, add partitions.

Pure, all in Kafka's words, error messages too. One topic's refusal does not stop the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from flowstream.broker.config import BrokerConfig
from flowstream.broker.doors import Random
from flowstream.broker.metadata import topic_configs
from flowstream.broker.metadata.controller import (
    INTERNAL_TOPICS,
    METADATA_TOPIC,
    new_uuid,
    partition_records,
    placement,
    topic_records,
)
from flowstream.broker.metadata.image import Image, Topic
from flowstream.broker.metadata.names import folded, problem_with
from flowstream.broker.metadata.records import MetadataRecord, RemoveTopicRecord
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.fields import ZERO_UUID
from flowstream.wire.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsTopic,
    CreatePartitionsTopicResult,
)
from flowstream.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicResult,
    CreateTopicsRequest,
)
from flowstream.wire.messages.delete_topics import (
    DeletableTopicResult,
    DeleteTopicsRequest,
    DeleteTopicState,
)

T = TypeVar("T")

MAX_PARTITIONS = 10_000
"""Partitions that one request may create, as Kafka's controller bounds one batch of records."""


class Plan(NamedTuple, Generic[T]):
    """Records to write as one batch, and what to answer once they are durable."""

    records: tuple[MetadataRecord, ...]
    results: tuple[T, ...]
    partitions: int = 0
    """How many partitions the request has made with it."""


class Refusal(Exception):
    """One topic of a request cannot be served: the error code and message of its result."""

    def __init__(self, error: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.error = error
        self.message = message


Charge = Callable[[int], None]
"""Told of the partitions that a change is about when nothing else is against it; raises Refusal
when its client has to wait first (KIP-599)."""


def free(partitions: int) -> None:
    """Whoever may change as much as it likes."""


class _New(NamedTuple):
    topic_id: bytes
    partitions: int
    configs: dict[str, str]


def create_topics(
    image: Image,
    config: BrokerConfig,
    request: CreateTopicsRequest,
    rng: Random,
    charge: Charge = free,
    used: int = 0,
    valid: Sequence[str] = (),
) -> Plan[CreatableTopicResult]:
    """Create topics; `validate_only` answers the same without records. `used` is how many
    partitions the request has created before, `valid` are names that it may create.
    """
    where = placement(image, config)
    repeated = _repeated(topic.name for topic in request.topics)
    taken = {folded(name): name for name in (*image.topics, *valid)}
    created: dict[str, _New] = {}
    described = topic_configs.Described(config)
    results: dict[str, CreatableTopicResult] = {}
    for topic in request.topics:
        try:
            if topic.name in repeated:
                raise Refusal(ErrorCode.INVALID_REQUEST, "Duplicate topic name.")
            _check_name(topic.name, taken)
            if topic.name in image.topics:
                raise Refusal(
                    ErrorCode.TOPIC_ALREADY_EXISTS, f"Topic '{topic.name}' already exists."
                )
            new = _new_topic(topic, config, where.node_id, used, new_uuid(rng))
            if not request.validate_only:
                charge(new.partitions)
        except Refusal as refusal:
            results[topic.name] = CreatableTopicResult(
                name=topic.name,
                error_code=refusal.error,
                error_message=refusal.message,
                configs=(),
            )
            continue
        created[topic.name] = new
        taken[folded(topic.name)] = topic.name
        used += new.partitions
        results[topic.name] = CreatableTopicResult(
            name=topic.name,
            topic_id=ZERO_UUID if request.validate_only else new.topic_id,
            error_message=None,
            num_partitions=new.partitions,
            replication_factor=1,
            configs=described.of(new.configs),
        )
    records = [
        record
        for name, new in created.items()
        for record in topic_records(name, new.topic_id, new.configs, new.partitions, where)
    ]
    if request.validate_only:
        records = []
    return Plan(tuple(records), tuple(results.values()), used)


def auto_create(
    image: Image, config: BrokerConfig, names: Iterable[str], rng: Random, charge: Charge = free
) -> Plan[CreatableTopicResult]:
    """Create topics that clients asked about, with the default number of partitions."""
    topics = tuple(
        CreatableTopic(name=name, num_partitions=-1, replication_factor=-1) for name in names
    )
    return create_topics(image, config, CreateTopicsRequest(topics=topics), rng, charge)


def delete_topics(
    image: Image, config: BrokerConfig, request: DeleteTopicsRequest, charge: Charge = free
) -> Plan[DeletableTopicResult]:
    """Delete topics by name or, from version 6, by id."""
    asked = request.topics or tuple(DeleteTopicState(name=name) for name in request.topic_names)
    repeated_names = _repeated(state.name for state in asked if state.name is not None)
    repeated_ids = _repeated(state.topic_id for state in asked if state.topic_id != ZERO_UUID)
    twice = _named_both_ways(image, asked)
    records: list[MetadataRecord] = []
    results = [
        DeletableTopicResult(
            name=topic.name,
            topic_id=topic.topic_id,
            error_code=ErrorCode.INVALID_REQUEST,
            error_message="The provided topic name maps to an ID that was already supplied.",
        )
        for topic in twice
    ]
    names, ids = {topic.name for topic in twice}, {topic.topic_id for topic in twice}
    for state in dict.fromkeys(asked):
        if state.name in names or state.topic_id in ids:
            continue
        try:
            if state.name in repeated_names:
                raise Refusal(ErrorCode.INVALID_REQUEST, "Duplicate topic name.")
            if state.topic_id in repeated_ids:
                raise Refusal(ErrorCode.INVALID_REQUEST, "Duplicate topic id.")
            topic = _deletable(image, config, state)
            charge(len(topic.partitions))
        except Refusal as refusal:
            results.append(
                DeletableTopicResult(
                    name=state.name,
                    topic_id=state.topic_id,
                    error_code=refusal.error,
                    error_message=refusal.message,
                )
            )
            continue
        records.append(RemoveTopicRecord(topic_id=topic.topic_id))
        results.append(DeletableTopicResult(name=topic.name, topic_id=topic.topic_id))
    return Plan(tuple(records), tuple(results))


def _named_both_ways(image: Image, asked: Sequence[DeleteTopicState]) -> list[Topic]:
    """The topics that a request names by name and by id: neither is done."""
    names = dict.fromkeys(state.name for state in asked)
    known = (image.topics_by_id.get(state.topic_id) for state in dict.fromkeys(asked))
    return [topic for topic in known if topic is not None and topic.name in names]


def create_partitions(
    image: Image,
    config: BrokerConfig,
    request: CreatePartitionsRequest,
    charge: Charge = free,
    used: int = 0,
) -> Plan[CreatePartitionsTopicResult]:
    """Grow topics to more partitions. `used` is how many the request has added before."""
    where = placement(image, config)
    repeated = _repeated(topic.name for topic in request.topics)
    records: list[MetadataRecord] = []
    results: dict[str, CreatePartitionsTopicResult] = {}
    for asked in request.topics:
        try:
            if asked.name in repeated:
                raise Refusal(ErrorCode.INVALID_REQUEST, "Duplicate topic name.")
            topic = image.topics.get(asked.name)
            if topic is None:
                raise Refusal(
                    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
                    "This server does not host this topic-partition.",
                )
            _check_growth(topic, asked, where.node_id, used + len(records))
            if not request.validate_only:
                charge(asked.count - len(topic.partitions))
        except Refusal as refusal:
            results[asked.name] = CreatePartitionsTopicResult(
                name=asked.name, error_code=refusal.error, error_message=refusal.message
            )
            continue
        added = range(len(topic.partitions), asked.count)
        records += partition_records(topic.topic_id, added, where)
        results[asked.name] = CreatePartitionsTopicResult(name=asked.name)
    if request.validate_only:
        records = []
    return Plan(tuple(records), tuple(results.values()), used + len(records))


def _repeated(items: Iterable[T]) -> set[T]:
    return {item for item, count in Counter(items).items() if count > 1}


def _check_name(name: str, taken: Mapping[str, str]) -> None:
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


def _new_topic(
    topic: CreatableTopic, config: BrokerConfig, node_id: int, used: int, topic_id: bytes
) -> _New:
    if topic.assignments:
        count = _assigned(topic, node_id)
    else:
        count = config.num_partitions if topic.num_partitions == -1 else topic.num_partitions
        if count <= 0:
            raise Refusal(
                ErrorCode.INVALID_PARTITIONS,
                "Number of partitions was set to an invalid non-positive value.",
            )
        asked = topic.replication_factor
        _check_replication(config.default_replication_factor if asked == -1 else asked)
    _check_bound(used + count)
    try:
        given = {each.name: each.value for each in topic.configs}
        return _New(topic_id, count, topic_configs.check(config, given))
    except topic_configs.InvalidConfig as error:
        raise Refusal(ErrorCode.INVALID_CONFIG, str(error)) from None


def _assigned(topic: CreatableTopic, node_id: int) -> int:
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
    repeated = _repeated(broker_ids)
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


def _check_replication(factor: int) -> None:
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


def _check_bound(partitions: int) -> None:
    if partitions > MAX_PARTITIONS:
        raise Refusal(
            ErrorCode.POLICY_VIOLATION,
            f"Excessively large number of partitions per request: at most {MAX_PARTITIONS}.",
        )


def _deletable(image: Image, config: BrokerConfig, state: DeleteTopicState) -> Topic:
    topic: Topic | None
    if state.name is not None and state.topic_id != ZERO_UUID:
        raise Refusal(
            ErrorCode.INVALID_REQUEST, "You may not specify both topic name and topic id."
        )
    if state.name is not None:
        topic = image.topics.get(state.name)
        missing = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        message = "This server does not host this topic-partition."
    elif state.topic_id != ZERO_UUID:
        topic = image.topics_by_id.get(state.topic_id)
        missing, message = ErrorCode.UNKNOWN_TOPIC_ID, "This server does not host this topic ID."
    else:
        raise Refusal(ErrorCode.INVALID_REQUEST, "Neither topic name nor id were specified.")
    if topic is None:
        raise Refusal(missing, message)
    if not config.delete_topic_enable:
        raise Refusal(ErrorCode.TOPIC_DELETION_DISABLED, "Topic deletion is disabled.")
    if topic.name in INTERNAL_TOPICS:
        # Kafka lets this happen and loses every committed offset or open transaction with it.
        raise Refusal(ErrorCode.INVALID_REQUEST, f"{topic.name} is internal: it cannot be deleted.")
    return topic


def _check_growth(topic: Topic, asked: CreatePartitionsTopic, node_id: int, already: int) -> None:
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
    _check_bound(already + added)
    if asked.assignments is not None:
        if len(asked.assignments) != added:
            raise Refusal(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                f"Attempted to add {added} additional partition(s), but only "
                f"{len(asked.assignments)} assignment(s) were specified.",
            )
        for each in asked.assignments:
            check_replicas(each.broker_ids, node_id)
