"""The directories that a real Kafka 4.3.1 left behind, in memory: after a clean stop, and after
kill -9.
"""

from __future__ import annotations

import gzip
import re
import tarfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from flowstream.broker.doors import MakeDirectory, Replace
from flowstream.broker.log import checkpoints
from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.names import PARTITION_METADATA
from flowstream.broker.log.recovery import Opened, open_log
from flowstream.broker.log.swapping import finish_swaps
from flowstream.broker.storage.memory import MemoryStorage
from flowstream.broker.types import Instant, TopicPartition

DATA = Path(__file__).resolve().parents[2] / "data"
NOW = Instant(1795453700000)
"""Some minutes after Kafka wrote the files."""

METADATA = TopicPartition("__cluster_metadata", 0)
CONFIG = LogConfig(segment_bytes=1 << 20, segment_index_bytes=65536)
"""As Kafka was configured."""
COMPACTED = ("compacted", "__consumer_offsets", "__transaction_state")


@cache
def files(state: str) -> dict[str, bytes]:
    """Path -> content of the `clean` or the `crashed` directory."""
    found = {}
    with tarfile.open(DATA / f"kafka-4.3.1-{state}.tar.gz") as archive:
        for member in archive.getmembers():
            source = archive.extractfile(member) if member.isfile() else None
            if source is not None:
                found[member.name.removeprefix("./").partition("/")[2]] = source.read()
    return found


def storage_of(contents: dict[str, bytes], directory: str = "") -> MemoryStorage:
    """A disk with these files; of the partitions only `directory` when it is given."""
    storage = MemoryStorage()
    for path, content in contents.items():
        if directory and "/" in path and not path.startswith(directory + "/"):
            continue
        storage.perform([MakeDirectory(path.rpartition("/")[0]), Replace(path, content)])
    return storage


def offsets(storage: MemoryStorage, path: str) -> dict[TopicPartition, int]:
    size = storage.size(path)
    if size is None:
        return {}
    return checkpoints.decode_offsets(storage.read(path, 0, size), path)


def partitions(state: str) -> list[TopicPartition]:
    """Every partition but the metadata log."""
    return sorted(offsets(storage_of(files(state), "none"), checkpoints.RECOVERY_POINT))


def open_golden(
    storage: MemoryStorage, name: TopicPartition, *, clean: bool, recovery_point: int | None = None
) -> Opened:
    """Open one partition's directory as a broker does."""
    directory = str(name)
    path = f"{directory}/{PARTITION_METADATA}"
    topic_id = checkpoints.decode_partition_metadata(
        storage.read(path, 0, storage.size(path) or 0), path
    )
    storage.perform(finish_swaps(storage, directory))
    if recovery_point is None:
        recovery_point = offsets(storage, checkpoints.RECOVERY_POINT)[name]
    opened = open_log(
        storage,
        name,
        topic_id,
        replace(CONFIG, compact=name.topic in COMPACTED),
        NOW,
        clean=clean,
        recovery_point=recovery_point,
        log_start=offsets(storage, checkpoints.LOG_START).get(name, 0),
    )
    storage.perform(opened.operations)
    return opened


def contents_of(storage: MemoryStorage, directory: str) -> dict[str, bytes]:
    """Name -> content of the files of a directory."""
    return {
        name: bytes(storage.read(f"{directory}/{name}", 0, 1 << 30))
        for name in storage.names(directory)
    }


class DumpedBatch(NamedTuple):
    """What Kafka's dump tool says of a batch."""

    base_offset: int
    last_offset: int
    count: int
    base_sequence: int
    last_sequence: int
    producer_id: int
    producer_epoch: int
    leader_epoch: int
    transactional: bool
    control: bool
    max_timestamp: int
    size: int
    crc: int
    records: list[DumpedRecord]


class DumpedRecord(NamedTuple):
    """What it says of a record."""

    offset: int
    timestamp: int
    key_size: int
    value_size: int


_BATCH = re.compile(
    r"baseOffset: (\d+) lastOffset: (\d+) count: (\d+) baseSequence: (-?\d+) lastSequence: (-?\d+) "
    r"producerId: (-?\d+) producerEpoch: (-?\d+) partitionLeaderEpoch: (-?\d+) "
    r"isTransactional: (\w+) isControl: (\w+) .*? position: \d+ "
    r"\w+: (-?\d+) size: (\d+) .*crc: (\d+)"
)
_RECORD = re.compile(r"\| offset: (\d+) \w+: (-?\d+) keySize: (-?\d+) valueSize: (-?\d+)")


@cache
def dumped() -> dict[str, list[DumpedBatch]]:
    """Path of a `.log` file of the clean directory -> its batches in Kafka's own words."""
    found: dict[str, list[DumpedBatch]] = {}
    batches: list[DumpedBatch] = []
    with gzip.open(DATA / "kafka-4.3.1-clean.dump.txt.gz", "rt") as lines:
        for line in lines:
            if line.startswith("== "):
                batches = found.setdefault(line[3:].strip().partition("/")[2], [])
            elif match := _BATCH.match(line):
                one = match.groups()
                batches.append(
                    DumpedBatch(
                        *(int(text) for text in one[:8]),
                        one[8] == "true",
                        one[9] == "true",
                        *(int(text) for text in one[10:]),
                        [],
                    )
                )
            elif match := _RECORD.match(line):
                batches[-1].records.append(DumpedRecord(*(int(text) for text in match.groups())))
    return found
