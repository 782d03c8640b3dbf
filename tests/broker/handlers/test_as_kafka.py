"""Answers in which this broker once differed from Apache Kafka; `tests/interop/test_differential`
asks both.
"""

from __future__ import annotations

from typing import Any

import pytest

from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnTopic,
)
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from flowstream.wire.messages.delete_groups import DeleteGroupsRequest
from flowstream.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from flowstream.wire.messages.describe_cluster import DescribeClusterRequest
from flowstream.wire.messages.describe_topic_partitions import (
    Cursor,
    DescribeTopicPartitionsRequest,
    TopicRequest,
)
from flowstream.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from flowstream.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from flowstream.wire.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from tests.broker.machine import Machine, batch


@pytest.fixture
def machine() -> Machine:
    """A topic `t` of one partition."""
    made = Machine()
    topic = CreatableTopic(name="t", num_partitions=1, replication_factor=1)
    assert made.ask(CreateTopicsRequest(topics=(topic,)), 7).topics[0].error_code == 0
    return made


def test_a_topic_that_is_named_and_identified_is_not_deleted(machine: Machine) -> None:
    topic_id = machine.cores.image.topics["t"].topic_id
    both = (DeleteTopicState(name="t"), DeleteTopicState(name=None, topic_id=topic_id))
    for topics in (both, both[::-1]):
        (result,) = machine.ask(DeleteTopicsRequest(topics=topics), 6).responses
        assert result.error_code == ErrorCode.INVALID_REQUEST
        assert (result.name, result.topic_id) == ("t", topic_id)
    assert "t" in machine.cores.image.topics
    (result,) = machine.ask(DeleteTopicsRequest(topics=both[1:]), 6).responses
    assert result.error_code == 0


@pytest.mark.parametrize("version", [10, 11])
def test_metadata_by_id_in_a_version_that_cannot_answer_it(machine: Machine, version: int) -> None:
    asked = MetadataRequestTopic(name=None, topic_id=b"x" * 16)
    (topic,) = machine.ask(MetadataRequest(topics=(asked,)), version).topics
    assert (topic.error_code, topic.name) == (ErrorCode.INVALID_REQUEST, "")


def test_an_endpoint_that_is_none(machine: Machine) -> None:
    for kind, error in (
        (1, ErrorCode.NONE),
        (2, ErrorCode.MISMATCHED_ENDPOINT_TYPE),
        (9, ErrorCode.UNSUPPORTED_ENDPOINT_TYPE),
    ):
        answer = machine.ask(DescribeClusterRequest(endpoint_type=kind), 2)
        assert (answer.error_code, answer.endpoint_type) == (error, 1)


def produce(machine: Machine, data: bytes, index: int = 0) -> Any:
    topic = TopicProduceData(
        topic_id=machine.cores.image.topics["t"].topic_id,
        partition_data=(PartitionProduceData(index=index, records=data),),
    )
    request = ProduceRequest(acks=-1, timeout_ms=1000, topic_data=(topic,))
    return machine.ask(request, 13).responses[0].partition_responses[0]


def test_a_partition_that_a_known_topic_does_not_have(machine: Machine) -> None:
    answer = produce(machine, batch(b"1"), 7)
    assert answer.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def test_a_sequence_error_tells_the_log_start(machine: Machine) -> None:
    from flowstream.wire.batch import encode_batch

    def sent(sequence: int) -> Any:
        more = {"producer_id": 7, "producer_epoch": 0, "base_sequence": sequence}
        return produce(machine, bytes(encode_batch([(1, b"k", b"v", ())], **more)))

    assert sent(0).error_code == 0
    answer = sent(5)
    assert answer.error_code == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert answer.log_start_offset == 0


def test_T1_the_coordinators_topics_join_no_transaction(machine: Machine) -> None:
    machine.ask(OffsetCommitRequest(group_id="g", topics=()), 8)
    begun = machine.init()
    topics = (
        AddPartitionsToTxnTopic(name="__consumer_offsets", partitions=(0,)),
        AddPartitionsToTxnTopic(name="t", partitions=(0,)),
    )
    request = AddPartitionsToTxnRequest(
        v3_and_below_transactional_id="t",
        v3_and_below_producer_id=begun.producer_id,
        v3_and_below_producer_epoch=begun.producer_epoch,
        v3_and_below_topics=topics,
    )
    refused, other = machine.ask(request, 3).results_by_topic_v3_and_below
    codes = [each.results_by_partition[0].partition_error_code for each in (refused, other)]
    assert codes == [ErrorCode.TOPIC_AUTHORIZATION_FAILED, ErrorCode.OPERATION_NOT_ATTEMPTED]


def test_a_group_that_is_named_twice_is_deleted_once(machine: Machine) -> None:
    partition = OffsetCommitRequestPartition(partition_index=0, committed_offset=1)
    topic = OffsetCommitRequestTopic(name="t", partitions=(partition,))
    machine.ask(OffsetCommitRequest(group_id="g", topics=(topic,)), 8)
    (result,) = machine.ask(DeleteGroupsRequest(groups_names=("g", "g")), 2).results
    assert result.error_code == 0


def test_a_topic_that_is_not_there_has_its_place_among_the_pages(machine: Machine) -> None:
    topics = (TopicRequest(name="u-absent"), TopicRequest(name="t"))
    request = DescribeTopicPartitionsRequest(topics=topics, response_partition_limit=1)
    first = machine.ask(request, 0)
    assert [each.name for each in first.topics] == ["t"], "the page is full"
    cursor = Cursor(topic_name="u-absent", partition_index=0)
    told = first.next_cursor
    assert (told.topic_name, told.partition_index) == ("u-absent", 0)
    rest = machine.ask(DescribeTopicPartitionsRequest(topics=topics, cursor=cursor), 0)
    answers = [(each.name, each.error_code) for each in rest.topics]
    assert answers == [("u-absent", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)]
    assert rest.next_cursor is None
