"""The records of consumer groups: what a real Kafka wrote is understood, and for the same requests
the same is written."""

from __future__ import annotations

import base64
from typing import Any

from flowstream.broker.groups import consumer_records as schema
from flowstream.broker.groups.consumer_group import ConsumerState
from flowstream.broker.groups.consumer_member import ConsumerMember
from flowstream.broker.groups.consumer_topics import metadata_hash
from flowstream.broker.groups.records import ConsumerGroupRecord, decode_record
from tests.broker import golden
from tests.broker.groups.consumer_story import Consumers
from tests.broker.groups.story import Known, KnownTopic, Plain

PARTITIONS = [f"__consumer_offsets-{number}" for number in range(4)]


def kafkas() -> list[ConsumerGroupRecord]:
    """The life of `g-consumer`: two members that share three topics, and leave."""
    found = (decode_record(r.key, r.value) for p in PARTITIONS for r in golden.records(p))
    return [each for each in found if isinstance(each, ConsumerGroupRecord)]


def ours(broker: Consumers) -> list[ConsumerGroupRecord]:
    found = []
    for entry in broker.log:
        assert isinstance(entry, Plain)
        found += [decode_record(key, value) for key, value in entry.records]
    return [each for each in found if isinstance(each, ConsumerGroupRecord)]


def told(records: list[ConsumerGroupRecord]) -> list[tuple[object, ...]]:
    """What is the same in both: kinds, members in order of appearance, epochs, states, sizes."""
    names: dict[str, int] = {}
    lines: list[tuple[object, ...]] = []
    for each in records:
        member_id = getattr(each.key, "member_id", "")
        names.setdefault(member_id, len(names))
        lines.append((each.key_type, names[member_id], *_value(each.value)))
    # Kafka writes new targets in the order of a hash table.
    return sorted_runs(lines)


def sorted_runs(lines: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    result: list[tuple[object, ...]] = []
    for line in lines:
        position = len(result)
        while line[0] == 7 and position and result[position - 1][0] == 7:
            if str(result[position - 1]) <= str(line):
                break
            position -= 1
        result.insert(position, line)
    return result


def _value(value: Any) -> tuple[object, ...]:
    match value:
        case None:
            return ("gone",)
        case schema.ConsumerGroupMetadataValue():
            return (value.epoch, value.metadata_hash != 0)
        case schema.ConsumerGroupMemberMetadataValue():
            return (
                value.instance_id,
                value.rack_id,
                value.subscribed_topic_regex,
                value.rebalance_timeout_ms,
                value.subscribed_topic_names,
                schema.classic_metadata(value),
            )
        case schema.ConsumerGroupTargetAssignmentMetadataValue():
            return (value.assignment_epoch, value.assignment_timestamp > 0)
        case schema.ConsumerGroupTargetAssignmentMemberValue():
            return (sum(len(each.partitions) for each in value.topic_partitions),)
        case schema.ConsumerGroupCurrentMemberAssignmentValue():
            return (
                value.member_epoch,
                value.previous_member_epoch,
                value.state,
                sorted(e for each in value.assigned_partitions for e in each.assignment_epochs),
                sum(len(each.partitions) for each in value.partitions_pending_revocation),
            )
    raise AssertionError(value)


def test_what_kafka_wrote_folds_to_the_group_it_had() -> None:
    broker = Consumers()
    states = []
    for record in kafkas():
        broker.core.apply(record)
        states.append(broker.consumer("g-consumer").state)
    assert states[4] is ConsumerState.STABLE
    assert ConsumerState.ASSIGNING in states
    assert ConsumerState.RECONCILING in states
    group = broker.consumer("g-consumer")
    assert (group.epoch, group.assignment_epoch, group.metadata_hash) == (5, 3, 0)
    assert group.state is ConsumerState.EMPTY
    assert not group.targets
    assert not group.owners


def test_the_same_requests_make_the_records_that_kafka_wrote() -> None:
    broker = Consumers()
    names = ("codec-lz4", "plain", "tx")
    for name, size in zip(names, (1, 2, 2), strict=True):
        broker.create(name, size)
    broker.join_as("m1", *names, rebalance_ms=300_000)
    broker.wait(18)
    broker.join_as("m2", *names, rebalance_ms=300_000)
    broker.wait(4_977)
    kept = broker.beat("m1", 2).assignment
    assert kept is not None
    broker.beat("m2", 2)
    broker.beat("m1", 2, owned={each.topic_id: each.partitions for each in kept.topic_partitions})
    broker.beat("m2", 3)
    broker.beat("m1", -1)
    broker.beat("m2", -1)
    assert told(ours(broker)) == told(kafkas())


def test_a_member_survives_its_records() -> None:
    member = ConsumerMember(
        member_id="m",
        epoch=3,
        previous_epoch=2,
        instance_id="i",
        rack_id="r",
        names=frozenset({"b", "a"}),
        regex="x.*",
        assignor="range",
        classic=schema.ClassicMemberMetadata(
            session_timeout_ms=5,
            supported_protocols=(schema.ClassicProtocol(name="range", metadata=b"\0\1"),),
        ),
        assigned={bytes(16): {0: 2, 5: 3}},
        pending_revocation={b"\1" * 16: {1: 2}},
    )
    blank = ConsumerMember(member_id="m")
    again = blank.with_metadata(member.metadata_value()).with_assignment(member.assignment_value())
    assert again == member


def test_the_metadata_hash_is_kafkas() -> None:
    known = Known()
    for name, topic_id, size in (
        ("codec-lz4", "zoohoMYzQKGnRU46Ulausw", 1),
        ("plain", "BiahLbr9SAuX_VLrHjNTXQ", 2),
        ("tx", "fSzrjMUuSZifBa4csvI0jQ", 2),
    ):
        topic = KnownTopic(name, base64.urlsafe_b64decode(topic_id + "=="), range(size))
        known.topics[name] = topic
    assert metadata_hash(known.topics, known) == -7765775639434944838


def test_the_metadata_hash_sees_what_matters() -> None:
    known = Known()
    assert metadata_hash(["t"], known) == 0
    known.create("t", 1)
    one = metadata_hash(["t", "u"], known)
    assert one == metadata_hash(["u", "t"], known)
    known.create("t", 2)
    two = metadata_hash(["t", "u"], known)
    known.delete("t")
    known.create("t", 2)
    assert len({one, two, metadata_hash(["t"], known), 0}) == 4
