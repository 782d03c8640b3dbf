"""ListOffsets: timestamps that name a place, the leader epoch of what was found, bytes gone bad."""

from __future__ import annotations

from typing import Any

import pytest

from flowstream.broker.types import TopicPartition
from flowstream.wire.batch import encode_batch
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from flowstream.wire.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsTopic,
)
from tests.broker.machine import TIME, Machine


@pytest.fixture
def machine() -> Machine:
    """A topic with three records under leader epoch 0 and three under epoch 4."""
    made = Machine()
    wanted = CreatableTopic(name="t", num_partitions=1, replication_factor=1)
    made.ask(CreateTopicsRequest(topics=(wanted,), timeout_ms=1000), 5)
    for number in range(6):
        if number == 3:
            log = made.node.cores.logs.by_name[TopicPartition("t", 0)]
            made.storage.perform(log.lead(4))
        made.produce("t", 0, bytes(encode_batch([(TIME + number, None, b"x", ())])))
    return made


def look_up(machine: Machine, timestamp: int, version: int = 9) -> Any:
    asked = ListOffsetsPartition(partition_index=0, timestamp=timestamp)
    request = ListOffsetsRequest(
        replica_id=-1, topics=(ListOffsetsTopic(name="t", partitions=(asked,)),)
    )
    return machine.ask(request, version).topics[0].partitions[0]


@pytest.mark.parametrize(
    ("timestamp", "offset", "leader_epoch"),
    [
        (-1, 6, 4),
        (-2, 0, 0),
        (-3, 5, 4),
        (-4, 0, 0),
        (-5, -1, -1),
        (TIME + 1, 1, 0),
        (TIME + 4, 4, 4),
        (TIME + 6, -1, -1),
    ],
)
def test_what_is_found_has_the_epoch_it_was_written_under(
    machine: Machine, timestamp: int, offset: int, leader_epoch: int
) -> None:
    """KIP-320: a consumer that starts there asks its leader whether that epoch reaches so far."""
    found = look_up(machine, timestamp)
    assert (found.offset, found.leader_epoch) == (offset, leader_epoch)


def test_no_epoch_in_versions_without_one(machine: Machine) -> None:
    assert look_up(machine, -1, 3).leader_epoch == -1


def test_bytes_gone_bad_cost_that_partition_an_error_and_no_more(machine: Machine) -> None:
    """D6: what an earlier process wrote is checked before an offset is taken from it."""
    log = machine.cores.logs.by_name[TopicPartition("t", 0)]
    log.active.own_from = log.active.size
    machine.storage.flip(log.active.path, 7)
    assert look_up(machine, TIME + 4).error_code == ErrorCode.KAFKA_STORAGE_ERROR
    assert look_up(machine, -1).offset == 6
