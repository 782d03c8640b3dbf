"""Requests about a group's offsets through a whole node, in every version, with crashes. What is
pinned here was compared with a real Kafka 4.3.1.
"""

from __future__ import annotations

from typing import Any

import pytest

from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages import offset_commit as commit
from flowstream.wire.messages import offset_delete as forget
from flowstream.wire.messages import offset_fetch as fetch
from flowstream.wire.messages import txn_offset_commit as txn
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from flowstream.wire.messages.delete_topics import DeleteTopicsRequest
from tests.broker.groups.requests import committing, enter, fetched, versions, with_topic
from tests.broker.machine import Machine


@pytest.fixture
def broker() -> Machine:
    return with_topic()


def in_transaction(
    owner: Any, offset: int, member: str = "", generation: int = -1
) -> txn.TxnOffsetCommitRequest:
    one = txn.TxnOffsetCommitRequestPartition(
        partition_index=0, committed_offset=offset, committed_metadata=None
    )
    return txn.TxnOffsetCommitRequest(
        transactional_id="t",
        group_id="g",
        producer_id=owner.producer_id,
        producer_epoch=owner.producer_epoch,
        member_id=member,
        generation_id=generation,
        topics=(txn.TxnOffsetCommitRequestTopic(name="t", partitions=(one,)),),
    )


@pytest.mark.parametrize("version", versions(9))
def test_an_unknown_group_has_offset_minus_one_and_no_error(broker: Machine, version: int) -> None:
    for partition in offsets_in_every_shape(broker, version, "nobody"):
        assert partition.committed_offset == -1
        assert (partition.error_code, partition.metadata) == (0, "")


@pytest.mark.parametrize("version", versions(9))
def test_an_offset_can_be_fetched_in_every_version(broker: Machine, version: int) -> None:
    broker.ask(committing(7), 9)
    broker.crash()
    (partition,) = offsets_in_every_shape(broker, version, "g")
    assert (partition.committed_offset, partition.metadata) == (7, "m")


def offsets_in_every_shape(broker: Machine, version: int, group: str) -> tuple[Any, ...]:
    """Partition 0 of `t`, asked for in the way of `version`."""
    if version < 8:
        asked = fetch.OffsetFetchRequestTopic(name="t", partition_indexes=(0,))
        answer = broker.ask(fetch.OffsetFetchRequest(group_id=group, topics=(asked,)), version)
        return tuple(answer.topics[0].partitions)
    topic_id = broker.cores.image.topics["t"].topic_id
    topic = fetch.OffsetFetchRequestTopics(
        name="t" if version < 10 else "",
        topic_id=topic_id if version >= 10 else bytes(16),
        partition_indexes=(0,),
    )
    asked_of = fetch.OffsetFetchRequestGroup(group_id=group, topics=(topic,))
    answer = broker.ask(fetch.OffsetFetchRequest(groups=(asked_of,)), version)
    (of_group,) = answer.groups
    assert (of_group.group_id, of_group.error_code) == (group, 0)
    assert (of_group.topics[0].topic_id == topic_id) == (version >= 10)
    return tuple(of_group.topics[0].partitions)


@pytest.mark.parametrize("version", range(2, 11))
def test_all_offsets_can_be_asked_for(broker: Machine, version: int) -> None:
    broker.ask(committing(7), 9)
    broker.ask(committing(8, partition=1), 9)
    if version < 8:
        topics = broker.ask(fetch.OffsetFetchRequest(group_id="g", topics=None), version).topics
    else:
        all_of = fetch.OffsetFetchRequestGroup(group_id="g", topics=None)
        topics = broker.ask(fetch.OffsetFetchRequest(groups=(all_of,)), version).groups[0].topics
    (topic,) = topics
    assert [each.committed_offset for each in topic.partitions] == [7, 8]


def test_topics_by_id_are_committed_and_unknown_ids_refused(broker: Machine) -> None:
    topic_id = broker.cores.image.topics["t"].topic_id
    one = commit.OffsetCommitRequestPartition(
        partition_index=0, committed_offset=5, committed_metadata=None
    )
    topics = tuple(
        commit.OffsetCommitRequestTopic(topic_id=each, partitions=(one,))
        for each in (topic_id, b"q" * 16)
    )
    known, unknown = broker.ask(commit.OffsetCommitRequest(group_id="g", topics=topics), 10).topics
    assert (known.topic_id, known.partitions[0].error_code) == (topic_id, 0)
    assert unknown.partitions[0].error_code == ErrorCode.UNKNOWN_TOPIC_ID
    assert fetched(broker) == [(5, 0)]
    asked = fetch.OffsetFetchRequestTopics(topic_id=b"q" * 16, partition_indexes=(0,))
    group = fetch.OffsetFetchRequestGroup(group_id="g", topics=(asked,))
    answer = broker.ask(fetch.OffsetFetchRequest(groups=(group,)), 10).groups[0].topics[0]
    assert answer.partitions[0].error_code == ErrorCode.UNKNOWN_TOPIC_ID


