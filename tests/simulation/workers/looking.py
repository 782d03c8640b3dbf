"""Looking at what is committed, by whoever is not part of it."""

from __future__ import annotations

from typing import Any

from flowstream.state.memory import MemoryStore
from flowstream.testing.memory_broker import MemoryCluster
from flowstream.transport.reader import PartitionReader
from flowstream.transport.types import LogRecord, TopicPartition
from flowstream.wire.batch import iter_batches
from tests.simulation.workers.scenario import Record


def is_inner(topic: str) -> bool:
    """Whether an app that is named `sim` reads a topic of its own."""
    return topic.startswith("sim-") and not topic.endswith(("-changelog", "-dead-letters"))


def reaches(log: Any, offsets: dict[Any, int], name: Any, end: int) -> bool:
    """Whether what is beyond the committed offset is markers alone. An open transaction is not:
    markers reach partitions one by one.
    """
    committed = offsets.get(TopicPartition(*name), 0)
    return committed >= end or (log.last_stable == end and not _holds_records(log, committed))


def _holds_records(log: Any, start: int) -> bool:
    """Whether a read_committed reader at `start` finds a record."""
    while start < log.last_stable:
        # A read does not always go to the end.
        found = log.read(start, 1 << 20, committed_only=True, upto="last_stable", min_one=True)
        begun = sorted((first, producer) for producer, first in found.aborted or ())
        aborting: set[int] = set()
        before = start
        for _, header in iter_batches(b"".join(found.buffers)):
            while begun and begun[0][0] <= header.last_offset:
                aborting.add(begun.pop(0)[1])
            if header.is_control:
                aborting.discard(header.producer_id)
            elif header.last_offset >= start and not (
                header.is_transactional and header.producer_id in aborting
            ):
                return True
            start = header.last_offset + 1
        if start == before:
            return False
    return False


def open_again(store: MemoryStore) -> MemoryStore:
    """A closed store, to be looked at."""
    return store.survivor()


async def read(cluster: MemoryCluster, tp: TopicPartition, start: int, end: int) -> list[LogRecord]:
    """All committed records of a partition."""
    found: list[LogRecord] = []
    reader = PartitionReader(cluster, tp, start)
    while reader.position < end:
        found += await reader.read(0)
    return found


def plain(record: LogRecord) -> Record:
    """A record as texts."""
    value = None if record.value is None else record.value.decode()
    return Record((record.key or b"").decode(), value, record.timestamp)
