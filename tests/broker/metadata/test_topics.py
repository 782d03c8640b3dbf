"""What clients may ask of topics, in Kafka's codes and words."""

from __future__ import annotations

import random

import pytest

from flowstream.broker.config import BrokerConfig
from flowstream.broker.metadata import controller, topics
from flowstream.broker.metadata.image import Image
from flowstream.broker.metadata.names import folded, problem_with
from flowstream.broker.metadata.records import ConfigRecord, PartitionRecord, TopicRecord
from flowstream.broker.metadata.topic_configs import InvalidConfig, check, effective
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.create_partitions import (
    CreatePartitionsAssignment,
    CreatePartitionsRequest,
    CreatePartitionsTopic,
)
from flowstream.wire.messages.create_topics import (
    CreatableReplicaAssignment,
    CreatableTopic,
    CreatableTopicConfig,
    CreatableTopicResult,
    CreateTopicsRequest,
)
from flowstream.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from tests.broker import golden

CONFIG = BrokerConfig()


def wanted(
    name: str = "t", partitions: int = 1, replicas: int = -1, **configs: str | None
) -> CreatableTopic:
    return CreatableTopic(
        name=name,
        num_partitions=partitions,
        replication_factor=replicas,
        configs=tuple(
            CreatableTopicConfig(name=key.replace("_", "."), value=value)
            for key, value in configs.items()
        ),
    )


def create(
    image: Image, *asked: CreatableTopic, config: BrokerConfig = CONFIG, validate_only: bool = False
) -> list[CreatableTopicResult]:
    request = CreateTopicsRequest(topics=asked, validate_only=validate_only)
    plan = topics.create_topics(image, config, request, random.Random(7))
    for record in plan.records:
        image.apply(record)
    return list(plan.results)


def codes(results: list[CreatableTopicResult]) -> list[str]:
    return [ErrorCode(each.error_code).name for each in results]


def test_a_topic_is_created_with_an_id_partitions_and_configs() -> None:
    image = Image()
    (result,) = create(image, wanted("t", 3, retention_ms="5"))
    assert result.error_code == 0
    assert (result.num_partitions, result.replication_factor) == (3, 1)
    topic = image.topics["t"]
    assert result.topic_id == topic.topic_id
    assert topic.topic_id[6] >> 4 == 4
    assert list(topic.partitions) == [0, 1, 2]
    assert topic.partitions[0].leader_epoch == 0
    assert image.topic_configs("t") == {"retention.ms": "5"}


def test_records_come_in_kafkas_order() -> None:
    request = CreateTopicsRequest(topics=(wanted("t", 2, retention_ms="5"),))
    plan = topics.create_topics(Image(), CONFIG, request, random.Random(7))
    kinds = [type(record) for record in plan.records]
    assert kinds == [TopicRecord, ConfigRecord, PartitionRecord, PartitionRecord]


def test_minus_one_asks_for_the_defaults() -> None:
    image = Image()
    (result,) = create(image, wanted(partitions=-1), config=BrokerConfig(num_partitions=5))
    assert result.num_partitions == 5


