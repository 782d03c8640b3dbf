"""What a broker does beside taking records, under power cuts: it compacts (C1, L7), retires and
deletes records (L8), makes and deletes topics (D5). Clients that cause it, and what they were told.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from flowstream import clock
from flowstream.broker.cores import Cores
from flowstream.broker.types import TopicPartition
from flowstream.wire.batch import decode_records, encode_batch
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
from flowstream.wire.messages.delete_topics import DeleteTopicsRequest
from flowstream.wire.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from tests.broker.server.serving import RawClient

SETTINGS = {
    "log.cleaner.backoff.ms": "5",
    "log.retention.check.interval.ms": "10",
}
KEYED, SHORT = "keyed", "short"
RETENTION_MS = 200
CONFIGS = {
    KEYED: {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01"},
    SHORT: {"retention.ms": str(RETENTION_MS), "segment.ms": "40"},
}
KEYS = 7
STEP_MS = 70
"""From one keyed batch to the next, by their timestamps: three make a segment."""
PAST_MS = 3_000_000
NAMES = ("gone-1", "gone-2", "gone-3")


@dataclass
class Chores:
    """What the clients were told."""

    keyed: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)
    """Key -> offset and value of the last acknowledged record."""
    written: int = 0
    short: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    """Offset -> timestamp and value, all that was acknowledged."""
    deleting_to: int = 0
    """The largest offset that DeleteRecords was sent with."""
    deleted_to: int = 0
    """The largest log start that DeleteRecords was answered with."""
    topics: dict[str, bool | None] = field(default_factory=dict)
    """Name -> whether it is there; None while nobody knows."""
    values: dict[str, list[bytes]] = field(default_factory=dict)
    """Acknowledged values of the topics that are there, from offset 0."""
    compacted: int = 0
    retired: int = 0
    removed: int = 0

    def check(self, cores: Cores) -> Iterator[str]:
        """Whatever is not as it was told."""
        yield from self._check_keyed(cores)
        yield from self._check_short(cores)
        for name, there in self.topics.items():
            yield from self._check_topic(cores, name, there)

    def done(self) -> dict[str, int]:
        """What the broker was made to do, by number."""
        return {
            "records compacted away": self.compacted,
            "retired or deleted": self.retired,
            "topics deleted": self.removed,
        }

    def _check_keyed(self, cores: Cores) -> Iterator[str]:
        found = records_of(cores, KEYED)
        newest: dict[bytes, tuple[int, bytes]] = {}
        for offset, (key, value) in found.items():
            newest[key] = (offset, value)
        for key, (offset, value) in self.keyed.items():
            now = newest.get(key, (-1, b"nothing"))
            if now[0] < offset or (now[0] == offset and now[1] != value):
                yield f"L7: key {key!r} is {now}, acknowledged was {(offset, value)}"
        if found:
            self.compacted = max(self.compacted, max(found) + 1 - len(found))

    def _check_short(self, cores: Cores) -> Iterator[str]:
        log = cores.logs.by_name.get(TopicPartition(SHORT, 0))
        if log is None:
            if self.short:
                yield f"L2: topic {SHORT} is gone"
            return
        if log.log_start < self.deleted_to:
            yield f"L8: the log start is {log.log_start}, told was {self.deleted_to}"
        found, now = records_of(cores, SHORT), clock.wall_ms()
        for offset, (stamp, value) in list(self.short.items()):
            if offset in found:
                if found[offset][1] != value:
                    yield f"L1: offset {offset} is {found[offset]}, acknowledged was {value!r}"
            elif offset >= log.log_start:
                yield f"L2: offset {offset} is gone, the log starts at {log.log_start}"
            elif offset >= self.deleting_to and now - stamp < RETENTION_MS:
                yield f"L8: offset {offset} was retired {now - stamp} ms after its time"
            else:
                self.retired += 1
                del self.short[offset]

    def _check_topic(self, cores: Cores, name: str, there: bool | None) -> Iterator[str]:
        found = name in cores.image.topics
        if there is None:
            # It was in the making or going: from now on it is what it is.
            self.topics[name] = found
            self.values[name] = [value for _, value in records_of(cores, name).values()]
            return
        if found != there:
            yield f"D5: topic {name} is there: {found}, told was {there}"
        values = [value for _, value in records_of(cores, name).values()]
        wanted = self.values.get(name, [])
        if there and values[: len(wanted)] != wanted:
            yield f"L2: {name} holds {values}, acknowledged was {wanted}"
        # What was written and never acknowledged stays.
        self.values[name] = values


def records_of(cores: Cores, topic: str) -> dict[int, tuple[bytes, bytes]]:
    """Offset -> key and value, of partition 0."""
    log = cores.logs.by_name.get(TopicPartition(topic, 0))
    batches = () if log is None else log.scan()
    return {
        record.offset: (bytes(record.key or b""), bytes(record.value or b""))
        for batch in batches
        for record in decode_records(batch)
        if log is not None and record.offset >= log.log_start
    }


def creation(*names: str) -> CreateTopicsRequest:
    """Topics of one partition, each with its settings."""
    topics = tuple(
        CreatableTopic(
            name=name,
            num_partitions=1,
            replication_factor=1,
            configs=tuple(
                CreatableTopicConfig(name=key, value=value)
                for key, value in CONFIGS.get(name, {}).items()
            ),
        )
        for name in names
    )
    return CreateTopicsRequest(topics=topics, timeout_ms=1000)


async def write(client: RawClient, topic: str, stamp: int, key: bytes, value: bytes) -> Any:
    """One acknowledged record, and its answer; no value deletes its key."""
    data = PartitionProduceData(
        index=0, records=bytes(encode_batch([(stamp, key, value or None, ())]))
    )
    named = TopicProduceData(name=topic, partition_data=(data,))
    request = ProduceRequest(acks=-1, timeout_ms=1000, topic_data=(named,))
    answer = (await client.ask(0, 9, request)).responses[0].partition_responses[0]
    assert answer.error_code == 0, answer
    return answer


async def keep_keys(client: RawClient, chores: Chores, rng: random.Random) -> None:
    """Write the same keys again and again, some of them deleted."""
    while True:
        chores.written += 1
        key = b"%d" % rng.randrange(KEYS)
        value = b"" if rng.random() < 0.1 else b"%d" % chores.written
        stamp = clock.wall_ms() - PAST_MS + STEP_MS * (chores.written % 10_000)
        answer = await write(client, KEYED, stamp, key, value)
        chores.keyed[key] = (answer.base_offset, value)


async def keep_little(client: RawClient, chores: Chores, rng: random.Random) -> None:
    """Write what is soon retired, and now and then delete it before."""
    while True:
        stamp, value = clock.wall_ms(), rng.randbytes(8)
        answer = await write(client, SHORT, stamp, b"k", value)
        chores.short[answer.base_offset] = (stamp, value)
        if rng.random() < 0.05:
            part = DeleteRecordsPartition(partition_index=0, offset=answer.base_offset)
            topic = DeleteRecordsTopic(name=SHORT, partitions=(part,))
            request = DeleteRecordsRequest(topics=(topic,), timeout_ms=1000)
            chores.deleting_to = answer.base_offset
            deleted = (await client.ask(21, 2, request)).topics[0].partitions[0]
            assert deleted.error_code == 0, deleted
            chores.deleted_to = max(chores.deleted_to, deleted.low_watermark)
        await asyncio.sleep(0.002)


async def make_and_delete(client: RawClient, chores: Chores, rng: random.Random) -> None:
    """Topics come, get records, go, and come again under the same names."""
    while True:
        name = rng.choice(NAMES)
        there = chores.topics.get(name, False)
        if there and rng.random() < 0.7:
            value = rng.randbytes(8)
            await write(client, name, clock.wall_ms(), b"k", value)
            chores.values[name].append(value)
            continue
        chores.topics[name] = None
        if there:
            request = DeleteTopicsRequest(topic_names=(name,), timeout_ms=1000)
            answer = (await client.ask(20, 5, request)).responses[0]
            chores.removed += 1
        else:
            answer = (await client.ask(19, 5, creation(name))).topics[0]
        assert answer.error_code == 0, answer
        chores.topics[name], chores.values[name] = not there, []


Chore = Callable[[RawClient, Chores, random.Random], Awaitable[None]]
CLIENTS: tuple[Chore, ...] = (keep_keys, keep_little, make_and_delete)
