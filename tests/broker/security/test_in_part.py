"""What a user is told that may do a part of what it asks, in which this broker once differed from
Apache Kafka; `tests/interop/differential/partial` asks both.
"""

from __future__ import annotations

from flowstream.wire.acl_codes import Permission, ResourceType
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnTopic,
)
from flowstream.wire.messages.consumer_group_describe import ConsumerGroupDescribeRequest
from flowstream.wire.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest
from flowstream.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from flowstream.wire.messages.describe_topic_partitions import (
    Cursor,
    DescribeTopicPartitionsRequest,
    TopicRequest,
)
from tests.broker.machine import Machine
from tests.broker.security.test_gate import NOT_ASKED, O, T, allow, ask, machine

__all__ = ["machine"]


def test_pages_go_on_behind_a_topic_that_is_gone_or_hidden_meanwhile(machine: Machine) -> None:
    for name in ("mine", "other", "__none"):
        allow(machine, O.DESCRIBE, name)
    for cursor in ("mine", "middle", "aaa"):
        asked = DescribeTopicPartitionsRequest(
            topics=(), cursor=Cursor(topic_name=cursor, partition_index=0)
        )
        told = [(t.name, t.error_code) for t in ask(machine, asked, 0).topics]
        assert told == [(n, 0) for n in ("mine", "other") if n >= cursor]
    allow(machine, O.DESCRIBE, "mine", permission=Permission.DENY)
    topics = tuple(TopicRequest(name=name) for name in ("absent", "mine", "other"))
    asked = DescribeTopicPartitionsRequest(
        topics=topics, cursor=Cursor(topic_name="mine", partition_index=3)
    )
    told = [(t.name, t.error_code) for t in ask(machine, asked, 0).topics]
    assert told == [("other", 0), ("mine", T)]
    nowhere = DescribeTopicPartitionsRequest(
        topics=topics, cursor=Cursor(topic_name="no", partition_index=0)
    )
    assert {t.error_code for t in ask(machine, nowhere, 0).topics} == {ErrorCode.INVALID_REQUEST}
    nowhere = DescribeTopicPartitionsRequest(
        topics=(), cursor=Cursor(topic_name="mine", partition_index=-1)
    )
    codes = {t.error_code for t in ask(machine, nowhere, 0).topics}
    assert codes == {ErrorCode.INVALID_REQUEST}


def test_X2_who_may_not_describe_a_topic_does_not_delete_it_by_name(machine: Machine) -> None:
    """Apache Kafka: Delete is not enough where Describe is denied, and who may describe is told
    what is not there.
    """
    allow(machine, O.DELETE, "*")
    allow(machine, O.DESCRIBE, "other", permission=Permission.DENY)
    allow(machine, O.DELETE, "gone", permission=Permission.DENY)
    wanted = ("other", "gone", "mine")
    answer = ask(machine, DeleteTopicsRequest(topic_names=wanted), 5)
    expected = {"other": T, "gone": ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "mine": 0}
    assert {t.name: t.error_code for t in answer.responses} == expected
    assert "other" in machine.cores.image.topics
    states = tuple(DeleteTopicState(name=name) for name in wanted)
    answer = ask(machine, DeleteTopicsRequest(topics=states), 6)
    expected["mine"] = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert {t.name: t.error_code for t in answer.responses} == expected


def test_X2_a_group_with_hidden_topics_is_not_told_of(machine: Machine) -> None:
    joins = ConsumerGroupHeartbeatRequest(
        group_id="g",
        member_id="m",
        member_epoch=0,
        rebalance_timeout_ms=60_000,
        subscribed_topic_names=("mine", "other"),
        topic_partitions=(),
    )
    assert machine.ask(joins, 1).error_code == 0
    allow(machine, O.DESCRIBE, "g", ResourceType.GROUP)
    asked = ConsumerGroupDescribeRequest(group_ids=("g",), include_authorized_operations=True)
    allow(machine, O.DESCRIBE)
    (group,) = ask(machine, asked, 1).groups
    assert (group.error_code, group.group_state, group.group_epoch) == (T, "", 0)
    assert (group.members, group.authorized_operations) == ((), NOT_ASKED)
    allow(machine, O.DESCRIBE, "other")
    (group,) = ask(machine, asked, 1).groups
    assert (group.error_code, group.group_state, len(group.members)) == (0, "Stable", 1)


def test_partitions_that_do_not_join_are_told_why(machine: Machine) -> None:
    allow(machine, O.WRITE)
    allow(machine, O.WRITE, "gone")
    allow(machine, O.WRITE, "x", ResourceType.TRANSACTIONAL_ID)
    names = ("mine", "gone", "other")
    topics = tuple(AddPartitionsToTxnTopic(name=name, partitions=(0,)) for name in names)
    asked = AddPartitionsToTxnRequest(v3_and_below_transactional_id="x", v3_and_below_topics=topics)
    told = ask(machine, asked, 3).results_by_topic_v3_and_below
    assert {t.name: t.results_by_partition[0].partition_error_code for t in told} == {
        "mine": ErrorCode.OPERATION_NOT_ATTEMPTED,
        "gone": ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        "other": T,
    }
