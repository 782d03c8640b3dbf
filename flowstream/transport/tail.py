"""Follow many partitions at once, committed records only: one fetch per broker, on connections of
their own, so that waiting for news delays nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from flowstream.clock import wall_ms
from flowstream.transport.cluster import Cluster, Leader, backoffs
from flowstream.transport.errors import ConnectionLost, RequestRefused, TransportError
from flowstream.transport.reader import READ_COMMITTED, PartitionReader
from flowstream.transport.types import LogRecord, TopicPartition
from flowstream.wire.api import ApiKey
from flowstream.wire.messages.fetch import FetchRequest, FetchTopic

LANE = "tail"
PARTITION_BYTES = 256 << 10
"""Few enough records that applying them holds the loop for milliseconds."""
MAX_BYTES = 4 << 20
SILENCE_MS = 30_000
"""A broker that has nothing to tell says so twice a second."""

Found = dict[TopicPartition, tuple[int, list[LogRecord]]]
"""By partition: the position behind everything that was read, and the records."""


class LongSilence(TransportError):
    """A partition was not answered for long, and is again: what was deleted meanwhile may have been
    cleaned away with its tombstone. Whoever follows decides, and then has it `go_on`.
    """

    def __init__(self, tp: TopicPartition, silence_ms: int) -> None:
        self.tp = tp
        self.silence_ms = silence_ms
        super().__init__(f"nothing was heard of {tp.topic}-{tp.partition} for {silence_ms} ms")


class Tail:
    """The partitions that are followed, each from a position on."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._readers: dict[TopicPartition, PartitionReader] = {}
        self._pauses = backoffs()
        self._some = asyncio.Event()
        self._heard_ms: dict[TopicPartition, int] = {}
        """When each was answered last, by the wall clock: a machine that sleeps has no other."""
        self._error: BaseException | None = None
        """Met beside news of others: the next read raises it."""
        self.failed: TopicPartition | None = None
        """The partition that the last error was about, if it was about one."""

    def follow(self, tp: TopicPartition, start: int) -> None:
        """Follow a partition too; it is in the next fetch that begins."""
        self._readers[tp] = PartitionReader(self._cluster, tp, start, max_bytes=PARTITION_BYTES)
        self._heard_ms[tp] = wall_ms()
        self._some.set()

    def leave(self, tp: TopicPartition) -> None:
        """Follow it no more; what a fetch on its way brings of it is forgotten."""
        self._readers.pop(tp, None)
        self._heard_ms.pop(tp, None)
        if not self._readers:
            self._some.clear()

    def go_on(self, tp: TopicPartition) -> None:
        """Nothing was missed in the silence: read on from where it was."""
        if tp in self._readers:
            self._heard_ms[tp] = wall_ms()

    def last_stable(self, tp: TopicPartition) -> int | None:
        """The last stable offset of a partition at its last fetch, if it is followed."""
        reader = self._readers.get(tp)
        return None if reader is None else reader.last_stable

    async def read(self, timeout_ms: int = 500) -> Found:
        """What is new in the partitions, those without news left out; waits while there is none to
        follow. Raises OffsetOutOfRange, LongSilence, and RequestRefused for what will not pass;
        what other partitions have brought by then is given first.
        """
        self._raise()
        self.failed = None
        await self._some.wait()
        by_node: dict[int, list[tuple[TopicPartition, PartitionReader]]] = {}
        for tp, reader in list(self._readers.items()):
            by_node.setdefault(await self._cluster.leader(tp), []).append((tp, reader))
        found: Found = {}
        for part in await asyncio.gather(
            *(self._fetch(node, group, timeout_ms) for node, group in by_node.items()),
            return_exceptions=True,
        ):
            if isinstance(part, BaseException):
                self._error, self.failed = part, None
            else:
                found.update(part)
        # A broker fills its answer in the order in which it was asked: who had something is asked
        # for last, or those behind would wait for as long as it has more.
        for tp in sorted(found.keys() & self._readers.keys()):
            self._readers[tp] = self._readers.pop(tp)
        if not found:
            self._raise()
        return found

    def _silence_ms(self, tp: TopicPartition) -> int:
        return wall_ms() - self._heard_ms[tp]

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    async def _fetch(
        self,
        node: int,
        group: Sequence[tuple[TopicPartition, PartitionReader]],
        timeout_ms: int,
    ) -> Found:
        request = _request(group, timeout_ms)
        try:
            answer = await self._cluster.request(
                node, ApiKey.FETCH, lambda _: request, min_version=4, max_version=12,
                timeout_ms=timeout_ms + self._cluster.request_timeout_ms, lane=LANE,
            )  # fmt: skip
        except ConnectionLost:
            for tp, _ in group:
                self._cluster.forget(Leader(tp))
            await asyncio.sleep(next(self._pauses))
            return {}
        if answer.error_code:
            raise RequestRefused("fetch", answer.error_code)
        self._pauses = backoffs()
        readers = dict(group)
        found: Found = {}
        for topic in answer.responses:
            for data in topic.partitions:
                tp = TopicPartition(topic.topic, data.partition_index)
                reader = readers[tp]
                before = reader.position
                if self._readers.get(tp) is not reader:
                    continue
                if not data.error_code and (silence_ms := self._silence_ms(tp)) >= SILENCE_MS:
                    self._error = LongSilence(tp, silence_ms)
                    continue
                try:
                    records = await reader.accept(data)
                except TransportError as error:
                    self._error, self.failed = error, tp
                    continue
                if not data.error_code:
                    self.go_on(tp)
                if reader.position != before and self._readers.get(tp) is reader:
                    found[tp] = reader.position, records
        return found


def _request(
    group: Sequence[tuple[TopicPartition, PartitionReader]], timeout_ms: int
) -> FetchRequest:
    topics: dict[str, list[PartitionReader]] = {}
    for tp, reader in group:
        topics.setdefault(tp.topic, []).append(reader)
    return FetchRequest(
        max_wait_ms=timeout_ms,
        min_bytes=1,
        max_bytes=MAX_BYTES,
        isolation_level=READ_COMMITTED,
        topics=tuple(
            FetchTopic(topic=name, partitions=tuple(reader.wish for reader in asked))
            for name, asked in topics.items()
        ),
    )
