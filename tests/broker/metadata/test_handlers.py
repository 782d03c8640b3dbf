"""The requests about topics, the cluster and its configuration, through a whole node."""

from __future__ import annotations

from typing import Any

import pytest

from flowstream.broker.types import TopicPartition
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.api_versions import ApiVersionsRequest
from flowstream.wire.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsTopic,
)
from flowstream.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from flowstream.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from flowstream.wire.messages.describe_cluster import DescribeClusterRequest
from flowstream.wire.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
)
from flowstream.wire.messages.describe_topic_partitions import (
    Cursor,
    DescribeTopicPartitionsRequest,
    TopicRequest,
)
from flowstream.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from tests.broker import golden
from tests.broker.machine import Machine, batch

TOPIC, BROKER = 2, 4


def create(made: Machine, name: str, partitions: int = 1, **configs: str) -> Any:
    topic = CreatableTopic(
        name=name,
        num_partitions=partitions,
        replication_factor=1,
        configs=tuple(
            CreatableTopicConfig(name=key.replace("_", "."), value=value)
            for key, value in configs.items()
        ),
    )
    return made.ask(CreateTopicsRequest(topics=(topic,)), 7).topics[0]


def metadata(made: Machine, *names: str, version: int = 12, **more: Any) -> Any:
    topics = tuple(MetadataRequestTopic(name=name) for name in names)
    return made.ask(MetadataRequest(topics=topics, **more), version)


def test_the_broker_says_who_and_where_it_is() -> None:
    made = Machine(node_id="3", broker_rack="r1")
    response = metadata(made)
    (broker,) = response.brokers
    assert (broker.node_id, broker.host, broker.port, broker.rack) == (3, "127.0.0.1", 9092, "r1")
    assert response.controller_id == 3
    assert response.topics == ()
    cluster = made.ask(DescribeClusterRequest(), 2)
    assert cluster.cluster_id == response.cluster_id != ""
    assert [each.broker_id for each in cluster.brokers] == [3]
    controllers = made.ask(DescribeClusterRequest(endpoint_type=2), 1)
    assert controllers.error_code == ErrorCode.MISMATCHED_ENDPOINT_TYPE


@pytest.mark.parametrize("version", range(14))
def test_all_topics_are_asked_for_differently_by_age(version: int) -> None:
    made = Machine()
    create(made, "t", 2)
    everything = MetadataRequest(topics=() if version == 0 else None)
    response = made.ask(everything, version)
    (topic,) = response.topics
    assert (topic.name, len(topic.partitions)) == ("t", 2)
    assert [each.leader_id for each in topic.partitions] == [0, 0]
    if version > 0:
        assert metadata(made, version=version).topics == ()


def test_a_missing_topic_is_created_when_both_sides_want_it() -> None:
    made = Machine(num_partitions="3")
    (refused,) = metadata(made, "t", allow_auto_topic_creation=False).topics
    assert refused.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    (created,) = metadata(made, "t").topics
    assert (created.error_code, len(created.partitions)) == (0, 3)
    made.crash()
    assert metadata(made, "t").topics == (created,)
    off = Machine(auto_create_topics_enable="false")
    (refused,) = metadata(off, "t").topics
    assert refused.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def test_an_illegal_or_colliding_name_is_not_created() -> None:
    made = Machine()
    create(made, "a_b")
    topics = metadata(made, "no/good", "a.b", "fine").topics
    assert [each.error_code for each in topics] == [
        ErrorCode.INVALID_TOPIC_EXCEPTION,
        ErrorCode.INVALID_TOPIC_EXCEPTION,
        0,
    ]


def test_an_internal_topic_is_created_with_its_own_settings() -> None:
    made = Machine()
    (topic,) = metadata(made, "__consumer_offsets").topics
    assert (topic.error_code, topic.is_internal, len(topic.partitions)) == (0, True, 4)
    assert made.cores.image.topic_configs("__consumer_offsets")["cleanup.policy"] == "compact"


