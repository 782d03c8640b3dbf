"""The campaign's clients for apps of every kind: one that feeds them, one that reads everything."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError

from tests.checkers.history import Anomaly
from tests.crash.kinds.asking import Asked
from tests.crash.kinds.kind import FOREVER, Kind, Logs, Record, Sent, compare_in_order
from tests.crash.topics import LIVED_THROUGH, new_producer, read_on, reading, until_read

FLUSH_S = 60.0
TICK_S = 0.02
UNREAD = ("__", "-repartition", "-replies")
"""Topics whose names say that no judge looks at them."""


async def create_inputs(broker: str, kinds: Sequence[Kind]) -> None:
    """Create the topics that are fed, unless a worker was faster."""
    await create(broker, {topic: kind.partitions for kind in kinds for topic in kind.inputs})


async def create(broker: str, partitions: Mapping[str, int]) -> None:
    """Create these topics, unless they are there."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        topics = [
            NewTopic(topic, count, 1, topic_configs=FOREVER) for topic, count in partitions.items()
        ]
        with contextlib.suppress(TopicAlreadyExistsError):
            await admin.create_topics(topics)
    finally:
        await admin.close()


class Feeder:
    """Sends inputs of all kinds at a rate while it is open, each once, and remembers them."""

    def __init__(self, broker: str, kinds: Sequence[Kind], rate: float, rng: random.Random) -> None:
        self.sent: dict[tuple[str, int], list[tuple[str | None, bytes | None, int]]] = defaultdict(
            list
        )
        self.count = 0
        self._broker, self._kinds, self._rate, self._rng = broker, kinds, rate, rng
        self._there = {topic for kind in kinds for topic in kind.inputs}
        self._noting: set[asyncio.Task[None]] = set()
        self._asking: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Feed until told to stop; then end the round. All is acknowledged when it returns."""
        producer = new_producer(self._broker)
        await producer.start()
        due = 0.0
        while not stop.is_set():
            await asyncio.sleep(TICK_S)
            due += self._rate * TICK_S
            while due >= 1:
                due -= 1
                await self._feed(producer)
        for kind in self._kinds:
            for each in kind.end_round():
                await self._send(producer, each)
        async with asyncio.timeout(FLUSH_S):
            await producer.flush()
            await asyncio.gather(*self._noting)
            await producer.stop()
        await asyncio.gather(*self._asking)

    async def _feed(self, producer: AIOKafkaProducer) -> None:
        kind = self._rng.choice(self._kinds)
        if isinstance(kind, Asked):
            asking = asyncio.create_task(kind.ask(self._rng))
            self._asking.add(asking)
            asking.add_done_callback(self._asking.discard)
        for each in kind.feed(self._rng):
            if each.topic not in self._there:
                await self._create(each.topic, kind.partitions)
            await self._send(producer, each)

    async def _create(self, topic: str, partitions: int) -> None:
        """A topic comes, as soon as the broker lives."""
        self._there.add(topic)
        while True:
            try:
                await create(self._broker, {topic: partitions})
                return
            except LIVED_THROUGH:
                await asyncio.sleep(0.2)

    async def _send(self, producer: AIOKafkaProducer, sent: Sent) -> None:
        future = await producer.send(
            sent.topic, sent.data, sent.key.encode(), timestamp_ms=sent.at_ms
        )
        self.count += 1
        noting = asyncio.create_task(self._note(sent, future))
        self._noting.add(noting)
        noting.add_done_callback(self._noting.discard)

    async def _note(self, sent: Sent, future: asyncio.Future[Any]) -> None:
        # One task per record, in the order of the sends; a batch's futures resolve in order.
        metadata = await future
        place = (sent.topic, metadata.partition)
        self.sent[place].append((sent.key, sent.data, sent.at_ms))

    def judge(self, logs: Logs) -> list[Anomaly]:
        """L2, L3, L4: the inputs are in their logs as they were sent."""
        found = {
            (topic, number): [(r.key, r.data, r.at_ms) for r in records]
            for topic in {topic for topic, _ in self.sent}
            for number, records in logs.partitions(topic).items()
        }
        return compare_in_order("inputs", self.sent, found, "L2")


class Ledger:
    """Everything committed so far, read on from where the last look ended."""

    def __init__(self, broker: str, app: str) -> None:
        self.records: dict[str, list[Record]] = defaultdict(list)
        self._broker, self._app = broker, app
        self._positions: dict[TopicPartition, int] = {}

    @property
    def logs(self) -> Logs:
        """What judges are shown."""
        return Logs(self._app, self.records)

    def move(self, broker: str) -> None:
        """The same broker is elsewhere now."""
        self._broker = broker

    async def look(self) -> None:
        """Read up to the end as it is now; a dead broker is tried again."""
        await until_read(self._read)

    async def _read(self) -> None:
        async with reading(self._broker) as consumer:
            cluster = await consumer._client.fetch_all_metadata()
            if not cluster.topics():
                raise TimeoutError("metadata without a topic")
            tps = [
                TopicPartition(topic, number)
                for topic in sorted(cluster.topics(exclude_internal_topics=False))
                if not any(part in topic for part in UNREAD)
                for number in sorted(cluster.partitions_for_topic(topic) or ())
            ]
            for record in await read_on(consumer, tps, self._positions):
                self.records[record.topic].append(record_of(record))


def record_of(record: Any) -> Record:
    """A client's record as judges know it."""
    key = None if record.key is None else record.key.decode("utf-8", "surrogateescape")
    return Record(
        record.topic, record.partition, record.offset, record.timestamp, key, record.value,
        dict(record.headers),
    )  # fmt: skip
