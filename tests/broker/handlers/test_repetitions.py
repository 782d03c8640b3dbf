"""X3: what is asked for again and again in one request does not multiply its answer, however the
repetitions differ in what the answer does not depend on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from flowstream.wire.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
)
from flowstream.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from flowstream.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from flowstream.wire.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopic,
    OffsetFetchRequestTopics,
)
from flowstream.wire.schema import encode
from tests.broker.machine import Machine

TIMES = 300


@pytest.fixture(scope="module")
def machine() -> Machine:
    made = Machine()
    wanted = CreatableTopic(name="t", num_partitions=50, replication_factor=1)
    made.ask(CreateTopicsRequest(topics=(wanted,), timeout_ms=1000), 5)
    positions = tuple(
        OffsetCommitRequestPartition(
            partition_index=number, committed_offset=number, committed_metadata="m" * 1000
        )
        for number in range(50)
    )
    commit = OffsetCommitRequest(
        group_id="g",
        generation_id_or_member_epoch=-1,
        member_id="",
        topics=(OffsetCommitRequestTopic(name="t", partitions=positions),),
    )
    made.ask(commit, 8)
    return made


def by_name(machine: Machine, times: int) -> Any:
    topics = (
        MetadataRequestTopic(name="t", topic_id=bytes([7, n % 256] * 8)) for n in range(times)
    )
    return MetadataRequest(topics=tuple(topics)), 12


def by_id(machine: Machine, times: int) -> Any:
    id = machine.cores.image.topics["t"].topic_id
    return MetadataRequest(topics=(MetadataRequestTopic(name=None, topic_id=id),) * times), 12


def by_group(machine: Machine, times: int) -> Any:
    groups = (
        OffsetFetchRequestGroup(group_id="g", member_id=str(n), topics=None) for n in range(times)
    )
    return OffsetFetchRequest(groups=tuple(groups)), 9


def by_topic(machine: Machine, times: int) -> Any:
    topic = OffsetFetchRequestTopics(name="t", partition_indexes=(0,))
    group = OffsetFetchRequestGroup(group_id="g", topics=(topic,) * times)
    return OffsetFetchRequest(groups=(group,)), 9


def by_topic_id(machine: Machine, times: int) -> Any:
    id = machine.cores.image.topics["t"].topic_id
    topic = OffsetFetchRequestTopics(topic_id=id, partition_indexes=(3,))
    group = OffsetFetchRequestGroup(group_id="g", topics=(topic,) * times)
    return OffsetFetchRequest(groups=(group,)), 10


def by_unknown_id(machine: Machine, times: int) -> Any:
    topic = OffsetFetchRequestTopics(
        topic_id=b"?" * 16, partition_indexes=(3,) * (times // 20 or 1)
    )
    group = OffsetFetchRequestGroup(group_id="g", topics=(topic,) * times)
    return OffsetFetchRequest(groups=(group,)), 10


def by_partition(machine: Machine, times: int) -> Any:
    topic = OffsetFetchRequestTopics(name="t", partition_indexes=(3,) * times)
    group = OffsetFetchRequestGroup(group_id="g", topics=(topic,))
    return OffsetFetchRequest(groups=(group,)), 9


def by_partition_of_old(machine: Machine, times: int) -> Any:
    topic = OffsetFetchRequestTopic(name="t", partition_indexes=(3,) * (times // 20 or 1))
    return OffsetFetchRequest(group_id="g", topics=(topic,) * times), 7


def by_key(machine: Machine, times: int) -> Any:
    resources = (
        DescribeConfigsResource(
            resource_type=2, resource_name="t", configuration_keys=(str(n), "retention.ms")
        )
        for n in range(times)
    )
    return DescribeConfigsRequest(resources=tuple(resources)), 4


@pytest.mark.parametrize(
    "build",
    [
        by_name,
        by_id,
        by_group,
        by_topic,
        by_topic_id,
        by_unknown_id,
        by_partition,
        by_partition_of_old,
        by_key,
    ],
)
def test_X3_repetitions_do_not_multiply_the_answer(
    machine: Machine, build: Callable[[Machine, int], Any]
) -> None:
    once, version = build(machine, 1)
    again, _ = build(machine, TIMES)
    answer = encode(machine.ask(once, version), version)
    assert encode(machine.ask(again, version), version) == answer
    assert len(answer) > 20


def test_G6_a_topic_that_is_named_again_for_other_partitions_is_told_of_all(
    machine: Machine,
) -> None:
    """A position that is not told is taken for none, and its reader begins anew."""
    id = machine.cores.image.topics["t"].topic_id
    numbers = ((1, 0), (0, 2))
    old = tuple(OffsetFetchRequestTopic(name="t", partition_indexes=each) for each in numbers)
    answer = machine.ask(OffsetFetchRequest(group_id="g", topics=old), 7)
    assert told(answer.topics) == [1, 0, 2]
    for version, named in (
        (9, {"name": "t"}),
        (10, {"topic_id": id}),
        (10, {"topic_id": b"?" * 16}),
    ):
        topics = tuple(OffsetFetchRequestTopics(partition_indexes=p, **named) for p in numbers)
        group = OffsetFetchRequestGroup(group_id="g", topics=topics)
        (found,) = machine.ask(OffsetFetchRequest(groups=(group,)), version).groups
        assert told(found.topics) == [1, 0, 2]


def told(topics: Any) -> list[int]:
    return [part.partition_index for topic in topics for part in topic.partitions]