def test_topics_are_found_by_id() -> None:
    made = Machine()
    topic_id = create(made, "t").topic_id
    by_id = MetadataRequest(
        topics=(
            MetadataRequestTopic(topic_id=topic_id, name=None),
            MetadataRequestTopic(topic_id=b"\x09" * 16, name=None),
        )
    )
    found, missing = made.ask(by_id, 12).topics
    assert (found.name, found.error_code) == ("t", 0)
    assert missing.error_code == ErrorCode.UNKNOWN_TOPIC_ID


def test_authorized_operations_are_told_when_asked_for_as_kafka_tells_them() -> None:
    made = Machine()
    create(made, "t")
    asked = {
        "include_topic_authorized_operations": True,
        "include_cluster_authorized_operations": True,
    }
    response = metadata(made, "t", version=8, **asked)
    assert response.topics[0].topic_authorized_operations == 3576
    assert response.cluster_authorized_operations == 8096


def test_a_created_topic_survives_a_crash_and_a_deleted_one_does_not_return() -> None:
    for seed in range(8):
        made = Machine(seed)
        create(made, "stays", 2, retention_ms="77")
        create(made, "goes")
        response = made.ask(DeleteTopicsRequest(topics=(DeleteTopicState(name="goes"),)), 6)
        assert response.responses[0].error_code == 0
        made.crash()
        assert list(made.cores.image.topics) == ["stays"]
        assert made.cores.image.topic_configs("stays") == {"retention.ms": "77"}
        assert set(made.cores.logs.by_name) == {
            TopicPartition("stays", 0),
            TopicPartition("stays", 1),
        }


def test_D5_a_topic_with_the_longest_name_can_be_deleted() -> None:
    made = Machine()
    name = "n" * 249
    assert create(made, name, 2).error_code == 0
    made.ask(DeleteTopicsRequest(topics=(DeleteTopicState(name=name),)), 6)
    made.crash()
    assert not [each for each in made.storage.names("") if each.endswith("-delete")]
    assert all(len(each) <= 255 for each in made.storage.names(""))
    assert not made.cores.logs.by_name


def test_D7_no_topic_takes_the_directory_of_the_controllers_log() -> None:
    made = Machine()
    assert create(made, "__cluster_metadata").error_code == ErrorCode.TOPIC_AUTHORIZATION_FAILED
    (refused,) = metadata(made, "__cluster_metadata").topics
    assert refused.error_code == ErrorCode.TOPIC_AUTHORIZATION_FAILED


def test_D7_nobody_but_the_coordinators_writes_to_internal_topics() -> None:
    made = Machine()
    metadata(made, "__consumer_offsets")
    answer = made.produce("__consumer_offsets", 0, batch(b"v"))
    assert answer.error_code == ErrorCode.INVALID_TOPIC_EXCEPTION


def test_X3_a_topic_asked_for_twice_is_described_once() -> None:
    made = Machine()
    create(made, "t")
    assert [each.name for each in metadata(made, "t", "u", "t").topics] == ["t", "u"]


def test_deletion_switched_off_is_an_invalid_request_to_old_versions() -> None:
    made = Machine(delete_topic_enable="false")
    create(made, "t")
    old = made.ask(DeleteTopicsRequest(topic_names=("t",)), 2)
    assert old.responses[0].error_code == ErrorCode.INVALID_REQUEST
    new = made.ask(DeleteTopicsRequest(topic_names=("t",)), 3)
    assert new.responses[0].error_code == ErrorCode.TOPIC_DELETION_DISABLED


def test_a_grown_topic_takes_writes_on_its_new_partitions() -> None:
    made = Machine()
    create(made, "t")
    asked = CreatePartitionsTopic(name="t", count=3, assignments=None)
    response = made.ask(CreatePartitionsRequest(topics=(asked,)), 3)
    assert response.results[0].error_code == 0
    assert made.produce("t", 2, batch(b"x")).error_code == 0
    made.crash()
    assert made.read("t", 2) == [b"x"]


