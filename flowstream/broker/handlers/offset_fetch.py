"""OffsetFetch (9): a group's positions. An unknown group or partition has offset -1 and no error.

From 2 on null topics mean all; 7 can demand that no transaction is undecided (KIP-447); from 8 on
many groups at once (KIP-709); 9 names a member, which only consumer groups check (KIP-848); 10
names topics by id.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Mapping
from typing import NamedTuple, TypeVar

from flowstream.broker.coordination import replies_when_durable
from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchResponse,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
)
from flowstream.wire.schema import ZERO_UUID

K = TypeVar("K", bound=Hashable)

MANY_GROUPS = 8
TOPIC_IDS = 10
SLICE = 2048
"""Positions that are looked up in one turn, some 3 us each (X4)."""
GROUP_WEIGHT = 4
"""What a group costs beside its positions."""


class Found(NamedTuple):
    """A partition's committed position, or why it cannot be told."""

    partition: int
    offset: int = -1
    leader_epoch: int = -1
    metadata: str = ""
    error: ErrorCode = ErrorCode.NONE


def handle(request: Request[OffsetFetchRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer what is durable. Groups, topics and partitions are answered once, however often they
    are named: repetitions would only multiply the answer (X3).
    """
    body = request.body
    stable = body.require_stable
    if request.to.version >= MANY_GROUPS:
        return _Groups(request, cores).go_on(now)
    if body.topics is None:
        asked = _all(cores, body.group_id)
    else:
        asked = _together((each.name, each.partition_indexes) for each in body.topics)
    topics = tuple(
        OffsetFetchResponseTopic(
            name=topic,
            partitions=tuple(
                OffsetFetchResponsePartition(
                    partition_index=found.partition,
                    committed_offset=found.offset,
                    committed_leader_epoch=found.leader_epoch,
                    metadata=found.metadata,
                    error_code=found.error,
                )
                for found in _find(cores, body.group_id, topic, partitions, stable)
            ),
        )
        for topic, partitions in asked.items()
    )
    return replies_when_durable([(request.to, OffsetFetchResponse(topics=topics))])


class _Groups:
    """A request about many groups, under way: some in each turn. The positions of one group are
    told as they are together, for a transaction moves them together (T9).
    """

    def __init__(self, request: Request[OffsetFetchRequest], cores: Cores) -> None:
        once = {each.group_id: each for each in reversed(request.body.groups)}
        self._request = request
        self._cores = cores
        self._left = deque(reversed(once.values()))
        self._found: list[OffsetFetchResponseGroup] = []

    def go_on(self, now: Instant) -> list[Effect]:
        """Look at the next groups; answer after the last."""
        to, stable = self._request.to, self._request.body.require_stable
        by_id = to.version >= TOPIC_IDS
        room = SLICE
        while self._left and room > 0:
            found = _group(self._cores, self._left.popleft(), stable, by_id)
            self._found.append(found)
            room -= GROUP_WEIGHT + sum(len(topic.partitions) for topic in found.topics)
        if not self._left:
            return replies_when_durable([(to, OffsetFetchResponse(groups=tuple(self._found)))])
        if not self._cores.is_ending:
            self._cores.waiting.next_turn(to.connection, self.go_on, now)
        return []


def _group(
    cores: Cores, asked: OffsetFetchRequestGroup, stable: bool, by_id: bool
) -> OffsetFetchResponseGroup:
    group = asked.group_id
    error = cores.groups.check_fetch(group, asked.member_id, asked.member_epoch)
    if error:
        return OffsetFetchResponseGroup(group_id=group, error_code=error)
    topics = []
    if asked.topics is None:
        for name, partitions in _all(cores, group).items():
            topic_id = _id_of(cores, name)
            if not by_id or topic_id != ZERO_UUID:
                found = _find(cores, group, name, partitions, stable)
                topics.append(_answer(name, topic_id, found))
    else:
        named = (((each.name, each.topic_id), each.partition_indexes) for each in asked.topics)
        for (name, topic_id), partitions in _together(named).items():
            topic = cores.image.topics_by_id.get(topic_id) if by_id else None
            if by_id and topic is None:
                unknown = (Found(p, error=ErrorCode.UNKNOWN_TOPIC_ID) for p in partitions)
                topics.append(_answer("", topic_id, unknown))
                continue
            name = name if topic is None else topic.name
            found = _find(cores, group, name, partitions, stable)
            topics.append(_answer(name, topic_id, found))
    return OffsetFetchResponseGroup(group_id=group, topics=tuple(topics))


def _together(asked: Iterable[tuple[K, Iterable[int]]]) -> dict[K, dict[int, None]]:
    """The partitions of each topic, wherever a request names them."""
    found: dict[K, dict[int, None]] = {}
    for topic, partitions in asked:
        found.setdefault(topic, {}).update(dict.fromkeys(partitions))
    return found


def _answer(name: str, topic_id: bytes, partitions: Iterable[Found]) -> OffsetFetchResponseTopics:
    return OffsetFetchResponseTopics(
        name=name,
        topic_id=topic_id,
        partitions=tuple(
            OffsetFetchResponsePartitions(
                partition_index=found.partition,
                committed_offset=found.offset,
                committed_leader_epoch=found.leader_epoch,
                metadata=found.metadata,
                error_code=found.error,
            )
            for found in partitions
        ),
    )


def _all(cores: Cores, group: str) -> dict[str, dict[int, None]]:
    """Every partition that the group has an offset in, by topic."""
    return _together((topic, (number,)) for topic, number in cores.groups.offsets.of(group))


def _find(
    cores: Cores, group: str, topic: str, partitions: Mapping[int, None], stable: bool
) -> list[Found]:
    offsets = cores.groups.offsets
    topic_id = _id_of(cores, topic)
    found = []
    for partition in partitions:
        name = TopicPartition(topic, partition)
        value = offsets.find(group, name)
        if stable and offsets.is_unstable(group, name):
            found.append(Found(partition, error=ErrorCode.UNSTABLE_OFFSET_COMMIT))
        elif value is None or _is_of_another(value.topic_id, topic_id):
            found.append(Found(partition))
        else:
            found.append(Found(partition, value.offset, value.leader_epoch, value.metadata))
    return found


def _is_of_another(committed: bytes, present: bytes) -> bool:
    """The offset was committed for a topic of the same name that has been deleted since."""
    return ZERO_UUID not in (committed, present) and committed != present


def _id_of(cores: Cores, topic: str) -> bytes:
    known = cores.image.topics.get(topic)
    return ZERO_UUID if known is None else known.topic_id
