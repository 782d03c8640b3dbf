"""Requests of consumer groups through a whole node, with crashes. What is pinned here was compared
with a real Kafka 4.3.1."""

from __future__ import annotations

from typing import Any

import pytest

from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages import consumer_group_describe as describe
from flowstream.wire.messages import consumer_group_heartbeat as beat
from flowstream.wire.messages import offset_commit as commit
from flowstream.wire.messages import offset_fetch as fetch
from flowstream.wire.messages.api_versions import ApiVersionsRequest
from flowstream.wire.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsTopic,
)
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from flowstream.wire.messages.delete_topics import DeleteTopicsRequest
from flowstream.wire.messages.describe_groups import DescribeGroupsRequest
from flowstream.wire.messages.list_groups import ListGroupsRequest
from tests.broker.machine import Machine


@pytest.fixture
def broker() -> Machine:
    machine = Machine()
    create(machine, "t", 2)
    return machine


def create(machine: Machine, name: str, partitions: int) -> None:
    topics = (CreatableTopic(name=name, num_partitions=partitions, replication_factor=1),)
    machine.ask(CreateTopicsRequest(topics=topics), 5)


def joining(member_id: str = "m", **said: Any) -> beat.ConsumerGroupHeartbeatRequest:
    if "subscribed_topic_regex" not in said:
        said["subscribed_topic_names"] = ("t",)
    return beat.ConsumerGroupHeartbeatRequest(
        group_id="g",
        member_id=member_id,
        member_epoch=0,
        rebalance_timeout_ms=10_000,
        topic_partitions=(),
        **said,
    )


def beating(member_id: str, epoch: int) -> beat.ConsumerGroupHeartbeatRequest:
    return beat.ConsumerGroupHeartbeatRequest(group_id="g", member_id=member_id, member_epoch=epoch)


def partitions(answer: Any) -> list[int]:
    return [p for each in answer.assignment.topic_partitions for p in each.partitions]


def described(machine: Machine, group: str = "g", version: int = 1) -> Any:
    request = describe.ConsumerGroupDescribeRequest(group_ids=(group, group))
    (found,) = machine.ask(request, version).groups
    return found


def test_the_feature_is_told(broker: Machine) -> None:
    body = ApiVersionsRequest(client_software_name="x", client_software_version="1")
    answer = broker.ask(body, 4)
    told = {each.name: each.max_version_level for each in answer.finalized_features}
    assert told["group.version"] == 1
    assert {68, 69} <= {each.api_key for each in answer.api_keys}


@pytest.mark.parametrize("version", [0, 1])
def test_a_member_joins_and_goes_on_after_a_crash(broker: Machine, version: int) -> None:
    answer = broker.ask(joining("m" if version else ""), version)
    assert (answer.error_code, answer.member_epoch, partitions(answer)) == (0, 2, [0, 1])
    broker.crash()
    again = broker.ask(beating(answer.member_id, 2), version)
    assert (again.error_code, again.member_epoch, again.assignment) == (0, 2, None)


def test_D4_an_answer_waits_for_its_records(broker: Machine) -> None:
    asked = broker.post(joining(), 1)
    assert asked not in broker.replies
    broker.crash()
    assert not broker.cores.groups.consumers


def test_topics_grow_and_go(broker: Machine) -> None:
    broker.ask(joining(), 1)
    grown = CreatePartitionsTopic(name="t", count=4, assignments=None)
    broker.ask(CreatePartitionsRequest(topics=(grown,), timeout_ms=1000), 3)
    broker.wait(1_000)
    assert partitions(broker.ask(beating("m", 2), 1)) == [0, 1, 2, 3]
    broker.ask(DeleteTopicsRequest(topic_names=("t",), timeout_ms=1000), 5)
    broker.wait(1_000)
    assert partitions(broker.ask(beating("m", 3), 1)) == []
    found = described(broker)
    assert [each.assignment.topic_partitions for each in found.members] == [()]