def test_partitions_are_described_in_pages() -> None:
    made = Machine()
    for name in ("a", "b", "c"):
        create(made, name, 3)
    seen = []
    cursor = None
    while True:
        request = DescribeTopicPartitionsRequest(response_partition_limit=2, cursor=cursor)
        page = made.ask(request, 0)
        seen += [
            (topic.name, each.partition_index) for topic in page.topics for each in topic.partitions
        ]
        if page.next_cursor is None:
            break
        cursor = Cursor(
            topic_name=page.next_cursor.topic_name,
            partition_index=page.next_cursor.partition_index,
        )
    assert seen == [(name, number) for name in "abc" for number in range(3)]


@pytest.mark.parametrize("cursor", [("b", 0), ("zz", 0), ("a", -1)])
def test_a_cursor_that_leads_nowhere_is_refused(cursor: tuple[str, int]) -> None:
    made = Machine()
    create(made, "a")
    request = DescribeTopicPartitionsRequest(
        topics=(TopicRequest(name="a"), TopicRequest(name="c")),
        cursor=Cursor(topic_name=cursor[0], partition_index=cursor[1]),
    )
    answer = made.ask(request, 0)
    assert [(each.name, each.error_code) for each in answer.topics] == [
        ("a", ErrorCode.INVALID_REQUEST),
        ("c", ErrorCode.INVALID_REQUEST),
    ]


def test_described_partitions_look_like_kafkas() -> None:
    made = Machine()
    create(made, "t")
    names = (TopicRequest(name="t"), TopicRequest(name="zz"), TopicRequest(name="!"))
    illegal, known, missing = made.ask(DescribeTopicPartitionsRequest(topics=names), 0).topics
    assert illegal.error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
    assert missing.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    _, _, theirs = next(golden.frames(75))
    model = next(each for each in theirs.topics if each.name == "odd")
    assert known.topic_authorized_operations == model.topic_authorized_operations
    assert known.partitions[0].eligible_leader_replicas == ()
    assert known.partitions[0].leader_epoch == model.partitions[0].leader_epoch


def described(made: Machine, kind: int, name: str, *keys: str, version: int = 4) -> Any:
    resource = DescribeConfigsResource(
        resource_type=kind, resource_name=name, configuration_keys=keys or None
    )
    request = DescribeConfigsRequest(
        resources=(resource,), include_synonyms=True, include_documentation=version >= 3
    )
    return made.ask(request, version).results[0]


def test_topic_configs_are_told_as_kafka_tells_them() -> None:
    made = Machine()
    create(made, "tx")
    ours = {each.name: each for each in described(made, TOPIC, "tx").configs}
    compared = 0
    for version, request, response in golden.frames(32):
        for result in response.results if version >= 3 else ():
            if result.resource_type != TOPIC or len(result.configs) < 20:
                continue
            assert set(ours) == {each.name for each in result.configs}
            for theirs in result.configs:
                mine = ours[theirs.name]
                assert mine.config_type == theirs.config_type, theirs.name
                if theirs.config_source != 5:
                    continue
                assert mine.value == theirs.value
                assert mine.config_source == theirs.config_source
                if request.include_synonyms:
                    assert mine.synonyms == theirs.synonyms
                compared += 1
    assert compared > 30


def test_broker_configs_are_told_as_kafka_tells_them() -> None:
    made = Machine(num_partitions="5")
    ours = {each.name: each for each in described(made, BROKER, "0").configs}
    given = ours["num.partitions"]
    assert (given.value, given.config_source) == ("5", 4)
    assert [(each.value, each.source) for each in given.synonyms] == [("5", 4), ("1", 5)]
    compared = 0
    for version, _, response in golden.frames(32):
        for result in response.results if version >= 3 else ():
            if result.resource_type != BROKER:
                continue
            for theirs in result.configs:
                if theirs.name in ours:
                    assert ours[theirs.name].config_type == theirs.config_type, theirs.name
                    compared += 1
    assert compared > 40


