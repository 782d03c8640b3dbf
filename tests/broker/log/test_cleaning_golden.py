"""A compacted log that a real Kafka 4.3.1 cleaned three times: from the same files, at the same
moment, we make the same bytes.

Two transactional producers, aborted and committed, an idempotent one, gzip, tombstones whose delete
horizon passes between the cleanings, markers that outlive their data.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from flowstream.broker.doors import MakeDirectory, Replace
from flowstream.broker.log.aborted import decode_aborted
from flowstream.broker.log.checkpoints import decode_partition_metadata
from flowstream.broker.log.cleaner import Cleaning, plan
from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.recovery import open_log
from flowstream.broker.storage.memory import MemoryStorage
from flowstream.broker.types import Instant, TopicPartition

ARCHIVE = Path(__file__).parents[2] / "data" / "kafka-4.3.1-compaction.tar.gz"
NAME = TopicPartition("table", 0)
CONFIG = LogConfig(compact=True, delete=False, delete_retention_ms=4_000)
CLEANINGS = [(1, -1, 1795636447589), (2, 205, 1795636455134), (3, 294, 1795636462710)]
"""Number, where the one before ended, and when Kafka began: its delete horizons tell."""


def files(folder: str) -> dict[str, bytes]:
    """Name and content of the files of one folder of the archive."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(ARCHIVE.read_bytes())) as archive:
        for member in archive:
            path = Path(member.name)
            if member.isfile() and path.parent.name == folder:
                content = archive.extractfile(member)
                assert content is not None
                found[path.name] = content.read()
    assert found
    return found


def disk(folder: str) -> MemoryStorage:
    storage = MemoryStorage()
    storage.perform([MakeDirectory(str(NAME))])
    storage.perform([Replace(f"{NAME}/{name}", data) for name, data in files(folder).items()])
    return storage


def markers(index: bytes) -> list[tuple[int, int]]:
    """Which transactions an index calls aborted. Where they began is lost when the index is rebuilt
    from a compacted log, as it is here.
    """
    return [(aborted.producer_id, aborted.last_offset) for aborted in decode_aborted(index)]


@pytest.mark.parametrize(("number", "clean_end", "now"), CLEANINGS)
def test_C1_L7_a_cleaning_leaves_the_bytes_that_kafkas_leaves(
    number: int, clean_end: int, now: int
) -> None:
    storage = disk(f"before{number}")
    path = f"{NAME}/partition.metadata"
    topic_id = decode_partition_metadata(storage.read(path, 0, 1000), path)
    opened = open_log(
        storage,
        NAME,
        topic_id,
        CONFIG,
        Instant(now),
        clean=False,
        recovery_point=0,
        log_start=0,
        clean_end=clean_end,
    )
    storage.perform(opened.operations)
    found = plan(opened.log, Instant(now))
    assert found is not None
    cleaning = Cleaning(opened.log, found, Instant(now), keys=1000, flush=True)
    while (operations := cleaning.step()) is not None:
        storage.perform(operations)
    expected = files(f"after{number}")
    for name in storage.names(str(NAME)):
        kept = bytes(storage.read(f"{NAME}/{name}", 0, 1 << 20))
        if name.endswith(".log"):
            assert kept == expected[name], name
        elif name.endswith(".txnindex"):
            assert markers(kept) == markers(expected.get(name, b"")), name
    assert cleaning.end == opened.log.active.base_offset


@pytest.mark.parametrize("folder", ["after1", "after2", "after3"])
def test_what_kafka_compacted_is_read_from_end_to_end(folder: str) -> None:
    storage = disk(folder)
    path = f"{NAME}/partition.metadata"
    topic_id = decode_partition_metadata(storage.read(path, 0, 1000), path)
    log = open_log(
        storage,
        NAME,
        topic_id,
        CONFIG,
        Instant(CLEANINGS[-1][2]),
        clean=False,
        recovery_point=0,
        log_start=0,
    ).log
    segments = b"".join(data for name, data in files(folder).items() if name.endswith(".log"))
    assert b"".join(bytes(batch) for batch in log.scan()) == segments
    assert log.last_stable == log.log_end
