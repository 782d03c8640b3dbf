"""What a consumer group knows of the cluster's topics: a view of the metadata image, and a hash of
what matters to a group.

Groups must not know the image itself; it fits the protocol here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from functools import lru_cache
from typing import Protocol

from flowstream.wire.xxh3 import xxh3_64

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


def metadata_hash(names: Iterable[str], known: KnownTopics, rack: str = "") -> int:
    """Kafka's number for the existence, identity, size and racks of the topics `names`; 0 when
    there are none (KIP-1101). One node has every partition, so they share its `rack`."""
    hashes = [
        _topic_hash(topic.topic_id, topic.name, len(topic.partitions), rack)
        for topic in (known.topics[name] for name in sorted(known.topics.keys() & names))
    ]
    if not hashes:
        return 0
    number = xxh3_64(b"".join(each.to_bytes(8, "little") for each in hashes))
    return number - (1 << 64) if number >> 63 else number


@lru_cache(maxsize=4096)
def _topic_hash(topic_id: bytes, name: str, partitions: int, rack: str) -> int:
    of_rack = _number(len(rack)) + _text(rack) if rack else b""
    parts = [
        b"\0",
        topic_id[7::-1] + topic_id[:7:-1],
        _text(name),
        _number(partitions),
        *(_number(each) + of_rack for each in range(partitions)),
    ]
    return xxh3_64(b"".join(parts))


def _text(text: str) -> bytes:
    data = text.encode("utf-16-le")
    return data + _number(len(data) // 2)


def _number(number: int) -> bytes:
    return number.to_bytes(4, "little")