def test_unknown_partitions_and_long_metadata_are_refused_one_by_one(broker: Machine) -> None:
    parts = [(0, "m"), (9, "m"), (1, "m" * 5000)]
    one = tuple(
        commit.OffsetCommitRequestPartition(
            partition_index=number, committed_offset=5, committed_metadata=text
        )
        for number, text in parts
    )
    topics = (
        commit.OffsetCommitRequestTopic(name="t", partitions=one),
        commit.OffsetCommitRequestTopic(name="u", partitions=one[:1]),
    )
    answer = broker.ask(commit.OffsetCommitRequest(group_id="g", topics=topics), 9)
    assert [each.error_code for topic in answer.topics for each in topic.partitions] == [
        ErrorCode.NONE,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.OFFSET_METADATA_TOO_LARGE,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ]
    assert fetched(broker, 0, 1) == [(5, 0), (-1, 0)]


def test_G2_a_transactional_commit_is_unstable_until_decided_whatever_crashes(
    broker: Machine,
) -> None:
    member, generation = enter(broker)
    owner = broker.init()
    broker.ask(committing(1, member, generation), 9)
    answer = broker.ask(in_transaction(owner, 6, member, generation), 5)
    assert answer.topics[0].partitions[0].error_code == 0
    for _ in range(2):
        assert fetched(broker, stable=True) == [(-1, ErrorCode.UNSTABLE_OFFSET_COMMIT)]
        assert fetched(broker) == [(1, 0)]
        broker.crash()
    assert broker.end(owner.producer_id, owner.producer_epoch).error_code == 0
    assert fetched(broker, stable=True) == [(6, 0)]
    broker.crash()
    assert fetched(broker, stable=True) == [(6, 0)]


def test_G1_a_zombie_of_the_group_cannot_commit_in_its_transaction(broker: Machine) -> None:
    member, generation = enter(broker)
    owner = broker.init()
    for claim, error in (
        ((member, generation - 1), ErrorCode.ILLEGAL_GENERATION),
        (("stranger", generation), ErrorCode.UNKNOWN_MEMBER_ID),
    ):
        answer = broker.ask(in_transaction(owner, 6, *claim), 5)
        assert answer.topics[0].partitions[0].error_code == error
    assert fetched(broker, stable=True) == [(-1, 0)]
    assert not broker.cores.logs.by_name[
        next(name for name in broker.cores.logs.by_name if name.topic == "__consumer_offsets")
    ].open_transactions


@pytest.mark.parametrize("version", range(5))
def test_T1_without_having_joined_the_transaction_no_offset_is_committed(
    broker: Machine, version: int
) -> None:
    owner = broker.init()
    answer = broker.ask(in_transaction(owner, 6), version)
    error = ErrorCode.TRANSACTION_ABORTABLE if version >= 4 else ErrorCode.INVALID_TXN_STATE
    assert answer.topics[0].partitions[0].error_code == error
    assert fetched(broker, stable=True) == [(-1, 0)]


def test_a_stale_epoch_cannot_commit(broker: Machine) -> None:
    old = broker.init()
    broker.init()
    answer = broker.ask(in_transaction(old, 6), 5)
    assert answer.topics[0].partitions[0].error_code == ErrorCode.INVALID_PRODUCER_EPOCH


def test_offsets_are_deleted_one_by_one(broker: Machine) -> None:
    broker.ask(committing(7), 9)
    broker.ask(committing(8, partition=1), 9)
    parts = tuple(forget.OffsetDeleteRequestPartition(partition_index=each) for each in (0, 9))
    topics = (forget.OffsetDeleteRequestTopic(name="t", partitions=parts),)
    answer = broker.ask(forget.OffsetDeleteRequest(group_id="g", topics=topics), 0)
    assert answer.error_code == 0
    assert [each.error_code for each in answer.topics[0].partitions] == [
        0,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ]
    broker.crash()
    assert fetched(broker, 0, 1) == [(-1, 0), (8, 0)]
    nameless = broker.ask(forget.OffsetDeleteRequest(group_id="", topics=topics), 0)
    assert nameless.error_code == ErrorCode.INVALID_GROUP_ID
    absent = broker.ask(forget.OffsetDeleteRequest(group_id="no", topics=topics), 0)
    assert absent.error_code == ErrorCode.GROUP_ID_NOT_FOUND


def test_a_deleted_topic_takes_its_offsets_along(broker: Machine) -> None:
    broker.ask(committing(7), 9)
    broker.ask(DeleteTopicsRequest(topic_names=("t",)), 5)
    topics = (CreatableTopic(name="t", num_partitions=2, replication_factor=1),)
    broker.ask(CreateTopicsRequest(topics=topics), 5)
    assert fetched(broker) == [(-1, 0)]
    broker.crash()
    assert fetched(broker) == [(-1, 0)]
