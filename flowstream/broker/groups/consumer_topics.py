"""What a consumer group knows of the cluster's topics: a view of the metadata image, and a hash of
what matters to a group.

Groups must not know the image itself; it fits the protocol here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sized
from typing import Protocol

GROUP_CONFIG = 32
"""Kafka's number of the resource type GROUP."""


class KnownTopic(Protocol):
    """One topic."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def topic_id(self) -> bytes:
        """Its id; a topic that was deleted and created again has another."""
        ...

    @property
    def partitions(self) -> Sized:
        """Its partitions, numbered from 0."""
        ...


class KnownTopics(Protocol):
    """All topics, and the settings of groups."""

    @property
    def topics(self) -> Mapping[str, KnownTopic]:
        """By name."""
        ...

    @property
    def topics_by_id(self) -> Mapping[bytes, KnownTopic]:
        """By id."""
        ...

    @property
    def configs(self) -> Mapping[tuple[int, str], Mapping[str, str]]:
        """Settings by resource type and name."""
        ...


class NoTopics:
    """A cluster without topics."""

    topics: Mapping[str, KnownTopic] = {}
    topics_by_id: Mapping[bytes, KnownTopic] = {}
    configs: Mapping[tuple[int, str], Mapping[str, str]] = {}


def metadata_hash(names: Iterable[str], known: KnownTopics) -> int:
    """A number that changes with the existence, identity and size of the topics `names`; 0 when
    there are none (KIP-1101).

    It is compared with one that this broker computed only, so it need not be Kafka's function.
    """
    digest = hashlib.blake2b(digest_size=8)
    found = False
    for name in sorted(names):
        topic = known.topics.get(name)
        if topic is not None:
            found = True
            digest.update(topic.topic_id)
            digest.update(len(topic.partitions).to_bytes(4))
    return int.from_bytes(digest.digest(), signed=True) if found else 0