@pytest.mark.parametrize(
    ("asked", "error", "says"),
    [
        (wanted(""), "INVALID_TOPIC_EXCEPTION", "empty string"),
        (wanted(".."), "INVALID_TOPIC_EXCEPTION", "'..' is not allowed"),
        (wanted("a/b"), "INVALID_TOPIC_EXCEPTION", "ASCII alphanumerics"),
        (wanted("caf\u00e9"), "INVALID_TOPIC_EXCEPTION", "ASCII alphanumerics"),
        (wanted("x" * 250), "INVALID_TOPIC_EXCEPTION", "longer than the max allowed length 249"),
        (wanted("new\n"), "INVALID_TOPIC_EXCEPTION", "ASCII alphanumerics"),
        (wanted("old"), "TOPIC_ALREADY_EXISTS", "Topic 'old' already exists."),
        (wanted("o.d"), "INVALID_TOPIC_EXCEPTION", "collides with existing topic: o_d"),
        (wanted(partitions=0), "INVALID_PARTITIONS", "non-positive value"),
        (wanted(partitions=-2), "INVALID_PARTITIONS", "non-positive value"),
        (wanted(partitions=10_001), "POLICY_VIOLATION", "at most 10000"),
        (wanted(replicas=0), "INVALID_REPLICATION_FACTOR", "larger than 0"),
        (wanted(replicas=2), "INVALID_REPLICATION_FACTOR", "only 1 broker(s) are registered"),
        (wanted(no_such="1"), "INVALID_CONFIG", "Unknown topic config name: no.such"),
        (wanted(retention_ms="-2"), "INVALID_CONFIG", "Value must be at least -1"),
        (wanted(retention_ms=None), "INVALID_CONFIG", "Null value not supported"),
        (wanted(segment_bytes="1000"), "INVALID_CONFIG", "at least 1048576"),
        (wanted(cleanup_policy="burn"), "INVALID_CONFIG", "must be one of: compact, delete"),
    ],
)
def test_what_is_refused(asked: CreatableTopic, error: str, says: str) -> None:
    image = Image()
    create(image, wanted("old"), wanted("o_d"))
    (result,) = create(image, asked)
    assert ErrorCode(result.error_code).name == error
    assert says in (result.error_message or "")
    assert list(image.topics) == ["old", "o_d"]


def test_a_repeated_name_is_refused_once_and_others_are_served() -> None:
    image = Image()
    results = create(image, wanted("twice"), wanted("twice"), wanted("fine"))
    assert codes(results) == ["INVALID_REQUEST", "NONE"]
    assert list(image.topics) == ["fine"]


def test_names_collide_within_one_request_too() -> None:
    assert codes(create(Image(), wanted("a.b"), wanted("a_b"))) == [
        "NONE",
        "INVALID_TOPIC_EXCEPTION",
    ]


def test_validate_only_answers_the_same_and_changes_nothing() -> None:
    image = Image()
    (result,) = create(image, wanted(partitions=2), validate_only=True)
    assert (result.error_code, result.num_partitions) == (0, 2)
    assert not image.topics


@pytest.mark.parametrize(
    ("assignments", "error"),
    [
        ({0: (0,), 1: (0,)}, "NONE"),
        ({0: (0,), 2: (0,)}, "INVALID_REPLICA_ASSIGNMENT"),
        ({0: ()}, "INVALID_REPLICA_ASSIGNMENT"),
        ({0: (0, 0)}, "INVALID_REPLICA_ASSIGNMENT"),
        ({0: (5,)}, "INVALID_REPLICA_ASSIGNMENT"),
    ],
)
def test_manual_assignments(assignments: dict[int, tuple[int, ...]], error: str) -> None:
    topic = CreatableTopic(
        name="t",
        num_partitions=-1,
        replication_factor=-1,
        assignments=tuple(
            CreatableReplicaAssignment(partition_index=number, broker_ids=brokers)
            for number, brokers in assignments.items()
        ),
    )
    assert codes(create(Image(), topic)) == [error]


def test_topics_are_deleted_by_name_and_by_id() -> None:
    image = Image()
    create(image, wanted("a", retention_ms="1"), wanted("b"), wanted("c"))
    asked = (
        DeleteTopicState(name="a"),
        DeleteTopicState(topic_id=image.topics["b"].topic_id),
        DeleteTopicState(name="x"),
        DeleteTopicState(topic_id=b"\x09" * 16),
        DeleteTopicState(name="c", topic_id=b"\x09" * 16),
        DeleteTopicState(),
    )
    plan = topics.delete_topics(image, CONFIG, DeleteTopicsRequest(topics=asked))
    assert [ErrorCode(each.error_code).name for each in plan.results] == [
        "NONE",
        "NONE",
        "UNKNOWN_TOPIC_OR_PARTITION",
        "INVALID_REQUEST",
        "INVALID_REQUEST",
        "INVALID_REQUEST",
    ]
    for record in plan.records:
        image.apply(record)
    assert list(image.topics) == ["c"]
    assert not image.configs


