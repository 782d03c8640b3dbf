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


async def main() -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(run + "-changelog", 4, 1)])
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
    db = Rdict(f"/tmp/{run}", Options(raw_mode=True))
    decode, encode = msgspec.json.Decoder(Event).decode, msgspec.json.Encoder().encode
    counts: dict[bytes, int] = {}
    done, start, first = 0, 0.0, 0
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    while done < total:
        await producer.begin_transaction()
        deadline, offsets, dirty, pending = time.monotonic() + 0.1, {}, {}, []
        builders = [producer.create_batch() for _ in range(4)]
        now = time.time_ns() // 1_000_000

        async def ship(topic, partition, builder, pending=pending):
            builder.close()
            pending.append(await producer.send_batch(builder, topic, partition=partition))

        while time.monotonic() < deadline and done < total:
            for tp, records in (await consumer.getmany(max_records=500, timeout_ms=50)).items():
                for record in records:
                    event, key = decode(record.value), record.key
                    n = counts.get(key, 0) + 1
                    counts[key] = n
                    dirty[key] = n
                    partition = tp.partition
                    if (
                        builders[partition].append(
                            timestamp=now,
                            key=key,
                            value=encode(Result(event.user, n, event.amount)),
                        )
                        is None
                    ):
                        await ship("counts", partition, builders[partition])
                        builders[partition] = producer.create_batch()
                        builders[partition].append(
                            timestamp=now,
                            key=key,
                            value=encode(Result(event.user, n, event.amount)),
                        )
                offsets[tp] = records[-1].offset + 1
                done += len(records)
                if not first and done >= total // 10:
                    first, start = done, time.perf_counter()
        for partition, builder in enumerate(builders):
            if builder.record_count():
                await ship("counts", partition, builder)
        builders, batch = [producer.create_batch() for _ in range(4)], WriteBatch(raw_mode=True)
        for key, n in dirty.items():
            partition, value = zlib.crc32(key) % 4, b"%d" % n
            batch.put(key, value)
            if builders[partition].append(timestamp=now, key=key, value=value) is None:
                await ship(run + "-changelog", partition, builders[partition])
                builders[partition] = producer.create_batch()
                builders[partition].append(timestamp=now, key=key, value=value)
        for partition, builder in enumerate(builders):
            if builder.record_count():
                await ship(run + "-changelog", partition, builder)
        await asyncio.gather(*pending)
        if offsets:
            await producer.send_offsets_to_transaction(offsets, run)
        await producer.commit_transaction()
        db.write(batch)
    print(f"limit {(done - first) / (time.perf_counter() - start):.0f} rec/s", flush=True)
    os._exit(0)


asyncio.run(main())
