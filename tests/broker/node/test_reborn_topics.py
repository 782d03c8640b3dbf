"""A topic that is deleted and made again at once: its directories are not those of the one before
it, whenever the machine goes down.
"""

from __future__ import annotations

import itertools

import pytest

from flowstream.broker.storage.memory import Crashed
from flowstream.wire.messages.end_txn import EndTxnRequest
from flowstream.wire.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
)
from flowstream.wire.messages.txn_offset_commit import (
    TxnOffsetCommitRequest,
    TxnOffsetCommitRequestPartition,
    TxnOffsetCommitRequestTopic,
)
from tests.broker.handlers.test_slicing import creation, deletion
from tests.broker.machine import Machine, batch, produce


def interrupted(machine: Machine, step: int, *, settles: bool) -> bool:
    """Delete the topic and make it again, with a crash before an operation of that, if it has so
    many.
    """
    machine.storage.crash_at(machine.storage.operations + step)
    try:
        machine.post(deletion("t"), 6)
        if settles:
            machine.settle()
        machine.post(creation("t", partitions=2), 5)
        machine.settle()
    except Crashed:
        machine.crash()
        return True
    return False


@pytest.mark.parametrize("settles", [True, False])
@pytest.mark.parametrize("fsync", [True, False])
def test_D5_L1_a_crash_at_any_operation_leaves_one_topic_of_a_name(
    fsync: bool, settles: bool
) -> None:
    """A start refused, for want of a guess, where the record of the new topic was on the disk and
    the directory of the old one had its name still.
    """
    found = set()
    for seed in range(12):
        for step in itertools.count():
            machine = Machine(seed, fsync=fsync)
            machine.ask(creation("t", "kept", partitions=2), 5)
            machine.ask(produce("t", 0, batch(b"old")), 8)
            before = machine.cores.image.topics["t"].topic_id
            if not interrupted(machine, step, settles=settles):
                break
            topic = machine.cores.image.topics.get("t")
            found.add(None if topic is None else topic.topic_id == before)
            if topic is not None:
                assert machine.read("t") == ([b"old"] if topic.topic_id == before else [])
    assert found >= {None, True}


def test_D7_a_kill_at_any_operation_of_a_deletion_leaves_no_directory_of_nobody() -> None:
    """Under durability `os` a directory may have records before it says whose it is: it was kept
    aside, for ever.
    """
    ends = set()
    for seed in range(12):
        for step in itertools.count():
            machine = Machine(seed, fsync=False)
            machine.post(creation("t", partitions=2), 5)
            machine.post(produce("t", 0, batch(b"old")), 8)
            machine.storage.crash_at(machine.storage.operations + step)
            try:
                machine.ask(deletion("t"), 6)
            except Crashed:
                machine.crash()
            else:
                break
            assert [line for line in machine.report if "kept aside" in line] == []
            assert {name for name in machine.storage.names("") if name.endswith("stray")} == set()
            ends.add("t" in machine.cores.image.topics)
    assert ends == {True, False}


def test_S11_no_offset_of_a_deleted_topic_counts_in_the_next_of_its_name() -> None:
    """A crash may come between the removal of a topic and that of the offsets in it. One that was
    committed in a transaction said nothing of which topic it was of, and the group passed over the
    first records of the new one.
    """
    kept = 0
    for seed in range(4):
        for step in itertools.count():
            machine = Machine(seed)
            machine.ask(creation("t"), 5)
            commit_in_transaction(machine, 5)
            machine.storage.crash_at(machine.storage.operations + step)
            try:
                machine.ask(deletion("t"), 6)
            except Crashed:
                machine.crash()
            else:
                break
            if "t" not in machine.cores.image.topics:
                kept += bool(machine.cores.groups.offsets.of("g"))
                machine.ask(creation("t"), 5)
                assert position(machine) == -1
    assert kept, "no crash came in between"


def commit_in_transaction(machine: Machine, offset: int) -> None:
    """A group's position, committed together with nothing else."""
    owner = machine.init()
    place = TxnOffsetCommitRequestPartition(partition_index=0, committed_offset=offset)
    body = TxnOffsetCommitRequest(
        transactional_id="t",
        group_id="g",
        producer_id=owner.producer_id,
        producer_epoch=owner.producer_epoch,
        topics=(TxnOffsetCommitRequestTopic(name="t", partitions=(place,)),),
    )
    assert machine.ask(body, 5).topics[0].partitions[0].error_code == 0
    end = EndTxnRequest(
        transactional_id="t",
        producer_id=owner.producer_id,
        producer_epoch=owner.producer_epoch,
        committed=True,
    )
    assert machine.ask(end, 5).error_code == 0
    assert position(machine) == offset


def position(machine: Machine) -> int:
    """What the group is told."""
    topics = (OffsetFetchRequestTopics(name="t", partition_indexes=(0,)),)
    groups = (OffsetFetchRequestGroup(group_id="g", topics=topics),)
    answer = machine.ask(OffsetFetchRequest(groups=groups, require_stable=True), 8)
    found: int = answer.groups[0].topics[0].partitions[0].committed_offset
    return found
