"""A classic group as a consumer group, and the other way round: the same members, subscriptions and
assignments in the other protocol's terms. Pure; when it is done is in `migration`."""

from __future__ import annotations

from typing import NamedTuple

from flowstream.broker.groups import consumer_changes as changes
from flowstream.broker.groups import embedded
from flowstream.broker.groups.consumer_group import FIRST_EPOCH, ConsumerGroup
from flowstream.broker.groups.consumer_member import ConsumerMember
from flowstream.broker.groups.consumer_records import ClassicMemberMetadata, ClassicProtocol
from flowstream.broker.groups.consumer_topics import KnownTopics, metadata_hash
from flowstream.broker.groups.group import CONSUMER_PROTOCOL, ClassicGroup, Member
from flowstream.broker.groups.records import ConsumerGroupRecord
from flowstream.broker.groups.states import State
from flowstream.broker.types import Instant


class Upgraded(NamedTuple):
    """A consumer group made of a classic one, and the records that say so."""

    group: ConsumerGroup
    records: tuple[ConsumerGroupRecord, ...]


def to_consumer(old: ClassicGroup, known: KnownTopics, rack: str = "") -> Upgraded:
    """All members stay, stable in an epoch that is their generation, with what they have of the
    topics as they are now. Raises WireError when what they said is no consumer protocol."""
    epoch = max(old.generation, FIRST_EPOCH)
    taken: set[tuple[bytes, int]] = set()
    members = [_consumer_member(old, each, epoch, known, taken) for each in old.members.values()]
    name = old.group_id
    read = {topic for each in members for topic in each.names}
    there = {
        (topic.topic_id, number)
        for topic in (known.topics[each] for each in known.topics.keys() & read)
        for number in range(len(topic.partitions))
    }
    # Where that is not what they have they share anew, as if the topics had just changed (G7).
    topics = metadata_hash(read, known, rack) if taken == there else 0
    targets = {m.member_id: {t: frozenset(p) for t, p in m.assigned.items()} for m in members}
    records = (
        *(changes.metadata(name, each) for each in members),
        changes.epoch(name, epoch, topics),
        *(changes.target(name, member_id, target) for member_id, target in targets.items()),
        changes.target_epoch(name, epoch, 0),
        *(changes.assignment(name, each) for each in members),
    )
    group = ConsumerGroup(name)
    for record in records:
        group.apply(record)
    return Upgraded(group, records)


def to_classic(
    group: ConsumerGroup, remaining: list[ConsumerMember], known: KnownTopics, now: Instant
) -> ClassicGroup:
    """The members that speak the classic protocol, stable in a generation that is the group's
    epoch; the first one leads."""
    made = ClassicGroup(group.group_id, now)
    made.generation = group.epoch
    made.protocol_type = CONSUMER_PROTOCOL
    for each in remaining:
        made.add(_classic_member(group, each, known))
    made.protocol = made.choose_protocol()
    made.subscribed = made.subscriptions()
    made.state = State.STABLE
    return made


def _consumer_member(
    old: ClassicGroup,
    member: Member,
    epoch: int,
    known: KnownTopics,
    taken: set[tuple[bytes, int]],
) -> ConsumerMember:
    # Before the first generation there is no protocol yet: all of a member's say the same.
    said = embedded.read_subscription(member.metadata(old.protocol) or member.protocols[0][1])
    # It is answered in the version of the first, whichever the group has.
    embedded.version_of(member.protocols[0][1])
    given = embedded.read_assignment(member.assignment, known)
    assigned: dict[bytes, dict[int, int]] = {}
    for topic_id, partitions in given.items():
        # A leader may have given one partition to two; here it can have one owner only (G4).
        mine = {each: epoch for each in partitions if (topic_id, each) not in taken}
        taken.update((topic_id, each) for each in mine)
        if mine:
            assigned[topic_id] = mine
    return ConsumerMember(
        member_id=member.member_id,
        epoch=epoch,
        previous_epoch=epoch,
        instance_id=member.instance_id,
        rack_id=said.rack_id,
        client_id=member.client_id,
        client_host=member.client_host,
        rebalance_timeout_ms=member.rebalance_timeout_ms,
        names=frozenset(said.topics),
        classic=ClassicMemberMetadata(
            session_timeout_ms=member.session_timeout_ms,
            supported_protocols=tuple(
                ClassicProtocol(name=name, metadata=data) for name, data in member.protocols
            ),
        ),
        assigned=assigned,
    )


def _classic_member(group: ConsumerGroup, member: ConsumerMember, known: KnownTopics) -> Member:
    assert member.classic is not None, "only classic members are left"
    protocols = tuple((p.name, bytes(p.metadata)) for p in member.classic.supported_protocols)
    target = group.targets.get(member.member_id, {})
    version = embedded.version_of(protocols[0][1])
    return Member(
        member_id=member.member_id,
        instance_id=member.instance_id,
        client_id=member.client_id,
        client_host=member.client_host,
        rebalance_timeout_ms=member.rebalance_timeout_ms,
        session_timeout_ms=member.classic.session_timeout_ms,
        protocols=protocols,
        assignment=embedded.write_assignment(target, known, version),
    )
