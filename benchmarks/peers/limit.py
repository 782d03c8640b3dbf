"""The limit: the job written by hand on aiokafka, nothing general about it."""

import asyncio
import gc
import os
import sys
import time
import zlib

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from rocksdict import Options, Rdict, WriteBatch

bootstrap, total = sys.argv[1], int(sys.argv[2])
run = f"limit{os.getpid()}"
PARTITIONS = 4


class Event(msgspec.Struct):
    id: int
    user: str
    amount: float
    merchant: str
    ts: int


class Result(msgspec.Struct):
    key: str
    count: int
    amount: float


class Sender:
    """One batch builder per partition of a topic; full ones are sent at once."""

    def __init__(self, producer, topic):
        self.producer, self.topic, self.pending = producer, topic, []
        self.builders = [producer.create_batch() for _ in range(PARTITIONS)]

    async def ship(self, partition):
        builder, self.builders[partition] = self.builders[partition], self.producer.create_batch()
        if builder.record_count():
            builder.close()
            send = self.producer.send_batch(builder, self.topic, partition=partition)
            self.pending.append(await send)

    async def full(self, partition, now, key, value):
        await self.ship(partition)
        self.builders[partition].append(timestamp=now, key=key, value=value)

    async def acknowledged(self):
        for partition in range(PARTITIONS):
            await self.ship(partition)
        await asyncio.gather(*self.pending)


class Job:
    """Counts per key, one transaction each 100 ms."""

    def __init__(self, consumer, producer):
        self.consumer, self.producer = consumer, producer
        self.db = Rdict(f"/tmp/{run}", Options(raw_mode=True))
        self.counts: dict[bytes, int] = {}
        self.done = self.first = 0
        self.start = 0.0

    async def transaction(self):
        await self.producer.begin_transaction()
        offsets, dirty = {}, {}
        results = Sender(self.producer, "counts")
        now = time.time_ns() // 1_000_000
        await self.consume(results, offsets, dirty, now)
        await results.acknowledged()
        changelog, batch = Sender(self.producer, run + "-changelog"), WriteBatch(raw_mode=True)
        for key, n in dirty.items():
            partition, value = zlib.crc32(key) % PARTITIONS, b"%d" % n
            batch.put(key, value)
            if changelog.builders[partition].append(timestamp=now, key=key, value=value) is None:
                await changelog.full(partition, now, key, value)
        await changelog.acknowledged()
        if offsets:
            await self.producer.send_offsets_to_transaction(offsets, run)
        await self.producer.commit_transaction()
        self.db.write(batch)

    async def consume(self, results, offsets, dirty, now):
        decode, encode = msgspec.json.Decoder(Event).decode, msgspec.json.Encoder().encode
        counts, deadline = self.counts, time.monotonic() + 0.1
        while time.monotonic() < deadline and self.done < total:
            polled = await self.consumer.getmany(max_records=500, timeout_ms=50)
            for tp, records in polled.items():
                partition = tp.partition
                for record in records:
                    event, key = decode(record.value), record.key
                    n = counts.get(key, 0) + 1
                    counts[key] = dirty[key] = n
                    value = encode(Result(event.user, n, event.amount))
                    builder = results.builders[partition]
                    if builder.append(timestamp=now, key=key, value=value) is None:
                        await results.full(partition, now, key, value)
                offsets[tp] = records[-1].offset + 1
                self.done += len(records)
                if not self.first and self.done >= total // 10:
                    self.first, self.start = self.done, time.perf_counter()


async def main() -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(run + "-changelog", PARTITIONS, 1)])
    await admin.close()
    consumer = AIOKafkaConsumer(
        "events",
        bootstrap_servers=bootstrap,
        group_id=run,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, transactional_id=run, max_batch_size=1 << 20, linger_ms=0
    )
    await consumer.start()
    await producer.start()
    job = Job(consumer, producer)
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    while job.done < total:
        await job.transaction()
    rate = (job.done - job.first) / (time.perf_counter() - job.start)
    print(f"limit {rate:.0f} rec/s", flush=True)
    os._exit(0)


asyncio.run(main())
