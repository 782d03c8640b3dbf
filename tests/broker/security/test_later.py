"""Topics that no request names, a session's and a pattern's: they are asked for when they are
found, each time (X2)."""

from __future__ import annotations

from typing import Any

import pytest

from flowstream.broker.types import ANONYMOUS, Principal, Session, TopicPartition
from flowstream.wire.acl_codes import Operation, PatternType, Permission, ResourceType
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest
from flowstream.wire.messages.create_acls import AclCreation, CreateAclsRequest
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from flowstream.wire.messages.delete_acls import DeleteAclsFilter, DeleteAclsRequest
from flowstream.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from tests.broker.machine import Machine, batch

T = ErrorCode.TOPIC_AUTHORIZATION_FAILED
ALICE, BOB = (Session(Principal("User", name)) for name in ("alice", "bob"))


@pytest.fixture
def machine() -> Machine:
    """Topics `mine` and `other` with a record each; whoever is nobody may do everything."""
    made = Machine(super_users=str(ANONYMOUS))
    create(made, "mine", "other")
    for name in ("mine", "other"):
        assert made.produce(name, 0, batch(b"1")).error_code == 0
    return made


def create(machine: Machine, *names: str) -> None:
    topics = tuple(CreatableTopic(name=n, num_partitions=1, replication_factor=1) for n in names)
    assert not any(t.error_code for t in machine.ask(CreateTopicsRequest(topics=topics), 7).topics)


def permit(
    machine: Machine,
    operation: Operation,
    name: str,
    *,
    user: str = "alice",
    type: ResourceType = ResourceType.TOPIC,
) -> None:
    wanted = AclCreation(
        resource_type=type,
        resource_name=name,
        resource_pattern_type=PatternType.LITERAL,
        principal=f"User:{user}",
        host="*",
        operation=operation,
        permission_type=Permission.ALLOW,
    )
    answer = machine.ask(CreateAclsRequest(creations=(wanted,)), 3)
    assert answer.results[0].error_code == 0


def forbid(machine: Machine, name: str) -> None:
    """Take away every rule about the topic `name`."""
    wanted = DeleteAclsFilter(
        resource_type_filter=ResourceType.TOPIC,
        resource_name_filter=name,
        pattern_type_filter=PatternType.LITERAL,
        principal_filter=None,
        host_filter=None,
        operation=Operation.ANY,
        permission_type=Permission.ANY,
    )
    assert machine.ask(DeleteAclsRequest(filters=(wanted,)), 3).filter_results[0].matching_acls


def topics(machine: Machine, version: int, *names: str) -> tuple[FetchTopic, ...]:
    partition = FetchPartition(partition=0, fetch_offset=0, partition_max_bytes=1000)
    return tuple(
        FetchTopic(topic=name, partitions=(partition,))
        if version < 13
        else FetchTopic(topic_id=machine.cores.image.topics[name].topic_id, partitions=(partition,))
        for name in names
    )


def fetch(machine: Machine, version: int, who: Session = ALICE, **more: Any) -> Any:
    machine.session = who
    answer = machine.ask(FetchRequest(**{"max_wait_ms": 0, "min_bytes": 1, **more}), version)
    machine.session = Session()
    return answer


def errors(machine: Machine, answer: Any) -> dict[str, int]:
    """The error of each topic in an answer, by name."""
    names = {topic.topic_id: name for name, topic in machine.cores.image.topics.items()}
    return {
        each.topic or names[each.topic_id]: each.partitions[0].error_code
        for each in answer.responses
    }


@pytest.mark.parametrize("version", [11, 17])
def test_X2_a_session_holds_what_is_not_allowed_and_asks_each_time(
    machine: Machine, version: int
) -> None:
    """KIP-227: a reader believes that its session has everything it named, so that what is allowed
    later has to come, and what is forbidden later must not."""
    permit(machine, Operation.READ, "mine")
    asked = topics(machine, version, "mine", "other")
    answer = fetch(machine, version, topics=asked, session_epoch=0)
    id = answer.session_id
    assert id != 0
    assert errors(machine, answer) == {"mine": 0, "other": T}
    assert not answer.responses[1].partitions[0].records
    for epoch in (1, 2):
        answer = fetch(machine, version, session_id=id, session_epoch=epoch)
        assert errors(machine, answer)["other"] == T

    permit(machine, Operation.READ, "other")
    answer = fetch(machine, version, session_id=id, session_epoch=3)
    assert errors(machine, answer)["other"] == 0
    assert any(each.partitions[0].records for each in answer.responses)

    forbid(machine, "mine")
    answer = fetch(machine, version, session_id=id, session_epoch=4)
    assert errors(machine, answer)["mine"] == T


def at_end(machine: Machine, id: int) -> FetchTopic:
    """What brings the session to the end of `mine`, where it is quiet."""
    place = FetchPartition(partition=0, fetch_offset=1, partition_max_bytes=1000)
    return FetchTopic(topic="mine", partitions=(place,))


