"""A partition that keeps the broker from starting is given up: the others are untouched, nothing is
deleted, and no offset is given out twice.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from flowstream.broker.cores import METADATA_LOG
from flowstream.broker.doors import Overwrite, Remove, Rename, Replace
from flowstream.broker.inspection.setting_aside import NotRefused, SetAside, set_aside
from flowstream.broker.log.checkpoints import CLEAN_SHUTDOWN, CorruptCheckpoint
from flowstream.broker.log.journal import FILES, Piece, encode_frame
from flowstream.broker.log.names import LOG, file_path
from flowstream.broker.storage.memory import Crashed, MemoryStorage
from flowstream.broker.types import TopicPartition
from flowstream.errors import CorruptLog, FlowstreamError
from flowstream.wire.batch import encode_batch
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from flowstream.wire.messages.delete_topics import DeleteTopicsRequest
from tests.broker.machine import TIME, Machine, batch, produce
from tests.broker.node import test_upkeep as upkeep

PATH = file_path("t-1", 0, LOG)
NAME = TopicPartition("t", 1)
BATCHES = 4


def filled() -> Machine:
    """A broker with four records in each of three partitions, the newest in its journal."""
    made = Machine()
    topic = CreatableTopic(name="t", num_partitions=3, replication_factor=1)
    made.ask(CreateTopicsRequest(topics=(topic,), timeout_ms=1000), 5)
    for number in range(BATCHES):
        for partition in range(3):
            made.post(produce("t", partition, batch(b"%d" % number)), 9)
        made.settle()
    return made


def flip(storage: MemoryStorage) -> None:
    """Change a byte of the first record."""
    changed = bytes([storage.read(PATH, 70, 1)[0] ^ 1])
    storage.sync(storage.perform([Overwrite(PATH, 70, changed)]))


def lose(storage: MemoryStorage) -> None:
    """Take the whole directory away."""
    storage.perform([Rename("t-1", "elsewhere")])


def shorten(storage: MemoryStorage) -> None:
    """Take the log away."""
    storage.perform([Remove(PATH)])


def refused(made: Machine) -> bool:
    """Whether a start is refused for this partition, with the way out."""
    told = ""
    try:
        made.open()
    except (CorruptLog, CorruptCheckpoint) as error:
        told = str(error)
    assert not told or "--set-aside t-1" in told
    return bool(told)


def damaged(damage: Callable[[MemoryStorage], None]) -> Machine:
    """A broker that was stopped, and lost its mark."""
    made = filled()
    made.stop()
    made.storage.perform([Remove(CLEAN_SHUTDOWN)])
    damage(made.storage)
    assert refused(made)
    return made


def put_aside(made: Machine) -> SetAside:
    plan = set_aside(made.storage, NAME, made.now)
    made.storage.sync(made.storage.perform(plan.operations))
    return plan


def garble(storage: MemoryStorage) -> None:
    """Write nonsense into a file that says where leader epochs begin."""
    storage.perform([Replace("t-1/leader-epoch-checkpoint", b"nonsense")])


@pytest.mark.parametrize("damage", [flip, lose, shorten, garble])
def test_L1_the_broker_starts_and_no_offset_is_given_out_twice(
    damage: Callable[[MemoryStorage], None],
) -> None:
    made = damaged(damage)
    plan = put_aside(made)
    assert plan.aside == (None if damage is lose else "t-1-stray")
    assert plan.begin == BATCHES
    made.open()
    log = made.cores.logs.by_name[NAME]
    assert (log.log_start, log.log_end) == (BATCHES, BATCHES)
    assert made.produce("t", 1, batch(b"new")).base_offset == BATCHES
    assert made.read("t", 0) == made.read("t", 2) == [b"%d" % n for n in range(BATCHES)]
    made.crash()
    assert made.cores.logs.by_name[NAME].log_start == BATCHES
    if damage is flip:
        assert made.storage.size(file_path("t-1-stray", 0, LOG)), "nothing is deleted"


def test_a_topic_that_was_put_aside_can_be_deleted() -> None:
    made = damaged(flip)
    put_aside(made)
    made.open()
    (deleted,) = made.ask(DeleteTopicsRequest(topic_names=("t",)), 5).responses
    assert deleted.error_code == ErrorCode.NONE
    made.crash()
    assert NAME not in made.cores.logs.by_name


def test_D3_what_the_journal_says_was_synced_and_is_not_there_is_given_up_too() -> None:
    """The journal's piece of the partition begins behind the end of the file."""
    made = filled()
    made.stop()
    lost = bytes(encode_batch([(TIME, b"k", b"v", ())] * 2, base_offset=40))
    piece = Piece(PATH, (made.storage.size(PATH) or 0) + 7, lost)
    frame = bytes(encode_frame(1, 1, b"saltsalt", [piece]))
    made.storage.perform([Remove(CLEAN_SHUTDOWN), Replace(FILES[0], frame)])
    assert refused(made)
    plan = put_aside(made)
    assert plan == (plan.operations, "t-1-stray", 42)
    made.open()
    assert made.cores.logs.by_name[NAME].log_start == 42
    assert made.read("t", 0) == [b"%d" % n for n in range(BATCHES)]


def test_D5_a_crash_at_every_operation_leaves_what_can_be_put_aside() -> None:
    steps = 0
    while True:
        made = damaged(flip)
        made.storage.crash_at(made.storage.operations + steps)
        try:
            put_aside(made)
        except Crashed:
            over = False
        else:
            over = True
        made.storage.crash(random.Random(steps))
        if refused(made):
            assert put_aside(made).begin == BATCHES
            made.open()
        assert made.cores.logs.by_name[NAME].log_start == BATCHES
        steps += 1
        if over:
            break
    assert steps > 3


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (TopicPartition("t", 0), "no start is refused for t-0"),
        (TopicPartition("t", 3), "no topic has a partition t-3"),
        (TopicPartition("absent", 0), "no topic has a partition absent-0"),
        (METADATA_LOG, "restore it from a copy"),
    ],
)
def test_D7_what_is_whole_or_is_not_there_is_refused(name: TopicPartition, told: str) -> None:
    made = damaged(flip)
    with pytest.raises(FlowstreamError, match=told) as caught:
        set_aside(made.storage, name, made.now)
    assert isinstance(caught.value, NotRefused) == ("no start" in told)


def test_L2_what_was_compacted_and_no_longer_is_is_not_given_up() -> None:
    """The gaps that compaction left stay when the policy changes: a start knows them."""
    made = upkeep.machine()
    log = upkeep.compacted(made, min_compaction_lag_ms="1000000")
    upkeep.fill(made, 4)
    made.wait(61_000)  # recovery points are written
    upkeep.fill(made)
    upkeep.alter(made, "min.compaction.lag.ms", "0")
    made.wait(5_000)
    assert 0 < log.recovery_point < upkeep.offsets(log)[0], "there is a gap to read over"
    upkeep.alter(made, "cleanup.policy", "delete")
    upkeep.fill(made, 4)
    made.crash()
    with pytest.raises(NotRefused):
        set_aside(made.storage, upkeep.TOPIC, made.now)
