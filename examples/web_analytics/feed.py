"""The feeder: sends a log's lines as they are, keyed by visitor, and one line that closes each
partition, a day after the last.

It judges nothing: a malformed line goes out like any other.
"""

from __future__ import annotations

import asyncio
import datetime
import gzip
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from aiokafka import AIOKafkaProducer

from flowstream.wire.hashing import partition_for_key

from .models import TIME, Hit

SAMPLE = Path(__file__).with_name("access_sample.log.gz")
LINES, KINDS = "access-lines", "referrer-kinds"
CLOSING = "closing."
KIND_OF = {
    "direct": "direct",
    "semicomplete.com": "the site itself",
    "www.semicomplete.com": "the site itself",
    "www.google.com": "search",
    "www.google.de": "search",
    "www.google.fr": "search",
    "duckduckgo.com": "search",
    "www.bing.com": "search",
    "t.co": "social",
    "www.reddit.com": "social",
    "stackoverflow.com": "forum",
}


def lines_of(path: Path) -> list[str]:
    """The lines of a log, gzipped or not."""
    raw = path.read_bytes()
    text = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    return text.decode("utf-8", "replace").splitlines()


def closing_lines(lines: Sequence[str], partitions: int) -> list[str]:
    """For each partition a last line, long after all others: it closes every window."""
    last = 0.0
    for line in lines:
        try:
            last = max(last, Hit.of_line(line).at)
        except ValueError:
            continue
    at = datetime.datetime.fromtimestamp(last + 86_400, datetime.UTC).strftime(TIME)
    found: dict[int, str] = {}
    for number in itertools.count():
        visitor = f"{CLOSING}{number}"
        found.setdefault(partition_for_key(visitor.encode(), partitions), visitor)
        if len(found) == partitions:
            break
    return [f'{v} - - [{at}] "GET /closing HTTP/1.1" 200 0 "-" "-"' for v in found.values()]


async def feed(
    broker: str,
    lines: Sequence[str],
    partitions: int,
    rate: float,
    progress: Callable[[int], None],
) -> None:
    """Send `lines` at `rate` a second (0: as fast as it goes); tell how many were acknowledged."""
    producer = AIOKafkaProducer(
        bootstrap_servers=broker, enable_idempotence=True, linger_ms=5, request_timeout_ms=60_000
    )
    await producer.start()
    try:
        clock = asyncio.get_running_loop().time
        began, step = clock(), max(1, int(rate / 20)) if rate else 500
        for sent in range(0, len(lines), step):
            part = lines[sent : sent + step]
            waiting = [
                await producer.send(LINES, line.encode(), key=line.partition(" ")[0].encode())
                for line in part
            ]
            await asyncio.gather(*waiting)
            progress(sent + len(part))
            if rate:
                await asyncio.sleep(max(0.0, began + (sent + len(part)) / rate - clock()))
        for line in closing_lines(lines, partitions):
            await producer.send_and_wait(LINES, line.encode(), key=line.partition(" ")[0].encode())
    finally:
        await producer.stop()


async def feed_kinds(broker: str) -> int:
    """Send what is known of referrers; how many there are."""
    producer = AIOKafkaProducer(bootstrap_servers=broker, enable_idempotence=True)
    await producer.start()
    try:
        for host, kind in KIND_OF.items():
            await producer.send_and_wait(KINDS, kind.encode(), key=host.encode())
    finally:
        await producer.stop()
    return len(KIND_OF)
