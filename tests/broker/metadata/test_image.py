"""The image is the fold of its records, live and on replay."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowstream.broker.config import BrokerConfig
from flowstream.broker.metadata import alterations, client_quotas, controller, topics
from flowstream.broker.metadata.image import Image, ResourceType
from flowstream.broker.metadata.record_frames import MetadataError
from flowstream.broker.metadata.records import (
    AbortTransactionRecord,
    BeginTransactionRecord,
    BrokerEndpoint,
    BrokerRegistrationChangeRecord,
    ClearElrRecord,
    ConfigRecord,
    EndTransactionRecord,
    FeatureLevelRecord,
    FenceBrokerRecord,
    MetadataRecord,
    NoOpRecord,
    PartitionChangeRecord,
    ProducerIdsRecord,
    RemoveTopicRecord,
    TopicRecord,
    UnfenceBrokerRecord,
    UnregisterBrokerRecord,
)
from flowstream.wire.messages.alter_client_quotas import EntityData, EntryData, OpData
from flowstream.wire.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsTopic,
)
from flowstream.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from flowstream.wire.messages.delete_topics import DeleteTopicsRequest

NAMES = ("a", "b", "a.b", "a_b", "", "__consumer_offsets")


def folded(records: list[MetadataRecord]) -> Image:
    """A new image of `records`, through their bytes."""
    image = Image()
    for record in records:
        decoded = image.decode(*image.encode(record))
        assert decoded is not None
        image.apply(decoded)
    return image


class Cluster:
    """An image with the log of everything decided about it."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.config = BrokerConfig()
        self.image = Image()
        self.log: list[MetadataRecord] = []

    def commit(self, records: tuple[MetadataRecord, ...]) -> None:
        self.log += records
        for record in records:
            self.image.apply(record)

    def create(self, name: str, partitions: int, retention: str) -> None:
        configs = (CreatableTopicConfig(name="retention.ms", value=retention),)
        topic = CreatableTopic(
            name=name, num_partitions=partitions, replication_factor=1, configs=configs
        )
        request = CreateTopicsRequest(topics=(topic,))
        self.commit(topics.create_topics(self.image, self.config, request, self.rng).records)

    def step(self, kind: str, name: str, number: int) -> None:
        image, config = self.image, self.config
        match kind:
            case "create":
                self.create(name, number, str(number))
            case "delete":
                request = DeleteTopicsRequest(topic_names=(name,))
                self.commit(topics.delete_topics(image, config, request).records)
            case "grow":
                asked = CreatePartitionsTopic(name=name, count=number, assignments=None)
                grow = CreatePartitionsRequest(topics=(asked,))
                self.commit(topics.create_partitions(image, config, grow).records)
            case "ids":
                self.commit((controller.producer_id_block(image, config)[1],))
            case "register":
                self.commit(
                    controller.register(
                        config,
                        broker_epoch=len(self.log),
                        incarnation_id=controller.new_uuid(self.rng),
                        directory_id=controller.new_uuid(self.rng),
                        end_points=(
                            BrokerEndpoint(
                                name="PLAINTEXT", host="127.0.0.1", port=number, security_protocol=0
                            ),
                        ),
                    )
                )
            case "unset":
                topic = ResourceType.TOPIC
                self.commit(
                    (ConfigRecord(resource_type=topic, resource_name=name, name="x", value=None),)
                )
            case "configure":
                kind = (ResourceType.TOPIC, ResourceType.BROKER, ResourceType.GROUP)[number % 3]
                key = ("retention.ms", "log.retention.ms", "consumer.session.timeout.ms")[
                    number % 3
                ]
                change = alterations.Change(key, number % 2, str(45_000 + number))
                asked_for = alterations.Wanted(kind, name, (change,))
                plan = alterations.alter_configs(image, config, [asked_for], validate_only=False)
                self.commit(plan.records)
            case "limit":
                part = EntityData(entity_type="user", entity_name=name or None)
                op = OpData(key="producer_byte_rate", value=float(number), remove=number < 1)
                entry = EntryData(entity=(part,), ops=(op,))
                self.commit(client_quotas.alter_quotas(image, [entry], validate_only=False).records)
            case "features":
                self.commit(controller.bootstrap(image))


