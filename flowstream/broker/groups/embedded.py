"""The consumer embedded protocol: what classic consumers say inside JoinGroup and SyncGroup, read
and written where classic members are in consumer groups."""

from __future__ import annotations

from collections.abc import Mapping, Set

from flowstream.broker.groups.consumer_member import Target
from flowstream.broker.groups.consumer_topics import KnownTopics
from flowstream.errors import WireError
from flowstream.wire.messages.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
    TopicPartition,
)
from flowstream.wire.schema import decoder, encode

NEWEST = 3


def version_of(data: bytes) -> int:
    """The version in front of an embedded message; newer ones only append fields. Raises
    WireError."""
    version = int.from_bytes(data[:2], signed=True)
    if len(data) < 2 or version < 0:
        raise WireError("no version in front of an embedded message")
    return min(version, NEWEST)


def read_subscription(data: bytes) -> ConsumerProtocolSubscription:
    """What a member subscribes to and owns. Raises WireError."""
    return decoder(ConsumerProtocolSubscription, version_of(data))(memoryview(data), 2)[0]


def read_assignment(data: bytes, known: KnownTopics) -> Target:
    """What a member was given, as far as the topics exist. Raises WireError."""
    if not data:
        return {}
    said = decoder(ConsumerProtocolAssignment, version_of(data))(memoryview(data), 2)[0]
    return by_id(said.assigned_partitions, known)


def write_assignment(
    partitions: Mapping[bytes, Set[int]], known: KnownTopics, version: int
) -> bytes:
    """What a member is given, in the version that it subscribed in."""
    listed = tuple(
        TopicPartition(
            topic=known.topics_by_id[topic_id].name,
            partitions=tuple(sorted(partitions[topic_id])),
        )
        for topic_id in partitions
        if topic_id in known.topics_by_id
    )
    body = ConsumerProtocolAssignment(assigned_partitions=listed)
    return version.to_bytes(2) + encode(body, version)


def by_id(listed: tuple[TopicPartition, ...], known: KnownTopics) -> Target:
    """Partitions by topic id, as far as the topics exist."""
    found: dict[bytes, frozenset[int]] = {}
    for each in listed:
        topic = known.topics.get(each.topic)
        if topic is not None and each.partitions:
            numbers = frozenset(each.partitions)
            found[topic.topic_id] = found.get(topic.topic_id, frozenset()) | numbers
    return found