def test_where_a_topics_value_comes_from() -> None:
    made = Machine(log_retention_ms="7")
    create(made, "t", segment_bytes="2000000")
    found = {each.name: each for each in described(made, TOPIC, "t").configs}
    assert [(each.name, each.source) for each in found["segment.bytes"].synonyms] == [
        ("segment.bytes", 1),
        ("log.segment.bytes", 5),
    ]
    retention = [(each.value, each.source) for each in found["retention.ms"].synonyms]
    assert retention == [("7", 4), ("168", 5)]
    hours = described(Machine(log_roll_hours="2"), BROKER, "0", "log.roll.hours").configs
    assert [(each.value, each.source) for each in hours[0].synonyms] == [("2", 4), ("168", 5)]
    (only,) = described(made, TOPIC, "t", "retention.ms", "no.such").configs
    assert (only.name, only.value) == ("retention.ms", "7")
    assert only.documentation


@pytest.mark.parametrize(
    ("kind", "name", "error"),
    [
        (TOPIC, "nope", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (BROKER, "7", ErrorCode.INVALID_REQUEST),
        (BROKER, "", 0),
        (8, "0", 0),
        (8, "7", ErrorCode.INVALID_REQUEST),
        (8, "", ErrorCode.INVALID_REQUEST),
        (16, "m", ErrorCode.INVALID_REQUEST),
        (32, "", ErrorCode.INVALID_REQUEST),
    ],
)
def test_configs_of_others(kind: int, name: str, error: int) -> None:
    result = described(Machine(), kind, name)
    assert (result.error_code, result.configs) == (error, ())


def test_api_versions_offer_transactions_v2_to_those_who_ask_for_features() -> None:
    made = Machine()
    asked = ApiVersionsRequest(client_software_name="a-1", client_software_version="1.0")
    old, new = made.ask(asked, 3), made.ask(asked, 4)
    for response in (old, new):
        finalized = {each.name: each.max_version_level for each in response.finalized_features}
        assert finalized["transaction.version"] == 2
        assert response.finalized_features_epoch >= 0
    lowest = {each.name: each.min_version for each in new.supported_features}
    assert lowest["transaction.version"] == 0
    assert all(each.min_version > 0 for each in old.supported_features)
    produce = next(each for each in new.api_keys if each.api_key == 0)
    assert (produce.min_version, produce.max_version) == (0, 13)
    assert not {71, 72} & {each.api_key for each in new.api_keys}
    assert made.ask(ApiVersionsRequest(), 0).error_code == 0


@pytest.mark.parametrize("name", ["", "-x", "a b", "a\n"])
def test_a_client_without_a_proper_name_is_refused(name: str) -> None:
    asked = ApiVersionsRequest(client_software_name=name, client_software_version="1")
    assert Machine().ask(asked, 3).error_code == ErrorCode.INVALID_REQUEST


def test_no_version_we_serve_is_one_that_kafka_does_not() -> None:
    _, _, theirs = next(golden.frames(18))
    theirs = {each.api_key: each for each in theirs.api_keys}
    for each in Machine().ask(ApiVersionsRequest(), 0).api_keys:
        assert each.min_version >= theirs[each.api_key].min_version
        assert each.max_version <= theirs[each.api_key].max_version


@pytest.mark.parametrize("version", [10, 11])
def test_X4_metadata_by_id_before_version_12_is_refused_and_creates_nothing(version: int) -> None:
    made = Machine()
    asked = (
        MetadataRequestTopic(name=None, topic_id=b"\x09" * 16),
        MetadataRequestTopic(name="new"),
    )
    response = made.ask(MetadataRequest(topics=asked), version)
    assert [(each.name, each.error_code) for each in response.topics] == [
        ("", ErrorCode.INVALID_REQUEST),
        ("new", ErrorCode.INVALID_REQUEST),
    ]
    assert not made.cores.image.topics
