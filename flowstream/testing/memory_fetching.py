"""The twin of `transport.fetching` for clusters in memory: long polls over any `Cluster`.

Shell. Positions are the caller's affair, as there; how long a poll rests is `Rest`'s.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Iterable, Mapping
from contextlib import suppress

from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import (
    ConnectionLost,
    ConsumerFailed,
    OffsetOutOfRange,
    Unreadable,
)
from flowstream.transport.fetching import Batches
from flowstream.transport.reader import READ_COMMITTED, PartitionReader
from flowstream.transport.types import ConsumerRecord, LogRecord, TopicPartition
from flowstream.transport.unpacking import Fetched
from flowstream.wire.api import ApiKey
from flowstream.wire.messages.fetch import FetchRequest, FetchTopic

RETRY_S = 0.1
FETCH_BYTES = 1 << 20


class Rest:
    """How a consumer waits when nothing is there: until there is news, or for so long."""

    async def wait(self, news: asyncio.Event, timeout_ms: int) -> None:
        """Come back when there is news, at the latest after `timeout_ms`."""
        with suppress(TimeoutError):
            # On virtual time nothing passes while a worker goes round and round.
            async with asyncio.timeout(max(1, timeout_ms) / 1000):
                await news.wait()


class MemoryFetching:
    """See `transport.consumer.Fetches`."""

    def __init__(
        self, cluster: Cluster, rest: Rest, fetch_wait_ms: int, max_partition_bytes: int
    ) -> None:
        self._max_partition_bytes = max_partition_bytes
        self.allowance: int | None = None
        """How many records more it gives; None: all."""
        self.arrivals: Mapping[tuple[str, int, int | None], int] = {}
        """Where it says something, records are given one by one and in this order, those that it
        does not know last.
        """
        self._cluster = cluster
        self._fetch_wait_ms = fetch_wait_ms
        self._rest = rest
        self._there: set[TopicPartition] = set()
        self._readers: dict[TopicPartition, PartitionReader] = {}
        self.paused: set[TopicPartition] = set()
        """What was paused and not resumed, wherever it was sought to."""
        self._ready: dict[TopicPartition, deque[ConsumerRecord]] = {}
        self._failure: Exception | None = None
        self._news = asyncio.Event()
        self._wanted = asyncio.Event()
        self._fetch: asyncio.Task[None] | None = None
        self._fetching: asyncio.Task[None] | None = None

    @property
    def has_records(self) -> bool:
        """Whether records wait that `getmany` would give."""
        if self.allowance == 0:
            return False
        return any(found and tp not in self.paused for tp, found in self._ready.items())

    async def open(self, topics: Iterable[str]) -> None:
        """Begin to fetch what is added."""
        del topics
        self._fetching = asyncio.create_task(self._guarded(self._fetch_on()))

    async def close(self) -> None:
        """Fetch no more."""
        tasks = [task for task in (self._fetching, self._fetch) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def add(self, partitions: Iterable[TopicPartition]) -> None:
        """Take partitions in beside those that are there; `seek` starts them."""
        self._there.update(partitions)

    def remove(self, partitions: Iterable[TopicPartition]) -> None:
        """Let partitions go: nothing that was fetched of them is given."""
        for tp in partitions:
            self._there.discard(tp)
            self.paused.discard(tp)
            self._readers.pop(tp, None)
            self._ready.pop(tp, None)
        self._fetch_again()

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Fetch from here, if the partition is there."""
        if tp in self._there:
            reader = PartitionReader(self._cluster, tp, offset, max_bytes=self._max_partition_bytes)
            self._readers[tp] = reader
            self._ready.pop(tp, None)
            self._fetch_again()

    def pause(self, *partitions: TopicPartition) -> None:
        """Give no more of these."""
        self.paused.update(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        """Give them again."""
        self.paused.difference_update(partitions)
        self._fetch_again()
        self._news.set()

    def highwater(self, tp: TopicPartition) -> int | None:
        """How far a partition goes, as the last fetch told."""
        reader = self._readers.get(tp)
        return None if reader is None else reader.high_watermark

    def unfetched(self, tp: TopicPartition) -> int | None:
        """Offsets between what `getmany` gave and that end."""
        reader, mark = self._readers.get(tp), self.highwater(tp)
        if reader is None or mark is None:
            return None
        return max(0, mark - reader.position) + len(self._ready.get(tp, ()))

    def silence_ms(self, tp: TopicPartition) -> int | None:
        """None before the first fetch; then nothing is ever late here."""
        return None if self.highwater(tp) is None else 0

    async def getmany(self, max_records: int, timeout_ms: int) -> Batches:
        """Records that are ready; waits for the first, as long as `rest` says."""
        self.check()
        if not self.has_records:
            self._news.clear()
            await self._rest.wait(self._news, timeout_ms)
            self.check()
        left = max_records if self.allowance is None else min(max_records, self.allowance)
        found: dict[TopicPartition, list[ConsumerRecord]] = {}
        upcoming = sorted(tp for tp, waiting in self._ready.items() if waiting)
        if self.arrivals:
            last = len(self.arrivals)
            upcoming.sort(key=lambda tp: self.arrivals.get((*tp, self._ready[tp][0].offset), last))
            left = min(left, 1)
        for tp in upcoming:
            waiting = self._ready[tp]
            if left and tp not in self.paused:
                count = min(left, len(waiting))
                found[tp] = [waiting.popleft() for _ in range(count)]
                left -= count
                if self.allowance is not None:
                    self.allowance -= count
                if not waiting:
                    self._fetch_again()
        return found

    def check(self) -> None:
        """Raise why nothing will be fetched any more."""
        if isinstance(self._failure, OffsetOutOfRange | Unreadable):
            raise self._failure
        if self._failure is not None:
            raise ConsumerFailed(f"fetching failed: {self._failure!r}") from self._failure

    def _fetch_again(self) -> None:
        self._wanted.set()
        if self._fetch is not None:
            self._fetch.cancel()

    async def _fetch_on(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wanted.wait()
            wanted = [
                (tp, reader)
                for tp, reader in sorted(self._readers.items(), key=lambda item: item[0])
                if not self._ready.get(tp)
            ]
            if not wanted:
                self._wanted.clear()
                continue
            self._fetch = loop.create_task(self._fetch_some(wanted))
            await asyncio.wait((self._fetch,))
            done, self._fetch = self._fetch, None
            if not done.cancelled():
                done.result()

    async def _fetch_some(self, wanted: list[tuple[TopicPartition, PartitionReader]]) -> None:
        topics: dict[str, list[PartitionReader]] = {}
        for tp, reader in wanted:
            topics.setdefault(tp.topic, []).append(reader)
        request = FetchRequest(
            max_wait_ms=self._fetch_wait_ms,
            min_bytes=1,
            max_bytes=FETCH_BYTES,
            isolation_level=READ_COMMITTED,
            topics=tuple(
                FetchTopic(topic=name, partitions=tuple(reader.wish for reader in readers))
                for name, readers in topics.items()
            ),
        )
        try:
            answer = await self._cluster.request(
                self._cluster.nodes()[0], ApiKey.FETCH, lambda _: request,
                min_version=4, max_version=12, timeout_ms=self._fetch_wait_ms + 5_000,
            )  # fmt: skip
        except ConnectionLost:
            await asyncio.sleep(RETRY_S)
            return
        readers = dict(wanted)
        for topic in answer.responses:
            for data in topic.partitions:
                tp = TopicPartition(topic.topic, data.partition_index)
                try:
                    records = await readers[tp].accept(data)
                except OffsetOutOfRange:
                    if self._readers.get(tp) is readers[tp]:
                        raise
                    continue
                if records and self._readers.get(tp) is readers[tp]:
                    self._ready.setdefault(tp, deque()).extend(arrived(tp, r) for r in records)
        if self.has_records:
            self._news.set()

    async def _guarded(self, work: Awaitable[None]) -> None:
        """What ends the background task is raised where someone looks."""
        try:
            await work
        except Exception as error:  # noqa: BLE001 (raised again by getmany)
            self._failure = error
            self._news.set()


def arrived(tp: TopicPartition, record: LogRecord) -> Fetched:
    """A record of a partition."""
    return Fetched(
        tp.topic, tp.partition, record.offset, record.timestamp, record.key, record.value,
        record.headers,
    )  # fmt: skip
