"""A data directory with something of everything, and all that can be read from one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache

from flowstream.broker.doors import Append, MakeDirectory, Replace
from flowstream.broker.log import checkpoints
from flowstream.broker.log.partition import PartitionLog
from flowstream.broker.log.reading import MAX_TIMESTAMP
from flowstream.broker.storage.memory import MemoryStorage
from flowstream.broker.types import Instant
from flowstream.errors import CorruptLog
from flowstream.wire.batch import encode_batch
from flowstream.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from flowstream.wire.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
)
from flowstream.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from tests.broker.machine import TIME, Machine, batch, produce

SETTINGS = {
    "log_roll_ms": "1000",
    "offsets_topic_num_partitions": "2",
    "transaction_state_log_num_partitions": "1",
    "log_retention_ms": "-1",
}
LATER = 200
"""Milliseconds from one batch to the next: five make a segment."""

Files = dict[str, bytes]


def populated() -> Machine:
    """Compressed, idempotent and transactional records in several segments, deleted records, groups
    and an open transaction.
    """
    machine = Machine(**SETTINGS)
    config = CreatableTopicConfig(name="index.interval.bytes", value="100")
    topics = tuple(
        CreatableTopic(name=name, num_partitions=count, replication_factor=1, configs=(config,))
        for name, count in (("plain", 1), ("tx", 2), ("cut", 1), ("empty", 1))
    )
    machine.ask(CreateTopicsRequest(topics=topics), 7)
    for number in range(11):
        machine.now = Instant(machine.now + LATER)
        records = [(TIME + LATER * number, b"k", b"v%d" % number * 9, ())]
        for name in ("plain", "cut"):
            machine.ask(produce(name, 0, bytes(encode_batch(records, codec=number % 5))), 9)
    transactions(machine)
    partition = DeleteRecordsPartition(partition_index=0, offset=7)
    topic = DeleteRecordsTopic(name="cut", partitions=(partition,))
    machine.ask(DeleteRecordsRequest(topics=(topic,), timeout_ms=1000), 2)
    for group in ("g", "h"):
        commit = OffsetCommitRequestPartition(partition_index=0, committed_offset=5)
        asked = OffsetCommitRequestTopic(name="plain", partitions=(commit,))
        machine.ask(OffsetCommitRequest(group_id=group, topics=(asked,)), 8)
    return machine


def transactions(machine: Machine) -> None:
    """Committed, aborted and open, over two partitions."""
    owner = machine.init()
    for number in range(6):
        records = batch(b"tx%d" % number, pid=owner.producer_id, epoch=owner.producer_epoch, sequence=0)  # fmt: skip # noqa: E501
        for partition in range(2):
            machine.ask(produce("tx", partition, records, name="t"), 12)
        machine.now = Instant(machine.now + LATER)
        if number < 5:
            owner = machine.end(owner.producer_id, owner.producer_epoch, commit=number % 2 == 0)


@cache
def after(how: str) -> tuple[Files, Instant]:
    """The files that are left "stopped" or "killed"."""
    machine = populated()
    if how == "stopped":
        machine.stop()
    files = machine.storage._files
    return {path: bytes(file.data) for path, file in sorted(files.items())}, machine.now


def disk_of(files: Files) -> MemoryStorage:
    """A disk that holds `files`, durably."""
    storage = MemoryStorage()
    directories = sorted({os.path.dirname(path) for path in files} - {""})
    storage.perform([MakeDirectory(directory) for directory in directories])
    for path, data in files.items():
        storage.perform([Append(path, (data,)) if path.endswith(".log") else Replace(path, data)])
    storage.sync(files)
    return storage


@dataclass(frozen=True, slots=True)
class Seen:
    """What the clients of a broker can read."""

    identity: object
    topics: object
    coordinators: object
    partitions: dict[str, object]


def opened(storage: MemoryStorage, now: Instant) -> tuple[Seen, list[str]]:
    """Start a broker on a disk and read everything; and what it reports. Raises FlowstreamError
    where it is told of damage.
    """
    machine = Machine.__new__(Machine)
    Machine.__init__(machine, 2, storage, **SETTINGS)
    cores = machine.cores
    image = cores.image
    meta = storage.read(checkpoints.META_PROPERTIES, 0, 1 << 16)
    found = checkpoints.decode_meta_properties(meta, checkpoints.META_PROPERTIES)
    topics = {
        name: (
            topic.topic_id,
            {number: each.leader_epoch for number, each in topic.partitions.items()},
            dict(image.topic_configs(name)),
        )
        for name, topic in image.topics.items()
    }
    return (
        Seen(
            identity=found,
            topics=topics,
            coordinators=(
                repr(cores.groups.offsets.durable()),
                {
                    name: (each.producer_id, each.producer_epoch, each.state)
                    for name, each in cores.transactions.transactions.items()
                },
            ),
            partitions={str(name): read_all(log) for name, log in cores.logs.by_name.items()},
        ),
        machine.report,
    )


def read_all(log: PartitionLog) -> object:
    """Everything of one partition. Raises CorruptLog where a reader is told of an error."""
    batches: list[bytes] = []
    aborted: set[tuple[int, int]] = set()
    offset = log.log_start
    while offset < log.high_watermark:
        read = log.read(offset, 300, committed_only=offset < log.last_stable, upto="log_end")
        if read.error:
            raise CorruptLog(f"{log.name}: error {read.error} at {offset}")
        assert read.size, f"{log.name}: nothing at {offset}"
        batches += [bytes(buffer) for buffer in read.buffers]
        aborted.update(read.aborted or ())
        offset = read.next_offset
    times = [log.offset_for_timestamp(TIME + LATER * n) for n in range(0, 11, 3)]
    return (
        log.log_start,
        log.log_end,
        log.last_stable,
        b"".join(batches),
        aborted,
        times,
        log.offset_for_timestamp(MAX_TIMESTAMP),
        list(log.epochs.entries),
        log.leader_epoch,
        {each.producer_id: (each.epoch, list(each.batches)) for each in log.producers},
    )