def test_an_unknown_id_and_a_repeated_name() -> None:
    image = Image()
    create(image, wanted("a"))
    asked = (DeleteTopicState(topic_id=b"\x09" * 16),)
    plan = topics.delete_topics(image, CONFIG, DeleteTopicsRequest(topics=asked))
    assert plan.results[0].error_code == ErrorCode.UNKNOWN_TOPIC_ID
    twice = DeleteTopicsRequest(topic_names=("a", "a"))
    plan = topics.delete_topics(image, CONFIG, twice)
    assert [each.error_code for each in plan.results] == [ErrorCode.INVALID_REQUEST]
    assert plan.records == ()


def test_deletion_can_be_switched_off_and_internal_topics_stay() -> None:
    image = Image()
    create(image, wanted("a"))
    off = BrokerConfig(delete_topic_enable=False)
    plan = topics.delete_topics(image, off, DeleteTopicsRequest(topic_names=("a",)))
    assert plan.results[0].error_code == ErrorCode.TOPIC_DELETION_DISABLED
    name = controller.OFFSETS_TOPIC
    for record in controller.internal_topic(image, CONFIG, name, random.Random(1)):
        image.apply(record)
    plan = topics.delete_topics(image, CONFIG, DeleteTopicsRequest(topic_names=(name,)))
    assert plan.results[0].error_code == ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize(
    ("name", "count", "assigned", "error"),
    [
        ("a", 5, None, "NONE"),
        ("a", 5, ((0,), (0,)), "NONE"),
        ("a", 5, ((0,),), "INVALID_REPLICA_ASSIGNMENT"),
        ("a", 5, ((0,), (9,)), "INVALID_REPLICA_ASSIGNMENT"),
        ("a", 3, None, "INVALID_PARTITIONS"),
        ("a", 2, None, "INVALID_PARTITIONS"),
        ("a", 20_000, None, "POLICY_VIOLATION"),
        ("x", 5, None, "UNKNOWN_TOPIC_OR_PARTITION"),
    ],
)
def test_growing(
    name: str, count: int, assigned: tuple[tuple[int, ...], ...] | None, error: str
) -> None:
    image = Image()
    create(image, wanted("a", 3))
    assignments = (
        None
        if assigned is None
        else tuple(CreatePartitionsAssignment(broker_ids=each) for each in assigned)
    )
    asked = CreatePartitionsTopic(name=name, count=count, assignments=assignments)
    plan = topics.create_partitions(image, CONFIG, CreatePartitionsRequest(topics=(asked,)))
    assert ErrorCode(plan.results[0].error_code).name == error
    for record in plan.records:
        image.apply(record)
    assert len(image.topics["a"].partitions) == (5 if error == "NONE" else 3)


def test_topic_names() -> None:
    assert problem_with("a-B_9.c") is None
    assert folded("a.b") == folded("a_b") != folded("a-b")
    assert folded("ab") != folded("a_b")


def test_compaction_lags_must_fit_together() -> None:
    with pytest.raises(InvalidConfig, match=r"conflict topic config setting min\.compaction"):
        check(CONFIG, {"min.compaction.lag.ms": "9", "max.compaction.lag.ms": "8"})


def test_the_configs_of_a_new_topic_are_what_kafka_told_on_the_wire() -> None:
    compared = 0
    for version, request, response in golden.frames(19):
        if version < 5:
            continue
        results = {each.name: each for each in create(Image(), *request.topics)}
        for theirs in response.topics:
            ours = results[theirs.name]
            assert ours.num_partitions == theirs.num_partitions
            for mine, other in zip(ours.configs or (), theirs.configs, strict=True):
                assert (mine.name, mine.value) == (other.name, other.value)
                # Kafka's own bootstrap sets min.insync.replicas for the whole cluster.
                assert mine.config_source == other.config_source or other.config_source == 3
                compared += 1
    assert compared > 60


def test_effective_configs_put_the_topics_own_over_the_brokers() -> None:
    config = BrokerConfig.of({"log.retention.ms": "7", "log.segment.bytes": "2000000"})
    configs = effective(config, {"segment.bytes": "3000000"})
    assert configs["retention.ms"] == "7"
    assert configs["segment.bytes"] == "3000000"
