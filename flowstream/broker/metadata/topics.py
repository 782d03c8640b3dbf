"""What clients may ask of topics: create, delete, add partitions.

Pure, all in Kafka's words, error messages too. One topic's refusal does not stop the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from flowstream.broker.config import BrokerConfig
from flowstream.broker.doors import Random
from flowstream.broker.metadata import topic_configs
from flowstream.broker.metadata.controller import (
    INTERNAL_TOPICS,
    new_uuid,
    partition_records,
    placement,
    topic_records,
)
from flowstream.broker.metadata.image import Image, Topic
from flowstream.broker.metadata.names import folded
from flowstream.broker.metadata.plan import Charge, Plan, Refusal, free
from flowstream.broker.metadata.records import MetadataRecord, RemoveTopicRecord
from flowstream.broker.metadata.topic_rules import (
    assigned,
    check_bound,
    check_growth,
    check_name,
    check_replication,
    duplicates,
)
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.fields import ZERO_UUID
from flowstream.wire.messages.create_partitions import (
    CreatePartitionsRequest,
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
    repeated = duplicates(topic.name for topic in request.topics)
    taken = {folded(name): name for name in (*image.topics, *valid)}
    created: dict[str, _New] = {}
    described = topic_configs.Described(config)
    results: dict[str, CreatableTopicResult] = {}
    for topic in request.topics:
        try:
            if topic.name in repeated:
                raise Refusal(ErrorCode.INVALID_REQUEST, "Duplicate topic name.")
            check_name(topic.name, taken)
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
    repeated_names = duplicates(state.name for state in asked if state.name is not None)
    repeated_ids = duplicates(state.topic_id for state in asked if state.topic_id != ZERO_UUID)
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
    repeated = duplicates(topic.name for topic in request.topics)
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
            check_growth(topic, asked, where.node_id, used + len(records))
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


def _new_topic(
    topic: CreatableTopic, config: BrokerConfig, node_id: int, used: int, topic_id: bytes
) -> _New:
    if topic.assignments:
        count = assigned(topic, node_id)
    else:
        count = config.num_partitions if topic.num_partitions == -1 else topic.num_partitions
        if count <= 0:
            raise Refusal(
                ErrorCode.INVALID_PARTITIONS,
                "Number of partitions was set to an invalid non-positive value.",
            )
        asked = topic.replication_factor
        check_replication(config.default_replication_factor if asked == -1 else asked)
    check_bound(used + count)
    try:
        given = {each.name: each.value for each in topic.configs}
        return _New(topic_id, count, topic_configs.check(config, given))
    except topic_configs.InvalidConfig as error:
        raise Refusal(ErrorCode.INVALID_CONFIG, str(error)) from None


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
