"""The records of `__consumer_offsets` against what a real Kafka wrote and its dump tool says."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstream.broker.groups.records import (
    ConsumerGroupRecord,
    GroupMetadataKey,
    GroupMetadataValue,
    GroupRecord,
    OffsetCommitValue,
    OffsetRecord,
    Record,
    decode_record,
    encode_record,
    offset_record,
)
from flowstream.errors import WireError
from flowstream.wire.schema import ZERO_UUID
from tests.broker import golden
from tests.broker.groups.story import Groups, Plain

PARTITIONS = [f"__consumer_offsets-{number}" for number in range(4)]


def pairs() -> Iterator[tuple[Record, Any, Any]]:
    """Every golden record with the key and payload of the dump; payload None where it deletes."""
    for partition in PARTITIONS:
        said = {offset: (key, payload) for offset, key, payload in golden.dump(partition)}
        for record in golden.records(partition):
            decoded = decode_record(record.key, record.value)
            assert decoded is not None
            if record.offset in said:
                yield decoded, *said[record.offset]


@pytest.mark.parametrize("partition", PARTITIONS)
def test_every_golden_record_encodes_to_the_same_bytes(partition: str) -> None:
    count = 0
    for record in golden.records(partition):
        decoded = decode_record(record.key, record.value)
        assert decoded is not None
        assert encode_record(decoded) == (record.key, record.value)
        count += 1
    assert count


def test_every_golden_offset_says_what_kafkas_dump_says() -> None:
    count = 0
    for record, key, payload in pairs():
        if not isinstance(record, OffsetRecord) or record.value is None or payload is None:
            continue
        data = payload["data"]
        assert record.key.group == key["data"]["group"]
        assert record.key.topic == key["data"]["topic"]
        assert record.key.partition == key["data"]["partition"]
        assert record.value.offset == data["offset"]
        assert record.value.leader_epoch == data["leaderEpoch"]
        assert record.value.metadata == data["metadata"]
        assert record.value.commit_timestamp == data["commitTimestamp"]
        topic_id = data.get("topicId")
        assert record.value.topic_id == (
            ZERO_UUID if topic_id is None else base64.urlsafe_b64decode(topic_id + "==")
        )
        count += 1
    assert count == 26


def test_every_golden_group_says_what_kafkas_dump_says() -> None:
    count = 0
    for record, key, payload in pairs():
        if not isinstance(record, GroupRecord) or record.value is None or payload is None:
            continue
        data, value = payload["data"], record.value
        assert record.key.group == key["data"]["group"]
        assert value.protocol_type == data["protocolType"]
        assert value.generation == data["generation"]
        assert value.protocol == data["protocol"]
        assert value.leader == data["leader"]
        assert value.current_state_timestamp == data["currentStateTimestamp"]
        assert [each.member_id for each in value.members] == [
            each["memberId"] for each in data["members"]
        ]
        for ours, theirs in zip(value.members, data["members"], strict=True):
            assert ours.session_timeout == theirs["sessionTimeout"]
            assert ours.rebalance_timeout == theirs["rebalanceTimeout"]
            assert ours.client_host == theirs["clientHost"]
            assert ours.subscription == base64.b64decode(theirs["subscription"])
            assert ours.assignment == base64.b64decode(theirs["assignment"])
        count += 1
    assert count >= 7


def test_consumer_groups_are_understood() -> None:
    groups = Groups()
    found = [record for record, _, _ in pairs() if isinstance(record, ConsumerGroupRecord)]
    assert {type(record.key).__name__ for record in found} == {
        "ConsumerGroupMetadataKey",
        "ConsumerGroupMemberMetadataKey",
        "ConsumerGroupTargetAssignmentMetadataKey",
        "ConsumerGroupTargetAssignmentMemberKey",
        "ConsumerGroupCurrentMemberAssignmentKey",
    }
    for record in found:
        assert groups.core.decode(*encode_record(record)) == record


def test_a_type_of_record_from_the_future_is_skipped() -> None:
    assert decode_record(b"\x00\x63rest", b"\x00\x00") is None


@pytest.mark.parametrize(
    ("key", "value"),
    [(None, b""), (b"\x00", b""), (b"\x00\x01\x00", b""), (b"\x00\x02\x00\x01g", b"\x00\x63")],
)
def test_what_cannot_be_understood_is_refused(key: bytes | None, value: bytes) -> None:
    with pytest.raises(WireError):
        decode_record(key, value)


def test_a_new_group_has_the_record_that_kafka_writes() -> None:
    groups = Groups()
    groups.join()
    (first,) = groups.log
    assert isinstance(first, Plain)
    key, value = first.records[0]
    assert decode_record(key, value) == GroupRecord(
        GroupMetadataKey(group="g"), GroupMetadataValue(current_state_timestamp=groups.now)
    )


def test_an_expiring_offset_is_written_in_the_only_version_that_can_say_so() -> None:
    groups = Groups()
    groups.commit(5, retention_ms=1000, version=2)
    (entry,) = groups.log
    assert isinstance(entry, Plain)
    record = decode_record(*entry.records[0])
    assert isinstance(record, OffsetRecord)
    assert record.version == 1
    assert record.value is not None
    assert record.value.expire_timestamp == groups.now + 1000


@given(
    offset=st.integers(0, (1 << 63) - 1),
    epoch=st.integers(-1, (1 << 31) - 1),
    metadata=st.text(max_size=20),
    topic_id=st.binary(min_size=16, max_size=16),
    tombstone=st.booleans(),
)
def test_an_offset_survives_its_bytes(
    offset: int, epoch: int, metadata: str, topic_id: bytes, tombstone: bool
) -> None:
    value = OffsetCommitValue(
        offset=offset, leader_epoch=epoch, metadata=metadata, topic_id=topic_id
    )
    record = offset_record("g", "t", 3, None if tombstone else value)
    assert decode_record(*encode_record(record)) == record
