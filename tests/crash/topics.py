"""The campaign's own clients: plain aiokafka, one that writes inputs and one that reads results."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaError

from tests.checkers.stream import Input, Output, State

KEYS = 40
FLUSH_S = 60.0
READ_S = 20.0
"""Twice the workers' transaction timeout: what holds back a reader is over by then."""
LIVED_THROUGH = (KafkaError, OSError, TimeoutError)
"""What a client hears of a broker that was just killed."""
IN = "events"
PIPES = (("answers", "states"), ("tallies", "sums"))
"""(output topic, table) of what answers every input: an agent on the events one by one, and behind
it one that re-keys its answers, takes several at a time and fails now and then.
"""


async def create_input(broker: str, partitions: int) -> None:
    """Create the input topic, unless a worker was faster."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(IN, partitions, 1)])
    finally:
        await admin.close()


class Feeder:
    """Sends inputs at a rate while it is open, and remembers them; idempotent, so each is sent
    once.
    """

    def __init__(self, broker: str, rate: float, rng: random.Random) -> None:
        self.inputs: list[Input] = []
        self._broker, self._rate, self._rng = broker, rate, rng
        self._sequences: dict[str, int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Feed until `stop`; whatever was sent is acknowledged before it returns."""
        producer = await self._started(stop)
        if producer is None:
            return  # whenever it tried, the broker had just been killed
        while not stop.is_set():
            await asyncio.sleep(0.02)
            for _ in range(max(1, int(self._rate * 0.02))):
                await self._send(producer)
        async with asyncio.timeout(FLUSH_S):
            await producer.flush()
            await producer.stop()

    async def _started(self, stop: asyncio.Event) -> AIOKafkaProducer | None:
        """A producer, as soon as a broker that was just killed is back."""
        while not stop.is_set():
            producer = new_producer(self._broker)
            try:
                await producer.start()
            except KafkaConnectionError:
                await producer.stop()
                await asyncio.sleep(0.1)
            else:
                return producer
        return None

    async def _send(self, producer: AIOKafkaProducer) -> None:
        key = f"k{self._rng.randrange(KEYS)}"
        event = Input(key, self._sequences.get(key, 0) + 1, f"i{len(self.inputs)}")
        value = json.dumps({"sequence": event.sequence, "id": event.id}).encode()
        self._sequences[key] = event.sequence
        self.inputs.append(event)
        await producer.send(IN, value, key=key.encode())


def new_producer(broker: str) -> AIOKafkaProducer:
    """An idempotent one, which a broker that is away for a while does not end."""
    return AIOKafkaProducer(
        bootstrap_servers=broker,
        enable_idempotence=True,
        linger_ms=2,
        request_timeout_ms=60_000,
    )


class Found(NamedTuple):
    """A committed record."""

    partition: int
    offset: int
    key: bytes
    value: bytes | None


class Pipe:
    """One agent's answers and the table they are made from."""

    def __init__(self, broker: str, out: str, table: str) -> None:
        self.out, self.table = out, table
        self.answers = Results(broker, out)
        self.changes = Results(broker, f"chain-{table}-changelog")

    def outputs(self) -> list[Output]:
        """The answers so far, partition by partition in order."""
        return [output_of(found) for found in self.answers.records]

    def rows(self) -> dict[str, Output]:
        """The table, folded from its changelog."""
        return {row.key: row for row in map(output_of, self.changes.records)}


class Results:
    """Everything committed to a topic so far, read on from where the last look ended."""

    def __init__(self, broker: str, topic: str) -> None:
        self.records: list[Found] = []
        self.topic = topic
        self._broker = broker
        self._positions: dict[TopicPartition, int] = {}

    async def look(self) -> None:
        """Read up to the end as it is now; a dead broker is tried again."""
        await until_read(self._read)

    async def _read(self) -> None:
        async with reading(self._broker) as consumer:
            cluster = await consumer._client.fetch_all_metadata()
            tps = [
                TopicPartition(self.topic, p)
                for p in sorted(cluster.partitions_for_topic(self.topic) or ())
            ]
            if not tps:
                return
            for record in await read_on(consumer, tps, self._positions):
                found = Found(record.partition, record.offset, record.key, record.value)
                self.records.append(found)


async def until_read(read: Callable[[], Awaitable[None]]) -> None:
    """Do it again until no dead broker is in its way."""
    while True:
        try:
            await read()
            return
        except LIVED_THROUGH:
            await asyncio.sleep(0.2)
        except asyncio.CancelledError:
            # aiokafka's consumer lets out that of a fetch which it ended itself.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise


@contextlib.asynccontextmanager
async def reading(broker: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of what is committed."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        request_timeout_ms=5000,
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def read_on(
    consumer: AIOKafkaConsumer, tps: list[TopicPartition], positions: dict[TopicPartition, int]
) -> list[Any]:
    """The records from `positions` to the ends as the broker tells them now: not until it is silent
    for long. What an open transaction holds back is waited for. `positions` move when all is read.
    """
    found: list[Any] = []
    consumer.assign(tps)
    for tp in tps:
        consumer.seek(tp, positions.get(tp, 0))
    async with asyncio.timeout(READ_S):
        ends = await consumer.end_offsets(tps)
        while behind := [tp for tp in tps if await consumer.position(tp) < ends[tp]]:
            for records in (await consumer.getmany(*behind, timeout_ms=150)).values():
                found += records
    for record in found:
        positions[TopicPartition(record.topic, record.partition)] = record.offset + 1
    return found


def output_of(found: Found) -> Output:
    """An answer, or a row of the state table, as the checker knows it."""
    value = json.loads(found.value or b"{}")
    state = State(value["count"], value["total"], value["last"], value["chain"])
    return Output(found.key.decode(), value["id"], state, value["nonce"])
