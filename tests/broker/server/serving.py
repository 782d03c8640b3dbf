"""A broker's shell inside a test: real sockets, a disk in memory, and a client of raw frames."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from flowstream import clock
from flowstream.broker.config import BrokerConfig
from flowstream.broker.node import Node
from flowstream.broker.opening import open_cores
from flowstream.broker.server.driver import Driver
from flowstream.broker.server.listener import Listener, bind
from flowstream.broker.storage.memory import MemoryStorage
from flowstream.broker.types import Instant
from flowstream.wire.batch import encode_batch
from flowstream.wire.frame import decode_response, encode_request
from flowstream.wire.messages.api_versions import ApiVersionsRequest
from flowstream.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from flowstream.wire.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)

WAIT_S = 5
VERSIONS = ApiVersionsRequest(client_software_name="test", client_software_version="1")
TOPIC = "t"


@dataclass
class Served:
    """A driver with its listener and its disk."""

    driver: Driver
    listener: Listener
    storage: MemoryStorage

    async def client(self) -> RawClient:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.listener.port)
        return RawClient(reader, writer)


@dataclass
class RawClient:
    """Frames out, frames in, nothing else."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    sent: list[tuple[int, int]] = field(default_factory=list)

    def send(self, key: int, version: int, body: object) -> None:
        self.sent.append((key, version))
        parts = encode_request(key, version, len(self.sent), "test", body)
        self.writer.write(b"".join(parts))

    async def receive(self) -> tuple[int, Any]:
        """Correlation id and body of the next answer."""
        async with asyncio.timeout(WAIT_S):
            (size,) = struct.unpack(">i", await self.reader.readexactly(4))
            frame = await self.reader.readexactly(size)
        (correlation_id,) = struct.unpack_from(">i", frame)
        return decode_response(*self.sent[correlation_id - 1], frame)

    async def ask(self, key: int, version: int, body: object) -> Any:
        self.send(key, version, body)
        return (await self.receive())[1]

    async def is_closed(self) -> bool:
        """Whether the broker closes this connection without another word."""
        async with asyncio.timeout(WAIT_S):
            try:
                return await self.reader.read(1) == b""
            except ConnectionResetError:
                return True

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            pass


@asynccontextmanager
async def served(
    *, fsync: bool = True, storage: MemoryStorage | None = None, **settings: str
) -> AsyncIterator[Served]:
    """Serve a disk in memory for the length of a block."""
    storage = storage or MemoryStorage()
    config = BrokerConfig.of({key.replace("_", "."): value for key, value in settings.items()})
    now = Instant(clock.wall_ms())
    opened = open_cores(
        storage, storage.perform, config, random.Random(1), now, host="127.0.0.1", fsync=fsync
    )
    driver = Driver(Node(opened.cores), storage, clock.wall_ms, fsync=fsync)
    driver.start()
    listener = Listener(bind("127.0.0.1", 0), driver, opened.cores)
    opened.cores.address.port = listener.port
    try:
        yield Served(driver, listener, storage)
    finally:
        listener.close()
        await driver.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until `condition` holds."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - what is waited for is inside the broker
            await asyncio.sleep(0)


def produce_request(
    value: bytes = b"x",
    *,
    acks: int = -1,
    topic: str = TOPIC,
    batch: bytes | None = None,
    timestamp: int | None = None,
) -> ProduceRequest:
    """One record for partition 0."""
    stamp = clock.wall_ms() if timestamp is None else timestamp
    records = encode_batch([(stamp, None, value, ())]) if batch is None else batch
    data = PartitionProduceData(index=0, records=records)
    return ProduceRequest(
        acks=acks,
        timeout_ms=1000,
        topic_data=(TopicProduceData(name=topic, partition_data=(data,)),),
    )


def fetch_request(
    offset: int, *, wait_ms: int = 0, min_bytes: int = 1, topic: str = TOPIC
) -> FetchRequest:
    """Read partition 0."""
    partition = FetchPartition(partition=0, fetch_offset=offset, partition_max_bytes=1 << 20)
    return FetchRequest(
        max_wait_ms=wait_ms,
        min_bytes=min_bytes,
        max_bytes=1 << 24,
        topics=(FetchTopic(topic=topic, partitions=(partition,)),),
    )


async def create_topic(client: RawClient, topic: str = TOPIC) -> None:
    """A topic of one partition."""
    from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest

    wanted = CreatableTopic(name=topic, num_partitions=1, replication_factor=1)
    answer = await client.ask(19, 5, CreateTopicsRequest(topics=(wanted,), timeout_ms=1000))
    assert answer.topics[0].error_code == 0
