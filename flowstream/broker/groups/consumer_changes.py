"""The records by which a consumer group changes. Each function makes records, nothing is changed
here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flowstream.broker.groups import consumer_records as schema
from flowstream.broker.groups.consumer_group import ConsumerGroup, Resolved
from flowstream.broker.groups.consumer_member import ConsumerMember, Target
from flowstream.broker.groups.records import ConsumerGroupRecord

_TYPES = {key: number for number, (key, _) in schema.SCHEMAS.items()}


def record(key: object, value: object | None = None) -> ConsumerGroupRecord:
    """A record of a consumer group; without a value a tombstone."""
    return ConsumerGroupRecord(key, value, 0, _TYPES[type(key)])


def epoch(group_id: str, number: int, metadata_hash: int) -> ConsumerGroupRecord:
    """The group's epoch."""
    value = schema.ConsumerGroupMetadataValue(epoch=number, metadata_hash=metadata_hash)
    return record(schema.ConsumerGroupMetadataKey(group_id=group_id), value)


def metadata(group_id: str, member: ConsumerMember) -> ConsumerGroupRecord:
    """What a member said."""
    key = schema.ConsumerGroupMemberMetadataKey(group_id=group_id, member_id=member.member_id)
    return record(key, member.metadata_value())


def assignment(group_id: str, member: ConsumerMember) -> ConsumerGroupRecord:
    """What a member has."""
    key = schema.ConsumerGroupCurrentMemberAssignmentKey(
        group_id=group_id, member_id=member.member_id
    )
    return record(key, member.assignment_value())


def target(group_id: str, member_id: str, partitions: Target) -> ConsumerGroupRecord:
    """What a member shall have."""
    key = schema.ConsumerGroupTargetAssignmentMemberKey(group_id=group_id, member_id=member_id)
    listed = tuple(
        schema.TargetTopicPartition(topic_id=topic_id, partitions=tuple(sorted(numbers)))
        for topic_id, numbers in partitions.items()
    )
    return record(key, schema.ConsumerGroupTargetAssignmentMemberValue(topic_partitions=listed))


def target_epoch(group_id: str, number: int, timestamp: int) -> ConsumerGroupRecord:
    """The epoch of the target assignment; it follows the targets."""
    value = schema.ConsumerGroupTargetAssignmentMetadataValue(
        assignment_epoch=number, assignment_timestamp=timestamp
    )
    return record(schema.ConsumerGroupTargetAssignmentMetadataKey(group_id=group_id), value)


def regex(group_id: str, pattern: str, resolved: Resolved | None) -> ConsumerGroupRecord:
    """What a regular expression matched; None when nobody uses it any more."""
    key = schema.ConsumerGroupRegularExpressionKey(group_id=group_id, regular_expression=pattern)
    if resolved is None:
        return record(key)
    value = schema.ConsumerGroupRegularExpressionValue(
        topics=tuple(sorted(resolved.topics)),
        version=resolved.version,
        timestamp=resolved.timestamp,
    )
    return record(key, value)


def departure(group_id: str, member_id: str) -> Iterator[ConsumerGroupRecord]:
    """A member is gone: tombstones, in Kafka's order."""
    ids = {"group_id": group_id, "member_id": member_id}
    yield record(schema.ConsumerGroupCurrentMemberAssignmentKey(**ids))
    yield record(schema.ConsumerGroupTargetAssignmentMemberKey(**ids))
    yield record(schema.ConsumerGroupMemberMetadataKey(**ids))


def burial(group: ConsumerGroup) -> Iterator[ConsumerGroupRecord]:
    """The group is gone: tombstones for all that the log has of it, in Kafka's order."""
    group_id = group.group_id
    everyone: Iterable[str] = dict.fromkeys((*group.members, *group.targets))
    keys = [{"group_id": group_id, "member_id": each} for each in everyone]
    for ids in keys:
        yield record(schema.ConsumerGroupCurrentMemberAssignmentKey(**ids))
    for ids in keys:
        yield record(schema.ConsumerGroupTargetAssignmentMemberKey(**ids))
    yield record(schema.ConsumerGroupTargetAssignmentMetadataKey(group_id=group_id))
    for ids in keys:
        yield record(schema.ConsumerGroupMemberMetadataKey(**ids))
    for pattern in group.regexes:
        yield regex(group_id, pattern, None)
    yield record(schema.ConsumerGroupPartitionMetadataKey(group_id=group_id))
    yield record(schema.ConsumerGroupMetadataKey(group_id=group_id))