STEPS = st.tuples(
    st.sampled_from(
        [
            *("create", "create", "delete", "grow", "ids", "register", "unset", "features"),
            *("configure", "limit"),
        ]
    ),
    st.sampled_from(NAMES),
    st.integers(-1, 4),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=25), st.integers(0, 1 << 32))
def test_replay_of_the_records_gives_the_live_image(
    steps: list[tuple[str, str, int]], seed: int
) -> None:
    cluster = Cluster(seed)
    for kind, name, number in steps:
        cluster.step(kind, name, max(number, 0) if kind == "register" else number)
        assert folded(cluster.log) == cluster.image
    for topic in cluster.image.topics.values():
        assert list(topic.partitions) == list(range(len(topic.partitions)))
        assert cluster.image.topics_by_id[topic.topic_id] is topic


def test_a_metadata_transaction_takes_effect_at_its_end() -> None:
    image = Image()
    image.apply(BeginTransactionRecord(name="x"))
    image.apply(TopicRecord(name="t", topic_id=bytes(15) + b"\x01"))
    assert not image.topics
    image.apply(EndTransactionRecord())
    assert list(image.topics) == ["t"]


def test_an_aborted_metadata_transaction_never_takes_effect() -> None:
    image = Image()
    for record in (BeginTransactionRecord(), NoOpRecord(), AbortTransactionRecord(reason="no")):
        image.apply(record)
    assert image == Image()


@pytest.mark.parametrize(
    "records",
    [
        (EndTransactionRecord(),),
        (AbortTransactionRecord(),),
        (BeginTransactionRecord(), BeginTransactionRecord()),
        (RemoveTopicRecord(topic_id=b"\x07" * 16),),
        (PartitionChangeRecord(topic_id=b"\x07" * 16),),
    ],
)
def test_records_that_do_not_fit_are_refused(records: tuple[MetadataRecord, ...]) -> None:
    image = Image()
    *before, last = records
    for record in before:
        image.apply(record)
    with pytest.raises(MetadataError):
        image.apply(last)


def test_a_new_leader_starts_an_epoch_and_every_change_a_partition_epoch() -> None:
    cluster = Cluster(1)
    cluster.create("t", 1, "1")
    topic = cluster.image.topics["t"]
    change = PartitionChangeRecord(partition_id=0, topic_id=topic.topic_id, isr=(3,))
    cluster.commit((change,))
    assert (topic.partitions[0].isr, topic.partitions[0].leader_epoch) == ((3,), 0)
    cluster.commit((PartitionChangeRecord(partition_id=0, topic_id=topic.topic_id, leader=3),))
    partition = topic.partitions[0]
    assert (partition.leader, partition.leader_epoch, partition.partition_epoch) == (3, 1, 2)
    cluster.commit((ClearElrRecord(topic_name=""),))
    assert folded(cluster.log) == cluster.image


def test_a_broker_is_visible_when_it_is_not_fenced() -> None:
    cluster = Cluster(1)
    cluster.step("register", "", 9092)
    assert [node for node, _ in cluster.image.visible_brokers()] == [0]
    cluster.commit((FenceBrokerRecord(id=0, epoch=0),))
    assert not list(cluster.image.visible_brokers())
    cluster.commit((UnfenceBrokerRecord(id=0, epoch=0),))
    cluster.commit((BrokerRegistrationChangeRecord(broker_id=0, in_controlled_shutdown=1),))
    assert cluster.image.brokers[0].in_controlled_shutdown
    cluster.commit((UnregisterBrokerRecord(broker_id=0, broker_epoch=0),))
    assert not cluster.image.brokers


def test_a_feature_at_level_0_is_off() -> None:
    image = Image()
    image.apply(FeatureLevelRecord(name="transaction.version", feature_level=2))
    image.apply(FeatureLevelRecord(name="transaction.version", feature_level=0))
    assert not image.features


def test_T12_producer_id_blocks_follow_each_other() -> None:
    cluster = Cluster(1)
    blocks = []
    for _ in range(3):
        block, record = controller.producer_id_block(cluster.image, cluster.config)
        blocks.append(block)
        cluster.commit((record,))
    assert blocks == [range(1000), range(1000, 2000), range(2000, 3000)]
    with pytest.raises(AssertionError):
        cluster.image.apply(ProducerIdsRecord(next_producer_id=1))
