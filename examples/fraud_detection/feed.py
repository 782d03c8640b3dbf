"""The feeder: sends the lines of a file as they are, keyed by card, at the time of the payment.

It judges nothing: a malformed line goes out like any other. Run: `python -m
examples.fraud_detection.feed --broker HOST:PORT [--input FILE] [--rate N]`.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from .lines import SAMPLE, card_of, lines_of, time_of

TOPIC = "card-lines"
PARTITIONS = 4
SLICE_S = 0.05


async def create_topic(broker: str) -> None:
    """Create the input topic; one that exists is fine."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        topic = NewTopic(TOPIC, PARTITIONS, 1, topic_configs={"retention.ms": "-1"})
        answer = await admin.create_topics([topic])
        for _, code, *_ in answer.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise for_code(code)(TOPIC)
    finally:
        await admin.close()


async def feed(
    broker: str, lines: Sequence[str], rate: float, progress: Callable[[int], None]
) -> None:
    """Send `lines` at `rate` a second (0: as fast as it goes); tell how many were acknowledged.

    The producer is idempotent: it resends through a broker's death without doubling a line.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=broker, enable_idempotence=True, linger_ms=5, request_timeout_ms=60_000
    )
    await producer.start()
    try:
        clock = asyncio.get_running_loop().time
        began, sent, time = clock(), 0, 0
        step = max(1, int(rate * SLICE_S)) if rate else 500
        while sent < len(lines):
            waiting = []
            for line in lines[sent : sent + step]:
                time = time_of(line, time)
                key = card_of(line)
                waiting.append(
                    await producer.send(
                        TOPIC,
                        line.encode(),
                        key=None if key is None else key.encode(),
                        timestamp_ms=time * 1000,
                    )
                )
            await asyncio.gather(*waiting)
            sent += len(waiting)
            progress(sent)
            if rate:
                await asyncio.sleep(max(0.0, began + sent / rate - clock()))
    finally:
        await producer.stop()


async def main() -> None:
    """Feed a file to a broker."""
    parser = argparse.ArgumentParser(description="feed card payments, line by line")
    parser.add_argument("--broker", required=True, help="HOST:PORT")
    parser.add_argument("--input", type=Path, default=SAMPLE)
    parser.add_argument("--rate", type=float, default=0, help="lines a second; 0 is unlimited")
    args = parser.parse_args()
    await create_topic(args.broker)
    lines = lines_of(args.input)
    await feed(args.broker, lines, args.rate, lambda n: None)
    print(f"{len(lines)} lines sent to {TOPIC}")


if __name__ == "__main__":
    asyncio.run(main())
