"""What metadata records do, in a line each for the broker's log: topics, settings, quotas, users,
rules that come, change and go. Pure. What clients chose freely stands in quotes, and no secret is
told (X5).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from flowstream.broker.metadata.image import Image, ResourceType, rule_of
from flowstream.broker.metadata.records import (
    ClientQuotaRecord,
    ConfigRecord,
    FeatureLevelRecord,
    MetadataRecord,
    PartitionRecord,
    RemoveTopicRecord,
    TopicRecord,
)
from flowstream.broker.metadata.security_records import (
    AccessControlEntryRecord,
    RemoveAccessControlEntryRecord,
    RemoveUserScramCredentialRecord,
    UserScramCredentialRecord,
)
from flowstream.broker.security.acl import Rule
from flowstream.wire import acl_codes


def told(image: Image, records: Sequence[MetadataRecord]) -> Iterator[str]:
    """What `records` are about to change in `image`."""
    made = Counter(each.topic_id for each in records if isinstance(each, PartitionRecord))
    named = {each.topic_id: each.name for each in records if isinstance(each, TopicRecord)}
    for topic_id, count in made.items():
        topic = image.topics_by_id.get(topic_id)
        if topic is not None:
            yield f"topic {topic.name} has {len(topic.partitions) + count} partitions now"
        elif topic_id in named:
            yield f"topic {named[topic_id]} is made, partitions: {count}"
    for record in records:
        line = _line(image, record)
        if line is not None:
            yield line


def _line(image: Image, record: MetadataRecord) -> str | None:
    match record:
        case RemoveTopicRecord():
            topic = image.topics_by_id.get(record.topic_id)
            return None if topic is None else f"topic {topic.name} is deleted"
        case ConfigRecord():
            return f"{_resource(record)}: {record.name} {_value(record.value)}"
        case ClientQuotaRecord():
            named = ((each.entity_type, each.entity_name) for each in record.entity)
            whose = ", ".join(f"{t} {'(default)' if n is None else repr(n)}" for t, n in named)
            value = None if record.remove else record.value
            return f"quota of {whose}: {record.key} {_value(value)}"
        case FeatureLevelRecord():
            return f"feature {record.name} is at level {record.feature_level}"
        case UserScramCredentialRecord():
            return f"user {record.name!r} has a password for {_mechanism(record.mechanism)}"
        case RemoveUserScramCredentialRecord():
            return f"user {record.name!r} lost the password for {_mechanism(record.mechanism)}"
        case AccessControlEntryRecord():
            return f"rule: {_rule(rule_of(record))}"
        case RemoveAccessControlEntryRecord():
            rule = image.acls.by_id.get(record.id)
            return None if rule is None else f"rule no longer: {_rule(rule)}"
        case _:
            return None


def _value(value: object) -> str:
    return "is back to its default" if value is None else f"is {value!r}"


def _resource(record: ConfigRecord) -> str:
    kind = ResourceType(record.resource_type).name.lower()
    return f"{kind} {record.resource_name!r}" if record.resource_name else f"every {kind}"


def _mechanism(number: int) -> str:
    return {1: "SCRAM-SHA-256", 2: "SCRAM-SHA-512"}.get(number, str(number))


def _rule(rule: Rule) -> str:
    permission = acl_codes.Permission(rule.permission).name.lower()
    operation = acl_codes.Operation(rule.operation).name.lower()
    kind = acl_codes.ResourceType(rule.resource_type).name.lower()
    pattern = acl_codes.PatternType(rule.pattern_type).name.lower()
    where = f"{pattern} {kind} {rule.name!r} from {rule.host!r}"
    return f"{permission} {rule.principal!r} {operation} on {where}"