def test_a_regular_expression_finds_a_topic_that_comes(broker: Machine) -> None:
    broker.ask(joining(subscribed_topic_regex="t|more.*"), 1)
    create(broker, "more-1", 1)
    broker.wait(10_001)
    answer = broker.ask(beating("m", 2), 1)
    assert sorted(partitions(answer)) == [0, 0, 1]


def test_describe(broker: Machine) -> None:
    broker.ask(joining(instance_id="i", rack_id="r", server_assignor="range"), 1)
    found = described(broker)
    assert (found.error_code, found.group_state, found.assignor_name) == (0, "Stable", "range")
    assert (found.group_epoch, found.assignment_epoch) == (2, 2)
    (member,) = found.members
    assert (member.member_id, member.instance_id, member.rack_id) == ("m", "i", "r")
    assert (member.client_id, member.client_host, member.member_type) == ("client", "/127.0.0.1", 1)
    assert member.subscribed_topic_names == ("t",)
    assert member.assignment == member.target_assignment
    assert [(each.topic_name, each.partitions) for each in member.assignment.topic_partitions] == [
        ("t", (0, 1))
    ]
    assert described(broker, version=0).members[0].member_type == -1
    unknown = described(broker, "x")
    assert (unknown.error_code, unknown.group_state) == (ErrorCode.GROUP_ID_NOT_FOUND, "")
    assert described(broker, "").error_code == ErrorCode.INVALID_GROUP_ID


def test_the_classic_description_knows_classic_groups_only(broker: Machine) -> None:
    broker.ask(joining(), 1)
    (old,) = broker.ask(DescribeGroupsRequest(groups=("g",)), 5).groups
    assert (old.error_code, old.group_state) == (0, "Dead")
    (new,) = broker.ask(DescribeGroupsRequest(groups=("g",)), 6).groups
    assert new.error_code == ErrorCode.GROUP_ID_NOT_FOUND
    assert new.error_message == "Group g is not a classic group."


def test_groups_are_listed_by_state_and_type(broker: Machine) -> None:
    broker.ask(joining(), 1)

    def listed(**filters: Any) -> list[tuple[str, ...]]:
        groups = broker.ask(ListGroupsRequest(**filters), 5).groups
        return [(g.group_id, g.protocol_type, g.group_state, g.group_type) for g in groups]

    one = [("g", "consumer", "Stable", "consumer")]
    assert listed() == one
    assert listed(types_filter=("Consumer",), states_filter=("stable",)) == one
    assert listed(types_filter=("classic",)) == []
    assert listed(states_filter=("Reconciling",)) == []


@pytest.mark.parametrize("version", [9, 10])
def test_G1_offsets_are_committed_and_read_in_the_members_epoch(
    broker: Machine, version: int
) -> None:
    broker.ask(joining(), 1)
    topic = broker.cores.image.topics["t"]

    def committed(epoch: int) -> int:
        one = commit.OffsetCommitRequestPartition(partition_index=0, committed_offset=7)
        body = commit.OffsetCommitRequest(
            group_id="g",
            member_id="m",
            generation_id_or_member_epoch=epoch,
            topics=(
                commit.OffsetCommitRequestTopic(
                    name="t" if version < 10 else "",
                    topic_id=topic.topic_id if version >= 10 else bytes(16),
                    partitions=(one,),
                ),
            ),
        )
        answer = broker.ask(body, version)
        return int(answer.topics[0].partitions[0].error_code)

    def read(epoch: int) -> Any:
        asked = fetch.OffsetFetchRequestGroup(
            group_id="g", member_id="m", member_epoch=epoch, topics=None
        )
        (group,) = broker.ask(fetch.OffsetFetchRequest(groups=(asked,)), version).groups
        return group

    assert committed(1) == ErrorCode.STALE_MEMBER_EPOCH
    assert committed(2) == ErrorCode.NONE
    assert read(1).error_code == ErrorCode.STALE_MEMBER_EPOCH
    found = read(2)
    assert found.error_code == 0
    assert found.topics[0].partitions[0].committed_offset == 7
