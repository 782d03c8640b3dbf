"""A topic that is deleted and made anew under its old name is another topic."""

from __future__ import annotations

import pytest

from flowstream.broker.types import TopicPartition
from flowstream.wire.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
)
from flowstream.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from tests.broker.machine import Machine, batch
from tests.broker.metadata.test_handlers import create


def delete_records(topic: str, before: int) -> DeleteRecordsRequest:
    """Delete the records of partition 0 below an offset."""
    partition = DeleteRecordsPartition(partition_index=0, offset=before)
    wanted = DeleteRecordsTopic(name=topic, partitions=(partition,))
    return DeleteRecordsRequest(topics=(wanted,), timeout_ms=1000)


@pytest.mark.parametrize("seed", range(6))
def test_L2_a_topic_made_anew_inherits_nothing_of_the_one_that_had_its_name(seed: int) -> None:
    made = Machine(seed)
    create(made, "t")
    for _ in range(10):
        made.produce("t", 0, batch(b"old"))
    made.ask(delete_records("t", 8), 2)
    made.wait(61_000)  # the recovery point is written
    made.ask(DeleteTopicsRequest(topics=(DeleteTopicState(name="t"),)), 6)
    if seed % 2:
        made.crash()
    create(made, "t")
    for number in range(5):
        made.produce("t", 0, batch(b"new%d" % number))
    made.crash()
    assert made.read("t") == [b"new%d" % number for number in range(5)]
    assert not made.cores.logs.by_name[TopicPartition("t", 0)].gaps
