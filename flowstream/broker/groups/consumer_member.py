"""One member of a consumer group (KIP-848): what it said, what it owns, which epoch it is in.

Values only: a change makes a new member. Who decides on changes is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

from flowstream.broker.groups.consumer_records import (
    ClassicMemberMetadata,
    ConsumerGroupCurrentMemberAssignmentValue,
    ConsumerGroupMemberMetadataValue,
    CurrentTopicPartitions,
    classic_metadata,
    classic_tag,
)

Assigned = Mapping[bytes, Mapping[int, int]]
"""Partitions by topic id, each with the epoch in which its owner got it (KIP-1251)."""
Target = Mapping[bytes, frozenset[int]]
"""Partitions by topic id."""

JOINING_EPOCH = 0
LEAVING_EPOCH = -1
STATIC_LEAVING_EPOCH = -2
"""A static member that will come back within its session (KIP-848)."""


class MemberState(IntEnum):
    """How far a member is on its way to the target assignment; Kafka's numbers.

    | state | what is awaited | then |
    |---|---|---|
    | Stable | a newer target assignment | any |
    | UnrevokedPartitions | the member no longer owns what it must give up | any |
    | UnreleasedPartitions | other members give up what this one gets | any |
    """

    STABLE = 0
    UNREVOKED_PARTITIONS = 1
    UNRELEASED_PARTITIONS = 2
    UNKNOWN = 127
    """From a record of a newer Kafka."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerMember:
    """A member. `regex` is empty when it subscribes to names only."""

    member_id: str
    epoch: int = JOINING_EPOCH
    previous_epoch: int = LEAVING_EPOCH
    state: MemberState = MemberState.STABLE
    instance_id: str | None = None
    rack_id: str | None = None
    client_id: str = ""
    client_host: str = ""
    rebalance_timeout_ms: int = -1
    names: frozenset[str] = frozenset()
    regex: str = ""
    assignor: str | None = None
    classic: ClassicMemberMetadata | None = None
    """What it said when it joined, if it speaks the classic protocol."""
    assigned: Assigned = field(default_factory=dict)
    pending_revocation: Assigned = field(default_factory=dict)

    def owned(self) -> list[tuple[bytes, int, int]]:
        """Topic id, partition and epoch of all it has, what it must give up included."""
        return [
            (topic_id, partition, epoch)
            for part in (self.assigned, self.pending_revocation)
            for topic_id, partitions in part.items()
            for partition, epoch in partitions.items()
        ]

    def is_reconciled_to(self, epoch: int) -> bool:
        """Whether it has what the target assignment of `epoch` gives it."""
        return self.state is MemberState.STABLE and self.epoch == epoch

    def with_metadata(self, value: ConsumerGroupMemberMetadataValue) -> ConsumerMember:
        """As its metadata record says."""
        return replace(
            self,
            instance_id=value.instance_id,
            rack_id=value.rack_id,
            client_id=value.client_id,
            client_host=value.client_host,
            rebalance_timeout_ms=value.rebalance_timeout_ms,
            names=frozenset(value.subscribed_topic_names),
            regex=value.subscribed_topic_regex or "",
            assignor=value.server_assignor,
            classic=classic_metadata(value),
        )

    def with_assignment(self, value: ConsumerGroupCurrentMemberAssignmentValue) -> ConsumerMember:
        """As its current assignment record says."""
        known = value.state in MemberState._value2member_map_
        return replace(
            self,
            epoch=value.member_epoch,
            previous_epoch=value.previous_member_epoch,
            state=MemberState(value.state) if known else MemberState.UNKNOWN,
            assigned=_epochs(value.assigned_partitions, value.member_epoch),
            pending_revocation=_epochs(value.partitions_pending_revocation, value.member_epoch),
        )

    def metadata_value(self) -> ConsumerGroupMemberMetadataValue:
        """What its metadata record keeps."""
        return ConsumerGroupMemberMetadataValue(  # type: ignore[call-arg]
            instance_id=self.instance_id,
            rack_id=self.rack_id,
            client_id=self.client_id,
            client_host=self.client_host,
            subscribed_topic_names=tuple(sorted(self.names)),
            subscribed_topic_regex=self.regex,
            rebalance_timeout_ms=self.rebalance_timeout_ms,
            server_assignor=self.assignor,
            unknown_tags=classic_tag(self.classic),
        )

    def assignment_value(self) -> ConsumerGroupCurrentMemberAssignmentValue:
        """What its current assignment record keeps."""
        return ConsumerGroupCurrentMemberAssignmentValue(
            member_epoch=self.epoch,
            previous_member_epoch=self.previous_epoch,
            state=self.state,
            assigned_partitions=_listed(self.assigned),
            partitions_pending_revocation=_listed(self.pending_revocation),
        )


def _epochs(listed: Sequence[CurrentTopicPartitions], member_epoch: int) -> Assigned:
    """Records before 4.2 have no assignment epochs: the member's stands for them."""
    return {
        each.topic_id: dict(
            zip(
                each.partitions,
                each.assignment_epochs or (member_epoch,) * len(each.partitions),
                strict=True,
            )
        )
        for each in listed
    }


def _listed(assigned: Assigned) -> tuple[CurrentTopicPartitions, ...]:
    return tuple(
        CurrentTopicPartitions(
            topic_id=topic_id,
            partitions=tuple(sorted(partitions)),
            assignment_epochs=tuple(partitions[each] for each in sorted(partitions)),
        )
        for topic_id, partitions in assigned.items()
    )
