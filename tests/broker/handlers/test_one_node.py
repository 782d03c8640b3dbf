"""What tools ask a cluster of one node: directories, elections, moves, the quorum, producers."""

from __future__ import annotations

from typing import Any

import pytest

from flowstream.broker.cores import Endpoint
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    ReassignablePartition,
    ReassignableTopic,
)
from flowstream.wire.messages.alter_replica_log_dirs import (
    AlterReplicaLogDir,
    AlterReplicaLogDirsRequest,
    AlterReplicaLogDirTopic,
)
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from flowstream.wire.messages.describe_log_dirs import (
    DescribableLogDirTopic,
    DescribeLogDirsRequest,
)
from flowstream.wire.messages.describe_producers import DescribeProducersRequest, TopicRequest
from flowstream.wire.messages.describe_quorum import (
    DescribeQuorumRequest,
    PartitionData,
    TopicData,
)
from flowstream.wire.messages.elect_leaders import ElectLeadersRequest, TopicPartitions
from flowstream.wire.messages.list_partition_reassignments import (
    ListPartitionReassignmentsRequest,
)
from tests.broker.machine import TIME, Machine, batch

UNKNOWN = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


@pytest.fixture
def machine() -> Machine:
    made = Machine()
    wanted = CreatableTopic(name="t", num_partitions=2, replication_factor=1)
    made.ask(CreateTopicsRequest(topics=(wanted,), timeout_ms=1000), 5)
    return made


def test_log_directories_tell_sizes_and_room(machine: Machine) -> None:
    sent = batch(b"x")
    machine.produce("t", 1, sent)
    (found,) = machine.ask(DescribeLogDirsRequest(topics=None), 5).results
    assert (found.error_code, found.is_cordoned) == (0, False)
    assert found.total_bytes == machine.storage.disk_bytes
    assert 0 < found.usable_bytes < found.total_bytes
    sizes = {(t.name, p.partition_index): p for t in found.topics for p in t.partitions}
    assert sizes["t", 1].partition_size == len(sent)
    assert sizes["t", 0].partition_size == sizes["t", 1].offset_lag == 0


def test_X3_log_directories_of_some_partitions_are_told_once(machine: Machine) -> None:
    asked = DescribableLogDirTopic(topic="t", partitions=(0, 9, 0))
    other = DescribableLogDirTopic(topic="unknown", partitions=(0,))
    (found,) = machine.ask(DescribeLogDirsRequest(topics=(asked, asked, other)), 4).results
    assert [(t.name, [p.partition_index for p in t.partitions]) for t in found.topics] == [
        ("t", [0])
    ]
    (nothing,) = machine.ask(DescribeLogDirsRequest(topics=()), 1).results
    assert nothing.topics == ()


@pytest.mark.parametrize("version", [1, 2])
def test_there_is_one_directory_to_move_to(machine: Machine, version: int) -> None:
    here = machine.storage.space().directory
    dirs = tuple(
        AlterReplicaLogDir(
            path=path, topics=(AlterReplicaLogDirTopic(name=name, partitions=parts),)
        )
        for path, name, parts in (
            ("elsewhere", "t", (0, 1)),
            (here, "t", (0, 9)),
            (here, "unknown", (0,)),
        )
    )
    answer = machine.ask(AlterReplicaLogDirsRequest(dirs=dirs), version)
    errors = {
        (topic.topic_name, each.partition_index): each.error_code
        for topic in answer.results
        for each in topic.partitions
    }
    assert errors == {
        ("t", 0): 0,
        ("t", 1): ErrorCode.LOG_DIR_NOT_FOUND,
        ("t", 9): UNKNOWN,
        ("unknown", 0): UNKNOWN,
    }


@pytest.mark.parametrize("version", [0, 1, 2])
def test_no_election_is_needed(machine: Machine, version: int) -> None:
    asked = tuple(TopicPartitions(topic=name, partitions=(0, 9)) for name in ("t", "unknown"))
    answer = machine.ask(ElectLeadersRequest(topic_partitions=asked), version)
    known, unknown = answer.replica_election_results
    assert [each.error_code for each in known.partition_result] == [
        ErrorCode.ELECTION_NOT_NEEDED,
        UNKNOWN,
    ]
    assert {each.error_code for each in unknown.partition_result} == {UNKNOWN}


def test_an_election_of_all_partitions_has_nothing_to_tell(machine: Machine) -> None:
    answer = machine.ask(ElectLeadersRequest(topic_partitions=None, election_type=1), 2)
    assert answer.error_code == 0
    assert [(t.topic, t.partition_result) for t in answer.replica_election_results] == [("t", ())]


def test_an_unknown_type_of_election_is_refused(machine: Machine) -> None:
    asked = (TopicPartitions(topic="t", partitions=(0,)),)
    answer = machine.ask(ElectLeadersRequest(topic_partitions=asked, election_type=2), 2)
    (topic,) = answer.replica_election_results
    assert answer.error_code == topic.partition_result[0].error_code == ErrorCode.INVALID_REQUEST