def test_X2_a_quiet_partition_that_is_forbidden_is_told(machine: Machine) -> None:
    permit(machine, Operation.READ, "mine")
    id = fetch(machine, 11, topics=topics(machine, 11, "mine"), session_epoch=0).session_id
    more = {"session_id": id, "topics": (at_end(machine, id),)}
    assert not fetch(machine, 11, session_epoch=1, **more).responses
    assert not fetch(machine, 11, session_id=id, session_epoch=2).responses
    forbid(machine, "mine")
    answer = fetch(machine, 11, session_id=id, session_epoch=3, max_wait_ms=10_000)
    assert errors(machine, answer) == {"mine": T}, "at once: there is nothing to wait for"


def test_X2_a_permission_that_ends_while_a_fetch_waits_counts(machine: Machine) -> None:
    permit(machine, Operation.READ, "mine")
    id = fetch(machine, 11, topics=topics(machine, 11, "mine"), session_epoch=0).session_id
    within = {"session_id": id, "topics": (at_end(machine, id),), "session_epoch": 1}
    without = {"topics": (at_end(machine, id),)}
    machine.session = ALICE
    waiting = [
        machine.post(FetchRequest(max_wait_ms=10_000, min_bytes=1, **each), 11)
        for each in (within, without)
    ]
    machine.session = Session()
    forbid(machine, "mine")
    assert machine.produce("mine", 0, batch(b"2")).error_code == 0
    for each in waiting:
        answer = machine.answer(each)
        assert errors(machine, answer) == {"mine": T}
        assert not answer.responses[0].partitions[0].records


def test_X2_a_session_gives_nobody_the_rights_of_who_began_it(machine: Machine) -> None:
    permit(machine, Operation.READ, "mine")
    id = fetch(machine, 11, topics=topics(machine, 11, "mine"), session_epoch=0).session_id
    quiet = {"session_id": id, "session_epoch": 1, "topics": (at_end(machine, id),)}
    assert not fetch(machine, 11, **quiet).responses
    answer = fetch(machine, 11, BOB, session_id=id, session_epoch=2)
    assert errors(machine, answer) == {"mine": T}


def test_a_fetch_of_nothing_but_forbidden_topics_does_not_wait(machine: Machine) -> None:
    asked = topics(machine, 11, "mine", "other")
    answer = fetch(machine, 11, topics=asked, max_wait_ms=10_000)
    assert errors(machine, answer) == {"mine": T, "other": T}
    absent = FetchTopic(topic="absent", partitions=asked[0].partitions)
    answer = fetch(machine, 11, topics=(absent,), max_wait_ms=10_000)
    assert errors(machine, answer) == {"absent": T}, "whether it is there is not told"


def beat(machine: Machine, who: Session, member: str, epoch: int = 0) -> Any:
    """A heartbeat of a member that joins group `g` by pattern, or goes on."""
    machine.session = who
    body = ConsumerGroupHeartbeatRequest(
        group_id="g",
        member_id=member,
        member_epoch=epoch,
        rebalance_timeout_ms=60_000,
        subscribed_topic_regex="m.*|other",
        topic_partitions=(),
    )
    answer = machine.ask(body, 1)
    machine.session = Session()
    return answer


def assigned(machine: Machine, answer: Any) -> set[str]:
    by_id = machine.cores.image.topics_by_id
    return {by_id[each.topic_id].name for each in answer.assignment.topic_partitions}


def test_X2_a_pattern_matches_what_its_member_may_describe(machine: Machine) -> None:
    create(machine, "more")
    permit(machine, Operation.READ, "g", type=ResourceType.GROUP)
    permit(machine, Operation.DESCRIBE, "mine")
    permit(machine, Operation.READ, "more")
    answer = beat(machine, ALICE, "a")
    assert answer.error_code == 0
    assert assigned(machine, answer) == {"mine", "more"}


def test_X2_who_shares_a_pattern_is_told_no_topic_of_the_others(machine: Machine) -> None:
    for user in ("alice", "bob"):
        permit(machine, Operation.READ, "g", user=user, type=ResourceType.GROUP)
    for name in ("mine", "other"):
        permit(machine, Operation.DESCRIBE, name)
    assert beat(machine, ALICE, "a").error_code == 0
    answer = beat(machine, BOB, "b")
    told = set() if answer.assignment is None else assigned(machine, answer)
    assert answer.error_code == T or not told
    machine.wait(2_000)
    released = beat(machine, ALICE, "a", 1)
    machine.wait(2_000)
    answer = beat(machine, BOB, "b", max(answer.member_epoch, 0))
    told = set() if answer.assignment is None else assigned(machine, answer)
    assert not told, (answer, released)


def test_the_metadata_of_a_pattern_is_kept_by_the_logs(machine: Machine) -> None:
    """A restart must not need the permissions again."""
    permit(machine, Operation.READ, "g", type=ResourceType.GROUP)
    permit(machine, Operation.DESCRIBE, "mine")
    assert assigned(machine, beat(machine, ALICE, "a")) == {"mine"}
    assert TopicPartition("mine", 0) in machine.cores.logs.by_name
    machine.crash()
    assert assigned(machine, beat(machine, ALICE, "a")) == {"mine"}
