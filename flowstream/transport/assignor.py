"""A pure assignment function as an aiokafka assignor: one object per consumer, no shared state.

(aiokafka's own sticky assignor keeps state in its class: aio-libs/aiokafka #1175, #1176.) Knows
no policy; processing decides who gets what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import (
    ConsumerProtocolMemberAssignment,
    ConsumerProtocolMemberMetadata,
)

from flowstream.transport.types import TopicPartition


class Member(NamedTuple):
    """A group member as the leader sees it."""

    topics: frozenset[str]
    user_data: bytes


SubscriptionData = Callable[[], bytes]
"""What this member tells the leader each time it joins."""

Assign = Callable[
    [Mapping[str, Member], Mapping[str, int]], Mapping[str, Sequence[tuple[str, int]]]
]
"""Members by id and partition counts by topic -> partitions for each member."""


class GroupAssignor(AbstractPartitionAssignor):
    """What aiokafka asks during a rebalance, answered by two functions."""

    name = ""

    def __init__(self, name: str, subscription_data: SubscriptionData, assign: Assign) -> None:
        self.name = name
        self._subscription_data = subscription_data
        self._assign = assign
        self._assigned: Callable[[frozenset[TopicPartition]], None] = _ignore

    def notify(self, assigned: Callable[[frozenset[TopicPartition]], None]) -> None:
        """Call `assigned` in the very moment an assignment takes effect, before anything is
        fetched.
        """
        self._assigned = assigned

    def metadata(  # type: ignore[override]
        self, topics: Iterable[str]
    ) -> ConsumerProtocolMemberMetadata:
        """The member's subscription."""
        return ConsumerProtocolMemberMetadata(0, sorted(topics), self._subscription_data())

    def assign(  # type: ignore[override]
        self, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Decide for the group, as its leader. Topics that do not exist are left out."""
        known = {
            member: Member(frozenset(found.subscription), bytes(found.user_data or b""))
            for member, found in members.items()
        }
        counts: dict[str, int] = {}
        for topic in sorted({topic for member in known.values() for topic in member.topics}):
            partitions = cluster.partitions_for_topic(topic)
            if partitions:
                counts[topic] = len(partitions)
        decided = self._assign(known, counts)
        return {member: _encode(decided.get(member, ())) for member in known}

    def on_assignment(  # type: ignore[override]
        self, assignment: ConsumerProtocolMemberAssignment
    ) -> None:
        """Pass this member's part on."""
        self._assigned(frozenset(TopicPartition(*tp) for tp in assignment.partitions()))


def group_assignor(name: str, subscription_data: SubscriptionData, assign: Assign) -> GroupAssignor:
    """An assignor for one GroupConsumer. All members of a group must use the same name."""
    return GroupAssignor(name, subscription_data, assign)


def _encode(partitions: Sequence[tuple[str, int]]) -> ConsumerProtocolMemberAssignment:
    by_topic: dict[str, list[int]] = {}
    for topic, partition in sorted(partitions):
        by_topic.setdefault(topic, []).append(partition)
    return ConsumerProtocolMemberAssignment(0, list(by_topic.items()), b"")


def _ignore(assigned: frozenset[TopicPartition]) -> None:
    return None
