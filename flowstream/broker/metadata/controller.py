"""The controller's records: features, registrations, producer id blocks, topics and partitions.

Pure functions from the image and what is wanted to records. Nothing here changes the image;
`Image.apply` does. What a request may ask for is decided in `topics`.
"""

from __future__ import annotations

from typing import NamedTuple

from flowstream.broker.config import BrokerConfig
from flowstream.broker.doors import Random
from flowstream.broker.metadata.image import Image, ResourceType
from flowstream.broker.metadata.records import (
    BrokerEndpoint,
    BrokerFeature,
    BrokerRegistrationChangeRecord,
    ConfigRecord,
    FeatureLevelRecord,
    MetadataRecord,
    PartitionChangeRecord,
    PartitionRecord,
    ProducerIdsRecord,
    RegisterBrokerRecord,
    TopicRecord,
)
from flowstream.wire.fields import ZERO_UUID

PRODUCER_ID_BLOCK = 1_000

FEATURES = {
    "group.version": (0, 1),
    "metadata.version": (7, 30),
    "transaction.version": (0, 2),
}
"""Features this broker can run at (lowest, highest); a new cluster is finalized at the highest."""

OFFSETS_TOPIC = "__consumer_offsets"
TRANSACTIONS_TOPIC = "__transaction_state"
INTERNAL_TOPICS = frozenset({OFFSETS_TOPIC, TRANSACTIONS_TOPIC})
METADATA_TOPIC = "__cluster_metadata"
"""The controller's own log: no topic may have its name, for it would share its directory."""


class Placement(NamedTuple):
    """On whom the partitions of this one-broker cluster go."""

    node_id: int
    directory: bytes


def placement(image: Image, config: BrokerConfig) -> Placement:
    """The registered broker and its first log directory."""
    for node_id, broker in image.visible_brokers():
        return Placement(node_id, (*broker.registration.log_dirs, ZERO_UUID)[0])
    return Placement(config.node_id, ZERO_UUID)


def new_uuid(rng: Random) -> bytes:
    """A random UUID as Kafka makes topic ids: its base64 form does not start with a dash."""
    while True:
        made = bytearray(rng.randbytes(16))
        made[6] = made[6] & 0x0F | 0x40
        made[8] = made[8] & 0x3F | 0x80
        if made[0] >> 2 != 0b111110:
            return bytes(made)


def bootstrap(image: Image) -> tuple[MetadataRecord, ...]:
    """What a new cluster starts with: its features. Nothing when there are some."""
    if image.features:
        return ()
    return tuple(
        FeatureLevelRecord(name=name, feature_level=highest)
        for name, (_, highest) in FEATURES.items()
    )


def register(
    config: BrokerConfig,
    *,
    broker_epoch: int,
    incarnation_id: bytes,
    directory_id: bytes,
    end_points: tuple[BrokerEndpoint, ...],
) -> tuple[MetadataRecord, ...]:
    """This process serves from now on. `broker_epoch` is the offset the record will have."""
    features = tuple(
        BrokerFeature(name=name, min_supported_version=low, max_supported_version=high)
        for name, (low, high) in FEATURES.items()
    )
    return (
        RegisterBrokerRecord(
            broker_id=config.node_id,
            incarnation_id=incarnation_id,
            broker_epoch=broker_epoch,
            end_points=end_points,
            features=features,
            rack=config.broker_rack or None,
            log_dirs=(directory_id,),
        ),
        BrokerRegistrationChangeRecord(
            broker_id=config.node_id, broker_epoch=broker_epoch, fenced=-1
        ),
    )


def take_the_lead(image: Image, node_id: int) -> tuple[MetadataRecord, ...]:
    """Partitions of this node that nobody leads: an Apache Kafka that stopped in this directory
    handed its leadership back, and with KIP-966 left the set in sync. The only replica leads again,
    in a new epoch.
    """
    return tuple(
        PartitionChangeRecord(
            partition_id=number,
            topic_id=topic.topic_id,
            isr=(node_id,),
            leader=node_id,
            eligible_leader_replicas=(),
            last_known_elr=(),
        )
        for topic in image.topics.values()
        for number, partition in topic.partitions.items()
        if partition.leader < 0 and partition.replicas == (node_id,)
    )


def producer_id_block(image: Image, config: BrokerConfig) -> tuple[range, ProducerIdsRecord]:
    """The next block of producer ids, usable once its record is durable (T12)."""
    first = image.next_producer_id
    node_id = placement(image, config).node_id
    record = ProducerIdsRecord(
        broker_id=node_id,
        broker_epoch=image.broker_epoch(node_id),
        next_producer_id=first + PRODUCER_ID_BLOCK,
    )
    return range(first, first + PRODUCER_ID_BLOCK), record


def topic_records(
    name: str, topic_id: bytes, configs: dict[str, str], partitions: int, where: Placement
) -> tuple[MetadataRecord, ...]:
    """The records that create a topic, in Kafka's order."""
    return (
        TopicRecord(name=name, topic_id=topic_id),
        *config_records(name, configs),
        *partition_records(topic_id, range(partitions), where),
    )


def config_records(name: str, configs: dict[str, str]) -> tuple[ConfigRecord, ...]:
    """The records that set configurations of a topic."""
    return tuple(
        ConfigRecord(resource_type=ResourceType.TOPIC, resource_name=name, name=key, value=value)
        for key, value in configs.items()
    )


def partition_records(
    topic_id: bytes, numbers: range, where: Placement
) -> tuple[PartitionRecord, ...]:
    """The records that create partitions with one replica."""
    node = (where.node_id,)
    return tuple(
        PartitionRecord(
            partition_id=number,
            topic_id=topic_id,
            replicas=node,
            isr=node,
            leader=where.node_id,
            leader_epoch=0,
            partition_epoch=0,
            directories=(where.directory,),
        )
        for number in numbers
    )


def internal_topic(
    image: Image, config: BrokerConfig, name: str, rng: Random
) -> tuple[MetadataRecord, ...]:
    """The records that create one of Kafka's internal topics, configured as Kafka does."""
    if name == OFFSETS_TOPIC:
        partitions = config.offsets_topic_num_partitions
        configs = {
            "compression.type": "producer",
            "cleanup.policy": "compact",
            "segment.bytes": str(config.offsets_topic_segment_bytes),
        }
    else:
        assert name == TRANSACTIONS_TOPIC, name
        partitions = config.transaction_state_log_num_partitions
        configs = {
            "compression.type": "uncompressed",
            "cleanup.policy": "compact",
            "min.insync.replicas": str(config.transaction_state_log_min_isr),
            "segment.bytes": str(config.transaction_state_log_segment_bytes),
            "unclean.leader.election.enable": "false",
        }
    return topic_records(name, new_uuid(rng), configs, partitions, placement(image, config))
