"""Group requests through a whole node, in every version, with crashes. What is pinned here was
compared with a real Kafka 4.3.1."""

from __future__ import annotations

import pytest

from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages import delete_groups, describe_groups, list_groups
from flowstream.wire.messages import find_coordinator as find
from flowstream.wire.messages import heartbeat as beat
from flowstream.wire.messages import leave_group as leave
from flowstream.wire.messages import sync_group as sync
from tests.broker.groups.requests import committing, enter, fetched, joining, versions, with_topic
from tests.broker.machine import Machine


@pytest.fixture
def broker() -> Machine:
    return with_topic()


@pytest.mark.parametrize("version", versions(10))
def test_this_node_coordinates_everything(broker: Machine, version: int) -> None:
    many = version >= 4
    body = find.FindCoordinatorRequest(
        key="" if many else "g", coordinator_keys=("g", "h") if many else ()
    )
    answer = broker.ask(body, version)
    for found in answer.coordinators if many else (answer,):
        assert (found.node_id, found.host, found.port) == (0, "127.0.0.1", 9092)
        assert found.error_code == 0
    assert "__consumer_offsets" in broker.cores.logs.partitions


def test_other_kinds_of_coordinators_are_refused(broker: Machine) -> None:
    answer = broker.ask(find.FindCoordinatorRequest(key="g", key_type=2), 1)
    assert (answer.error_code, answer.node_id) == (ErrorCode.INVALID_REQUEST, -1)


@pytest.mark.parametrize("version", versions(11))
def test_a_refused_join_can_be_told_in_every_version(broker: Machine, version: int) -> None:
    answer = broker.ask(joining(session_ms=1), version)
    assert answer.error_code == ErrorCode.INVALID_SESSION_TIMEOUT
    assert answer.protocol_name == (None if version >= 7 else "")


def test_members_survive_a_crash_of_the_broker(broker: Machine) -> None:
    member, generation = enter(broker)
    broker.crash()
    alive = beat.HeartbeatRequest(group_id="g", generation_id=generation, member_id=member)
    assert broker.ask(alive, 4).error_code == 0
    answer = broker.ask(committing(4, member, generation), 9)
    assert answer.topics[0].partitions[0].error_code == 0
    broker.wait(10_001)
    assert broker.ask(alive, 4).error_code == ErrorCode.UNKNOWN_MEMBER_ID


def test_an_unsynced_assignment_is_told_to_nobody(broker: Machine) -> None:
    member = broker.ask(joining(), 9).member_id
    joined = broker.ask(joining(member), 9)
    body = sync.SyncGroupRequest(
        group_id="g", generation_id=joined.generation_id, member_id=member, assignments=()
    )
    asked = broker.post(body, 3)
    assert asked not in broker.replies
    broker.settle()
    assert broker.answer(asked).error_code == 0


@pytest.mark.parametrize("version", versions(15))
def test_groups_are_described(broker: Machine, version: int) -> None:
    member, _ = enter(broker)
    body = describe_groups.DescribeGroupsRequest(
        groups=("g", "no"), include_authorized_operations=version >= 3
    )
    known, unknown = broker.ask(body, version).groups
    assert (known.group_state, known.protocol_type, known.protocol_data) == (
        "Stable",
        "consumer",
        "range",
    )
    (only,) = known.members
    assert (only.member_id, only.client_id, only.client_host) == (member, "client", "/127.0.0.1")
    assert (only.member_metadata, only.member_assignment) == (b"m", b"share")
    assert known.authorized_operations == (3400 if version >= 3 else -(1 << 31))
    assert unknown.group_state == "Dead"
    assert unknown.error_code == (ErrorCode.GROUP_ID_NOT_FOUND if version >= 6 else 0)


@pytest.mark.parametrize("version", versions(16))
def test_groups_are_listed(broker: Machine, version: int) -> None:
    enter(broker)
    (only,) = broker.ask(list_groups.ListGroupsRequest(), version).groups
    assert (only.group_id, only.protocol_type) == ("g", "consumer")
    if version >= 4:
        for state, found in (("stable", 1), ("Empty", 0), ("bogus", 0)):
            body = list_groups.ListGroupsRequest(states_filter=(state,))
            assert len(broker.ask(body, version).groups) == found
    if version >= 5:
        for kind, found in (("Classic", 1), ("consumer", 0)):
            body = list_groups.ListGroupsRequest(types_filter=(kind,))
            assert len(broker.ask(body, version).groups) == found


@pytest.mark.parametrize("version", versions(13))
def test_members_leave(broker: Machine, version: int) -> None:
    member, _ = enter(broker)
    if version < 3:
        body = leave.LeaveGroupRequest(group_id="g", member_id=member)
    else:
        leavers = (leave.MemberIdentity(member_id=member), leave.MemberIdentity(member_id="no"))
        body = leave.LeaveGroupRequest(group_id="g", members=leavers)
    answer = broker.ask(body, version)
    assert answer.error_code == 0
    assert [each.error_code for each in answer.members] == (
        [0, ErrorCode.UNKNOWN_MEMBER_ID] if version >= 3 else []
    )
    assert not broker.cores.groups.groups["g"].members


@pytest.mark.parametrize("version", versions(42))
def test_groups_are_deleted_for_good(broker: Machine, version: int) -> None:
    broker.ask(committing(7), 9)
    body = delete_groups.DeleteGroupsRequest(groups_names=("g", "no"))
    results = broker.ask(body, version).results
    assert [each.error_code for each in results] == [0, ErrorCode.GROUP_ID_NOT_FOUND]
    broker.crash()
    assert fetched(broker) == [(-1, 0)]


def test_G7_a_crash_in_a_rebalance_leaves_no_partition_without_an_owner(broker: Machine) -> None:
    first, generation = enter(broker)
    second = broker.ask(joining(), 9).member_id
    broker.post(joining(second), 9)
    broker.crash()
    broker.replies.clear()
    broker.wait(10_001)
    again = broker.ask(joining(), 9).member_id
    joined = broker.ask(joining(again), 9)
    assert joined.leader == again
    assert joined.generation_id > generation
    assert [each.member_id for each in joined.members] == [again]
    assert first != again
