"""A metadata log whose beginning is in one of Kafka's snapshots (KIP-630), as that of every Apache
Kafka that ran for more than a week."""

from __future__ import annotations

import contextlib
import struct

import pytest

from flowstream.broker.doors import Append, Remove
from flowstream.broker.storage.memory import MemoryStorage
from flowstream.errors import CorruptLog, FlowstreamError
from flowstream.wire.batch import decode_records, encode_batch, iter_batches
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from flowstream.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from tests.broker.machine import TIME, Machine

METADATA = "__cluster_metadata-0"
SNAPSHOT = f"{METADATA}/{{:020d}}-0000000001.checkpoint"
HEADER, FOOTER = 3, 4


def create(machine: Machine, name: str) -> None:
    wanted = CreatableTopic(name=name, num_partitions=2, replication_factor=1)
    machine.ask(CreateTopicsRequest(topics=(wanted,), timeout_ms=1000), 5)


def control(kind: int, base_offset: int) -> bytearray:
    key, value = struct.pack(">hh", 0, kind), struct.pack(">h", 0)
    return encode_batch([(TIME, key, value, ())], base_offset=base_offset, control=True)


def shortened(machine: Machine, keep: int) -> tuple[MemoryStorage, int]:
    """The machine's disk as Kafka leaves one: the last `keep` batches of the metadata in the log,
    what comes before them in a snapshot. And the offset where the log begins now.
    """
    storage = machine.storage
    path = f"{METADATA}/{0:020d}.log"
    raw = bytes(storage.read(path, 0, storage.size(path) or 0))
    batches = [raw[at : at + header.size] for at, header in iter_batches(raw)]
    start = [header.base_offset for _, header in iter_batches(raw)][-keep]
    said = [
        (TIME, record.key, record.value, ())
        for (_, header), batch in zip(iter_batches(raw), batches, strict=True)
        if header.base_offset < start and not header.is_control
        for record in decode_records(batch)
    ]
    parts = [control(HEADER, 0), encode_batch(said, base_offset=1), control(FOOTER, len(said) + 1)]
    for name in storage.names(METADATA):
        storage.perform([Remove(f"{METADATA}/{name}")] if name[0].isdigit() else [])
    storage.perform([Append(f"{METADATA}/{start:020d}.log", batches[-keep:])])
    storage.perform([Append(SNAPSHOT.format(start), parts)])
    return storage, start


@pytest.fixture
def machine() -> Machine:
    made = Machine(num_partitions="1")
    for name in ("a", "b", "c"):
        create(made, name)
    gone = DeleteTopicsRequest(topics=(DeleteTopicState(name="a"),), timeout_ms=1000)
    made.ask(gone, 6)
    create(made, "d")
    return made


@pytest.mark.parametrize("keep", [1, 2, 3, 4])
def test_L2_topics_of_a_snapshot_and_of_the_log_behind_it_are_there(
    machine: Machine, keep: int
) -> None:
    topics = {each.name: each for each in machine.cores.image.topics.values()}
    storage, start = shortened(machine, keep)
    again = Machine(storage=storage, num_partitions="1")
    assert again.cores.metadata_log.log_start == start
    assert {each.name: each.topic_id for each in again.cores.image.topics.values()} == {
        name: each.topic_id for name, each in topics.items()
    }
    create(again, "e")
    third = Machine(storage=storage, num_partitions="1")  # without a clean stop
    assert set(third.cores.image.topics) == {"b", "c", "d", "e"}


def test_D7_of_snapshots_the_newest_counts_and_what_it_holds_is_not_taken_twice(
    machine: Machine,
) -> None:
    storage, start = shortened(machine, 3)
    older = bytes(storage.read(SNAPSHOT.format(start), 0, 1 << 20))
    ends = Machine(storage=storage, num_partitions="1").cores.metadata_log.log_end
    # A newer one that says nothing but the old state: the log between them is passed over.
    storage.perform([Append(SNAPSHOT.format(ends), [older])])
    assert set(Machine(storage=storage, num_partitions="1").cores.image.topics) == {"a", "b"}


def test_D7_no_snapshot_or_one_from_beyond_the_log_is_refused(machine: Machine) -> None:
    storage, start = shortened(machine, 2)
    whole = bytes(storage.read(SNAPSHOT.format(start), 0, 1 << 20))
    storage.perform([Append(SNAPSHOT.format(start + 1_000), [whole])])
    with pytest.raises(FlowstreamError, match="before its snapshot"):
        Machine(storage=storage)
    storage.perform([Remove(SNAPSHOT.format(each)) for each in (start, start + 1_000)])
    with pytest.raises(FlowstreamError, match="no snapshot"):
        Machine(storage=storage)


def test_D6_a_snapshot_with_a_changed_or_a_lost_byte_is_refused(machine: Machine) -> None:
    storage, start = shortened(machine, 2)
    path = SNAPSHOT.format(start)
    whole = bytes(storage.read(path, 0, 1 << 20))
    topics = set(Machine(storage=storage).cores.image.topics)
    harmless = []
    for at in range(len(whole)):
        changed = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        for content in (changed, whole[:at]):
            storage.perform([Remove(path), Append(path, [content])])
            with contextlib.suppress(CorruptLog):
                assert set(Machine(storage=storage).cores.image.topics) == topics
                harmless.append(at)
    # The leader epochs of its batches, which no CRC covers and nobody reads.
    epochs = [at + each for at, _ in iter_batches(whole) for each in range(12, 16)]
    assert harmless == epochs