def reassign(
    machine: Machine, replicas: tuple[int, ...] | None, name: str = "t", number: int = 0
) -> Any:
    asked = ReassignablePartition(partition_index=number, replicas=replicas)
    topic = ReassignableTopic(name=name, partitions=(asked,))
    answer = machine.ask(AlterPartitionReassignmentsRequest(topics=(topic,)), 1)
    assert answer.error_code == 0
    return answer.responses[0].partitions[0].error_code


def test_a_partition_may_only_be_placed_where_it_is(machine: Machine) -> None:
    before = machine.cores.metadata_log.log_end
    assert reassign(machine, (0,)) == 0
    assert reassign(machine, None) == ErrorCode.NO_REASSIGNMENT_IN_PROGRESS
    for replicas in ((), (0, 0), (1,), (0, 1), (-1,)):
        assert reassign(machine, replicas) == ErrorCode.INVALID_REPLICA_ASSIGNMENT
    assert reassign(machine, (0,), "unknown") == reassign(machine, None, number=9) == UNKNOWN
    assert machine.cores.metadata_log.log_end == before
    moving = machine.ask(ListPartitionReassignmentsRequest(topics=None), 0)
    assert (moving.error_code, moving.topics) == (0, ())


def quorum(machine: Machine, version: int, *partitions: tuple[str, int]) -> Any:
    topics = tuple(
        TopicData(topic_name=name, partitions=(PartitionData(partition_index=number),))
        for name, number in partitions
    )
    return machine.ask(DescribeQuorumRequest(topics=topics), version)


@pytest.mark.parametrize("version", [0, 1, 2])
def test_the_quorum_is_this_node(machine: Machine, version: int) -> None:
    answer = quorum(machine, version, ("__cluster_metadata", 0))
    (partition,) = answer.topics[0].partitions
    (voter,) = partition.current_voters
    assert (partition.error_code, partition.leader_id, voter.replica_id) == (0, 0, 0)
    assert voter.log_end_offset == partition.high_watermark == machine.cores.metadata_log.log_end
    assert voter.last_caught_up_timestamp == (TIME if version else -1)
    assert len(answer.nodes) == (version == 2)


def test_the_quorum_listens_where_clients_do(machine: Machine) -> None:
    def told() -> list[tuple[str, str, int]]:
        (node,) = quorum(machine, 2, ("__cluster_metadata", 0)).nodes
        return [(each.name, each.host, each.port) for each in node.listeners]

    here = machine.cores.address
    assert told() == [("PLAINTEXT", here.host, here.port)]
    here.endpoints |= {
        "SASL_SSL": Endpoint("kafka.example", 9093, 3),
        "INSIDE": Endpoint("10.0.0.1", 9094, 1),
    }
    assert told() == [("SASL_SSL", "kafka.example", 9093), ("INSIDE", "10.0.0.1", 9094)]


@pytest.mark.parametrize(
    "asked",
    [
        [("t", 0)],
        [("__cluster_metadata", 1)],
        [("__cluster_metadata", 0), ("__cluster_metadata", 1)],
    ],
)
def test_there_is_no_other_quorum(machine: Machine, asked: list[tuple[str, int]]) -> None:
    for topic in quorum(machine, 2, *asked).topics:
        assert [each.error_code for each in topic.partitions] == [UNKNOWN]


def producers(machine: Machine, *topics: tuple[str, tuple[int, ...]]) -> Any:
    asked = tuple(TopicRequest(name=name, partition_indexes=numbers) for name, numbers in topics)
    return machine.ask(DescribeProducersRequest(topics=asked), 0).topics


def test_producers_are_described_with_their_open_transaction(machine: Machine) -> None:
    machine.produce("t", 0, batch(b"before"))
    got = machine.init()
    pid, epoch = got.producer_id, got.producer_epoch
    sent = batch(b"a", b"b", pid=pid, epoch=epoch, sequence=0)
    assert machine.produce("t", 0, sent, name="t").error_code == 0
    ((partition,),) = (each.partitions for each in producers(machine, ("t", (0,))))
    (found,) = partition.active_producers
    assert (found.producer_id, found.producer_epoch, found.last_sequence) == (pid, epoch, 1)
    assert (found.last_timestamp, found.current_txn_start_offset) == (TIME, 1)
    assert machine.end(pid, epoch).error_code == 0
    ((partition,),) = (each.partitions for each in producers(machine, ("t", (0,))))
    (found,) = partition.active_producers
    assert (found.current_txn_start_offset, found.last_sequence) == (-1, -1)
    assert found.coordinator_epoch == 0


def test_X3_producers_of_unknown_and_repeated_partitions(machine: Machine) -> None:
    known, unknown, illegal = producers(
        machine, ("t", (0, 9, 0)), ("t", (0,)), ("unknown", (0,)), ("no/name", (0,))
    )
    assert [each.error_code for each in known.partitions] == [0, UNKNOWN]
    assert unknown.partitions[0].error_code == UNKNOWN
    assert illegal.partitions[0].error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
