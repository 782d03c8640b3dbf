"""One consumer group (KIP-848) in memory: what its records say, and what follows from that.

`apply` is the only mutator of durable state, live and on replay. Soft and gone after a restart:
`timers` and what has been seen of the cluster's topics. Who decides is in `consumer_heartbeat`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from flowstream.broker.groups import consumer_records as schema
from flowstream.broker.groups.consumer_member import (
    LEAVING_EPOCH,
    ConsumerMember,
    Target,
)
from flowstream.broker.groups.records import ConsumerGroupRecord
from flowstream.broker.groups.room import weigh_consumer, weigh_pattern
from flowstream.broker.groups.timers import Timers

FIRST_EPOCH = 1
"""Of a group without members that never had any."""


class ConsumerState(Enum):
    """Kafka's names of the states of a consumer group."""

    EMPTY = "Empty"
    """No members; perhaps offsets."""
    ASSIGNING = "Assigning"
    """The target assignment is older than the group."""
    RECONCILING = "Reconciling"
    """Not every member has what it shall have."""
    STABLE = "Stable"
    """Every member has it."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """The topics that a regular expression matched, and when that was."""

    topics: frozenset[str]
    version: int
    timestamp: int


def names_of(member: ConsumerMember, regexes: Mapping[str, Resolved]) -> frozenset[str]:
    """The names of all topics that a member subscribes to, as far as they are resolved."""
    resolved = regexes.get(member.regex)
    return member.names if resolved is None else member.names | resolved.topics


class ConsumerGroup:
    """A group of the consumer protocol. `members` is in the order of joining."""

    def __init__(self, group_id: str) -> None:
        self.group_id = group_id
        self.epoch = FIRST_EPOCH
        self.metadata_hash = 0
        self.assignment_epoch = FIRST_EPOCH
        self.assignment_timestamp = 0
        self.members: dict[str, ConsumerMember] = {}
        self.targets: dict[str, Target] = {}
        self.regexes: dict[str, Resolved] = {}
        self.static_members: dict[str, str] = {}
        """Group instance id -> member id."""
        self.owners: dict[tuple[bytes, int], str] = {}
        """Who has a partition, be it to give it up (G4)."""
        self.weight = 0
        """Of what members said, and of `regexes` (X3)."""
        self._subscribed: frozenset[str] | None = None
        """The topics of all members; None when that is not known since the last record."""
        self.timers: Timers[tuple[str, str]] = Timers()
        self.topics_seen = -1
        """The version of the cluster's topics that `metadata_hash` is of; -1 when not known."""

    @property
    def state(self) -> ConsumerState:
        """Where the group is on its way to its target assignment."""
        if not self.members:
            return ConsumerState.EMPTY
        if self.epoch > self.assignment_epoch:
            return ConsumerState.ASSIGNING
        target = self.assignment_epoch
        done = all(each.is_reconciled_to(target) for each in self.members.values())
        return ConsumerState.STABLE if done else ConsumerState.RECONCILING

    @property
    def is_empty(self) -> bool:
        """Whether it has no members."""
        return not self.members

    def is_subscribed(self, topic: str) -> bool:
        """Whether a member reads `topic`: asked of every offset of the group, one by one (X4)."""
        if self._subscribed is None:
            members = self.members.values()
            used = dict.fromkeys(each.regex for each in members)
            matched = [self.regexes[each].topics for each in used if each in self.regexes]
            self._subscribed = frozenset().union(*(each.names for each in members), *matched)
        return topic in self._subscribed

    def is_owned(self, topic_id: bytes, partition: int) -> bool:
        """Whether some member has this partition."""
        return (topic_id, partition) in self.owners

    def durable(self) -> object:
        """What its records say, as one comparable value."""
        return (
            (self.epoch, self.metadata_hash, self.assignment_epoch, self.assignment_timestamp),
            dict(self.members),
            dict(self.targets),
            dict(self.regexes),
        )

    def apply(self, record: ConsumerGroupRecord) -> None:
        """Take a record of this group; the end of the group itself is its keeper's business."""
        self._subscribed = None
        value = record.value
        match record.key:
            case schema.ConsumerGroupMetadataKey():
                assert isinstance(value, schema.ConsumerGroupMetadataValue)
                self.epoch, self.metadata_hash = value.epoch, value.metadata_hash
            case schema.ConsumerGroupMemberMetadataKey(member_id=member_id):
                if isinstance(value, schema.ConsumerGroupMemberMetadataValue):
                    self._put(self._member(member_id).with_metadata(value))
                else:
                    self._remove(member_id)
            case schema.ConsumerGroupTargetAssignmentMetadataKey():
                self._apply_target_epoch(value)
            case schema.ConsumerGroupTargetAssignmentMemberKey(member_id=member_id):
                if isinstance(value, schema.ConsumerGroupTargetAssignmentMemberValue):
                    listed = value.topic_partitions
                    target = {each.topic_id: frozenset(each.partitions) for each in listed}
                    self.targets[member_id] = target
                else:
                    self.targets.pop(member_id, None)
            case schema.ConsumerGroupCurrentMemberAssignmentKey(member_id=member_id):
                self._apply_assignment(member_id, value)
            case schema.ConsumerGroupRegularExpressionKey(regular_expression=regex):
                before = self.regexes.pop(regex, None)
                self.weight -= weigh_pattern(regex, before.topics) if before else 0
                if isinstance(value, schema.ConsumerGroupRegularExpressionValue):
                    topics = frozenset(value.topics)
                    self.regexes[regex] = Resolved(topics, value.version, value.timestamp)
                    self.weight += weigh_pattern(regex, topics)

    def _apply_target_epoch(self, value: object | None) -> None:
        if isinstance(value, schema.ConsumerGroupTargetAssignmentMetadataValue):
            self.assignment_epoch = value.assignment_epoch
            self.assignment_timestamp = value.assignment_timestamp
        else:
            self.assignment_epoch, self.assignment_timestamp = FIRST_EPOCH, 0

    def _apply_assignment(self, member_id: str, value: object | None) -> None:
        if isinstance(value, schema.ConsumerGroupCurrentMemberAssignmentValue):
            self._put(self._member(member_id).with_assignment(value))
        elif member_id in self.members:
            left = schema.ConsumerGroupCurrentMemberAssignmentValue(
                member_epoch=LEAVING_EPOCH, previous_member_epoch=LEAVING_EPOCH
            )
            self._put(self._member(member_id).with_assignment(left))

    def _member(self, member_id: str) -> ConsumerMember:
        """The member, or the beginning of one: its records may come in any order after a
        compaction."""
        return self.members.get(member_id) or ConsumerMember(member_id=member_id)

    def _put(self, member: ConsumerMember) -> None:
        self._release(member.member_id)
        self.weight += weigh_consumer(member) - weigh_consumer(self.members.get(member.member_id))
        self.members[member.member_id] = member
        for topic_id, partition, _ in member.owned():
            self.owners[topic_id, partition] = member.member_id
        if member.instance_id is not None:
            self.static_members[member.instance_id] = member.member_id

    def _remove(self, member_id: str) -> None:
        self._release(member_id)
        self.weight -= weigh_consumer(self.members.pop(member_id, None))
        assert self.weight >= 0, f"{self.group_id} weighs {self.weight}"

    def _release(self, member_id: str) -> None:
        """What the member was known by is nobody's: it may come back with another instance id."""
        member = self.members.get(member_id)
        if member is None:
            return
        for topic_id, partition, _ in member.owned():
            if self.owners.get((topic_id, partition)) == member_id:
                del self.owners[topic_id, partition]
        if member.instance_id is not None and (
            self.static_members.get(member.instance_id) == member_id
        ):
            del self.static_members[member.instance_id]
