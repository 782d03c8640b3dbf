"""Requests that are allowed in part: what is kept back is answered, and nothing of it is done
(X2)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from flowstream.broker.effects import Effect, Happened, Reply
from flowstream.broker.security.acl import Rule
from flowstream.broker.types import ANONYMOUS, Principal, Session
from flowstream.wire.acl_codes import Operation, PatternType, Permission, ResourceType
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.fields import ZERO_UUID
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from flowstream.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from flowstream.wire.messages.describe_cluster import DescribeClusterRequest
from flowstream.wire.messages.describe_topic_partitions import (
    DescribeTopicPartitionsRequest,
)
from flowstream.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from flowstream.wire.messages.init_producer_id import InitProducerIdRequest
from flowstream.wire.messages.list_groups import ListGroupsRequest
from flowstream.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from flowstream.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from flowstream.wire.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
)
from flowstream.wire.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from tests.broker.machine import Machine, batch

ALICE = Session(Principal("User", "alice"))
T = ErrorCode.TOPIC_AUTHORIZATION_FAILED
NOT_ASKED = -(1 << 31)
O = Operation  # noqa: E741 - short, and used on every line


@pytest.fixture
def machine() -> Machine:
    """Topics `mine` and `other`; whoever is nobody may do everything."""
    made = Machine(super_users=str(ANONYMOUS))
    topics = tuple(
        CreatableTopic(name=name, num_partitions=1, replication_factor=1)
        for name in ("mine", "other")
    )
    assert not any(
        each.error_code for each in made.ask(CreateTopicsRequest(topics=topics), 7).topics
    )
    return made


def allow(
    machine: Machine,
    operation: Operation,
    name: str = "mine",
    type: ResourceType = ResourceType.TOPIC,
    permission: Permission = Permission.ALLOW,
) -> None:
    acls = machine.cores.image.acls
    rule = Rule(type, name, PatternType.LITERAL, "User:alice", "*", operation, permission)
    acls.add(len(acls.by_id).to_bytes(16, "big"), rule)


@contextmanager
def alice(machine: Machine) -> Iterator[Machine]:
    machine.session = ALICE
    yield machine
    machine.session = Session()


def ask(machine: Machine, body: Any, version: int) -> Any:
    with alice(machine):
        return machine.ask(body, version)


def named(*names: str, **more: Any) -> MetadataRequest:
    return MetadataRequest(topics=tuple(MetadataRequestTopic(name=n) for n in names), **more)


def test_metadata_of_all_topics_hides_and_of_named_ones_refuses(machine: Machine) -> None:
    allow(machine, O.DESCRIBE)
    assert [t.name for t in ask(machine, MetadataRequest(topics=None), 12).topics] == ["mine"]
    assert [t.name for t in ask(machine, MetadataRequest(topics=()), 0).topics] == ["mine"]
    answer = ask(machine, named("other", "mine", "absent"), 12)
    assert len(answer.brokers) == 1
    assert {t.name: (t.error_code, t.topic_id == ZERO_UUID) for t in answer.topics} == {
        "mine": (0, False),
        "other": (T, True),
        "absent": (T, True),
    }
    only_others = ask(machine, named("other"), 0)
    assert [(t.name, t.error_code) for t in only_others.topics] == [("other", T)]


def test_metadata_by_id_tells_no_name(machine: Machine) -> None:
    topic_id = machine.cores.image.topics["other"].topic_id
    asked = MetadataRequestTopic(name=None, topic_id=topic_id)
    (topic,) = ask(machine, MetadataRequest(topics=(asked,)), 12).topics
    assert (topic.name, topic.topic_id, topic.error_code) == (None, topic_id, T)


@pytest.mark.parametrize("version", [10, 11])
def test_X4_metadata_by_id_before_version_12_tells_nothing(machine: Machine, version: int) -> None:
    topic_id = machine.cores.image.topics["other"].topic_id
    asked = MetadataRequestTopic(name=None, topic_id=topic_id)
    (topic,) = ask(machine, MetadataRequest(topics=(asked,)), version).topics
    assert (topic.name, topic.error_code) == ("", ErrorCode.INVALID_REQUEST)


def test_a_missing_topic_is_created_only_for_who_may(machine: Machine) -> None:
    asked = named("new", allow_auto_topic_creation=True)
    allow(machine, O.DESCRIBE, "*")
    assert ask(machine, asked, 8).topics[0].error_code == T
    assert "new" not in machine.cores.image.topics
    unasked = named("new", allow_auto_topic_creation=False)
    assert ask(machine, unasked, 8).topics[0].error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    allow(machine, O.CREATE, "new")
    assert ask(machine, asked, 8).topics[0].error_code == 0
    assert "new" in machine.cores.image.topics


def test_operations_that_are_told_are_those_that_are_allowed(machine: Machine) -> None:
    allow(machine, O.WRITE)
    asked = {"include_topic_authorized_operations": True}
    wanted = named("mine", "other", include_cluster_authorized_operations=True, **asked)
    answer = ask(machine, wanted, 10)
    told = {t.name: t.topic_authorized_operations for t in answer.topics}
    assert told == {"mine": 1 << O.WRITE | 1 << O.DESCRIBE, "other": NOT_ASKED}
    assert answer.cluster_authorized_operations == 0
    allow(machine, O.ALTER, "kafka-cluster", ResourceType.CLUSTER)
    cluster = DescribeClusterRequest(endpoint_type=1, include_cluster_authorized_operations=True)
    told_of_cluster = ask(machine, cluster, 1).cluster_authorized_operations
    assert told_of_cluster == 1 << O.ALTER | 1 << O.DESCRIBE
    silent = DescribeClusterRequest(endpoint_type=1)
    assert ask(machine, silent, 1).cluster_authorized_operations == NOT_ASKED


def test_pages_of_topics_tell_no_hidden_name(machine: Machine) -> None:
    asked = DescribeTopicPartitionsRequest(topics=(), response_partition_limit=1)
    assert ask(machine, asked, 0).topics == ()
    allow(machine, O.DESCRIBE)
    page = ask(machine, asked, 0)
    assert [t.name for t in page.topics] == ["mine"]
    assert page.next_cursor is None
    assert page.topics[0].topic_authorized_operations == 1 << O.DESCRIBE


def test_produce_in_part(machine: Machine) -> None:
    allow(machine, O.WRITE)
    data = (PartitionProduceData(index=0, records=batch(b"x")),)
    topics = tuple(TopicProduceData(name=n, partition_data=data) for n in ("other", "mine"))
    request = ProduceRequest(acks=-1, timeout_ms=1, topic_data=topics)
    for expected in (0, 1):
        answer = ask(machine, request, 9)
        found = {t.name: t.partition_responses[0] for t in answer.responses}
        assert (found["mine"].error_code, found["mine"].base_offset) == (0, expected)
        assert found["other"].error_code == T
    assert machine.read("other") == []
    silent = ProduceRequest(acks=0, timeout_ms=1, topic_data=topics)
    with alice(machine):
        machine.post(silent, 9)
        machine.settle()
    assert machine.closed == ["a produce request with acks=0 is not allowed"]
    assert machine.read("other") == []
    assert len(machine.read("mine")) == 3


def test_fetch_in_part(machine: Machine) -> None:
    allow(machine, O.READ)
    wanted = FetchPartition(partition=0, fetch_offset=0, partition_max_bytes=1000)
    topics = tuple(FetchTopic(topic=n, partitions=(wanted,)) for n in ("other", "mine"))
    answer = ask(machine, FetchRequest(max_wait_ms=0, min_bytes=0, topics=topics), 11)
    assert {t.topic: t.partitions[0].error_code for t in answer.responses} == {
        "mine": 0,
        "other": T,
    }
    follower = FetchRequest(max_wait_ms=0, min_bytes=0, topics=topics, replica_id=1)
    errors = [t.partitions[0].error_code for t in ask(machine, follower, 11).responses]
    assert errors == [T, T], "a client that says it is a follower"


def test_create_and_delete(machine: Machine) -> None:
    allow(machine, O.CREATE, "new")
    topics = tuple(
        CreatableTopic(name=name, num_partitions=1, replication_factor=1)
        for name in ("new", "newer")
    )
    answer = ask(machine, CreateTopicsRequest(topics=topics), 7)
    found = {t.name: t for t in answer.topics}
    assert (found["new"].error_code, found["newer"].error_code) == (0, T)
    assert found["new"].topic_config_error_code == T
    assert (found["new"].configs, found["new"].num_partitions) == ((), -1)
    assert "newer" not in machine.cores.image.topics
    topic_id = machine.cores.image.topics["other"].topic_id
    states = (DeleteTopicState(name=None, topic_id=topic_id),)
    (deleted,) = ask(machine, DeleteTopicsRequest(topics=states), 6).responses
    assert (deleted.name, deleted.topic_id, deleted.error_code) == (None, topic_id, T)
    allow(machine, O.DESCRIBE, "other")
    (deleted,) = ask(machine, DeleteTopicsRequest(topics=states), 6).responses
    assert (deleted.name, deleted.error_code) == ("other", T)
    assert "other" in machine.cores.image.topics


def commit(machine: Machine, group: str) -> Any:
    partition = OffsetCommitRequestPartition(partition_index=0, committed_offset=0)
    topics = tuple(
        OffsetCommitRequestTopic(name=name, partitions=(partition,)) for name in ("mine", "other")
    )
    request = OffsetCommitRequest(
        group_id=group, generation_id_or_member_epoch=-1, member_id="", topics=topics
    )
    return machine.ask(request, 8)


def test_positions_of_a_group_in_part(machine: Machine) -> None:
    for group in ("g", "h"):
        assert not any(t.partitions[0].error_code for t in commit(machine, group).topics)
    allow(machine, O.DESCRIBE, "g", ResourceType.GROUP)
    allow(machine, O.DESCRIBE)
    everything = OffsetFetchRequest(
        groups=tuple(OffsetFetchRequestGroup(group_id=g, topics=None) for g in ("g", "h"))
    )
    found = {g.group_id: g for g in ask(machine, everything, 8).groups}
    assert [t.name for t in found["g"].topics] == ["mine"]
    assert found["h"].error_code == ErrorCode.GROUP_AUTHORIZATION_FAILED
    topics = tuple(
        OffsetFetchRequestTopics(name=name, partition_indexes=(0,)) for name in ("mine", "other")
    )
    one = OffsetFetchRequest(groups=(OffsetFetchRequestGroup(group_id="g", topics=topics),))
    (group,) = ask(machine, one, 8).groups
    told = {t.name: t.partitions[0].error_code for t in group.topics}
    assert told == {"mine": 0, "other": T}
    assert [g.group_id for g in ask(machine, ListGroupsRequest(), 4).groups] == ["g"]
    with alice(machine):
        codes = [t.partitions[0].error_code for t in commit(machine, "g").topics]
    assert codes == [ErrorCode.GROUP_AUTHORIZATION_FAILED] * 2


def test_an_idempotent_producer_needs_a_topic_to_write_to(machine: Machine) -> None:
    asked = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1000)
    assert ask(machine, asked, 4).error_code == ErrorCode.CLUSTER_AUTHORIZATION_FAILED
    allow(machine, O.WRITE)
    assert ask(machine, asked, 4).producer_id >= 0


def test_whoever_follows_the_log_reads_what_was_refused_to_whom(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    carry_out = machine.carry_out

    def listened(effects: list[Effect]) -> None:
        told.extend(each.text for each in effects if isinstance(each, Happened))
        carry_out(effects)

    monkeypatch.setattr(machine, "carry_out", listened)
    allow(machine, O.WRITE)
    parts = (PartitionProduceData(index=0, records=bytes(batch(b"v"))),)
    topics = tuple(
        TopicProduceData(name=name, partition_data=parts) for name in ("mine", "o\nther")
    )
    with alice(machine):
        ask(machine, ProduceRequest(acks=-1, timeout_ms=1000, topic_data=topics), 9)
        ask(machine, DeleteTopicsRequest(topic_names=("mine",)), 5)
        ask(machine, MetadataRequest(topics=None), 9)
    assert told == [
        r"PRODUCE by 'User:alice' at 127.0.0.1 is refused: not allowed to write topic 'o\nther'",
        "DELETE_TOPICS by 'User:alice' at 127.0.0.1 is refused: not allowed to delete topic 'mine'",
    ]


def test_X4_requests_that_a_client_numbers_alike_keep_their_answers_apart(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Produce waits for the disk, and the next request is looked at meanwhile: what completes the
    answer of one must not meet that of the other.
    """
    commit(machine, "g")
    allow(machine, O.WRITE)
    data = (PartitionProduceData(index=0, records=batch(b"x")),)
    topics = (TopicProduceData(name="mine", partition_data=data),)
    answers: list[Any] = []
    monkeypatch.setattr(
        machine,
        "carry_out",
        lambda effects: answers.extend(e.body for e in effects if isinstance(e, Reply)),
    )
    with alice(machine):
        first = machine.post(ProduceRequest(acks=-1, timeout_ms=1, topic_data=topics), 9)
        machine._asked -= 1
        assert machine.post(ListGroupsRequest(), 4) == first
        machine.settle()
    produced, listed = answers
    assert produced.responses[0].partition_responses[0].error_code == 0
    assert listed.groups == (), "a group that alice may not see"


def test_amendments_go_with_their_connection(machine: Machine) -> None:
    from flowstream.broker.events import Disconnected
    from flowstream.broker.types import ConnectionId

    gate = machine.node._gate
    assert gate is not None
    allow(machine, O.READ)
    wanted = FetchPartition(partition=0, fetch_offset=0, partition_max_bytes=1000)
    topics = (FetchTopic(topic="mine", partitions=(wanted,)),)
    request = FetchRequest(max_wait_ms=10_000, min_bytes=1, topics=topics)
    with alice(machine):
        machine.post(request, 11)
        machine.post(MetadataRequest(topics=None), 12)
    machine.carry_out(machine.node.handle(Disconnected(ConnectionId(1)), machine.now))
    assert not gate._amendments


def test_without_security_there_is_no_gate() -> None:
    """Requests pay one look at an attribute, and no rule is even imported."""
    assert Machine().node._gate is None
    code = (
        "import sys; import flowstream.broker.server.bootstrap;"
        "assert 'flowstream.broker.authorization.gate' not in sys.modules;"
        "assert 'jwt' not in sys.modules; assert 'flowstream.broker.server.tls' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
