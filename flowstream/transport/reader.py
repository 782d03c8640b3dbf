"""Read one partition, committed records only, without a group: for restores and for tailing.

Its position moves over everything that is no record for the reader: markers, aborted
transactions, and gaps that compaction left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Any

from aiokafka.errors import KafkaError
from aiokafka.record.memory_records import MemoryRecords

from flowstream.errors import WireError
from flowstream.transport.cluster import DEFAULT_LANE, Cluster, Leader, backoffs
from flowstream.transport.errors import (
    ConnectionLost,
    OffsetOutOfRange,
    RequestRefused,
    UnreadableRecords,
)
from flowstream.transport.types import LogRecord, TopicPartition
from flowstream.transport.visible import check_order, first_offset, judged, reread
from flowstream.wire.api import ApiKey
from flowstream.wire.error_codes import ErrorCode, retriable
from flowstream.wire.messages.fetch import (
    FetchPartition,
    FetchRequest,
    FetchTopic,
    PartitionData,
)

READ_COMMITTED = 1
STORAGE_RETRIES = 10


class PartitionReader:
    """A position in one partition. Nothing to close: it borrows the cluster's connections.

    A broker answers a connection's requests one after the other: whoever waits for news while
    others use the cluster does it in a lane of its own.
    """

    def __init__(
        self,
        cluster: Cluster,
        tp: TopicPartition,
        start: int,
        *,
        max_bytes: int = 4 << 20,
        committed_only: bool = True,
        lane: Hashable = DEFAULT_LANE,
    ) -> None:
        self.position = start
        """Offset of the next record to read: every record below it has been returned."""
        self.high_watermark: int | None = None
        """High watermark at the last fetch."""
        self.last_stable: int | None = None
        """Last stable offset at the last fetch: below it every transaction is decided."""
        self.log_start: int | None = None
        """First offset of the partition at the last fetch."""
        self.read_bytes = 0
        """Size of the last fetch's records, as they came."""
        self._cluster = cluster
        self._pauses = backoffs()
        self._storage_errors = 0
        self._tp = tp
        self._lane = lane
        self._max_bytes = max_bytes
        self._isolation = READ_COMMITTED if committed_only else 0

    async def read(self, timeout_ms: int = 500) -> list[LogRecord]:
        """The next records; empty when none came within `timeout_ms`, when only `position` moved
        on, or when the leader is moving. Raises OffsetOutOfRange.
        """
        try:
            answer = await self._cluster.request(
                Leader(self._tp),
                ApiKey.FETCH,
                lambda _: self._request(timeout_ms),
                min_version=4,
                max_version=12,
                timeout_ms=timeout_ms + self._cluster.request_timeout_ms,
                lane=self._lane,
            )
        except ConnectionLost:
            await asyncio.sleep(next(self._pauses))
            return []
        if answer.error_code:
            raise RequestRefused("fetch", answer.error_code)
        return await self.accept(answer.responses[0].partitions[0])

    async def accept(self, data: PartitionData) -> list[LogRecord]:
        """The records of a fetch's answer for this partition, with the position moved behind them;
        empty after an error that passes. Raises OffsetOutOfRange.
        """
        if data.error_code == ErrorCode.OFFSET_OUT_OF_RANGE:
            raise OffsetOutOfRange(self._tp, self.position)
        if data.error_code:
            await self._retry_later(data.error_code)
            return []
        self._pauses = backoffs()
        self._storage_errors = 0
        self.high_watermark = data.high_watermark
        self.last_stable = data.last_stable_offset
        self.log_start = data.log_start_offset
        self.read_bytes = len(data.records or b"")
        if not data.records:
            return []
        return self._decode(bytes(data.records), data)

    @property
    def wish(self) -> FetchPartition:
        """What to ask a fetch for."""
        return FetchPartition(
            partition=self._tp.partition,
            fetch_offset=self.position,
            partition_max_bytes=self._max_bytes,
        )

    def _request(self, timeout_ms: int) -> FetchRequest:
        return FetchRequest(
            max_wait_ms=timeout_ms,
            min_bytes=1,
            max_bytes=self._max_bytes,
            isolation_level=self._isolation,
            topics=(FetchTopic(topic=self._tp.topic, partitions=(self.wish,)),),
        )

    async def _retry_later(self, code: int) -> None:
        what = f"fetch of {self._tp.topic}-{self._tp.partition}"
        if not retriable(code):
            raise RequestRefused(what, code)
        if code == ErrorCode.KAFKA_STORAGE_ERROR:
            # Another replica may take over soon; a damaged segment is damaged for good.
            self._storage_errors += 1
            if self._storage_errors > STORAGE_RETRIES:
                where = f"{what} at offset {self.position}"
                raise RequestRefused(where, code, "the broker cannot read its segment there")
        self._cluster.forget(Leader(self._tp))
        await asyncio.sleep(next(self._pauses))

    def _decode(self, data: bytes, fetched: PartitionData) -> list[LogRecord]:
        """The visible records of `data`, with the position moved behind it (T6). Where it cannot be
        read the position stays: what lies before that is nobody's yet.
        """
        begins = [(a.first_offset, a.producer_id) for a in fetched.aborted_transactions or ()]
        found: list[LogRecord] = []
        where = f"{self._tp.topic}-{self._tp.partition}"
        position = self.position
        try:
            for batch, is_visible in judged(MemoryRecords(data), data, begins, where):
                if is_visible:
                    self._collect(batch, data, found)
                position = max(position, batch.next_offset)
        except (WireError, KafkaError) as error:
            raise UnreadableRecords(self._tp, position, error) from error
        self.position = position
        return found

    def _collect(self, batch: Any, data: bytes, found: list[LogRecord]) -> None:
        records: list[Any]
        try:
            records = list(batch)
        except Exception:  # noqa: BLE001 - aiokafka's decoders raise all kinds
            records = reread(batch, data)
        if (first := first_offset(batch)) is not None:
            check_order([record.offset for record in records], first, batch.next_offset)
        if records and records[0].offset < self.position:
            # The broker answers with whole batches: the first may begin before the position.
            records = [record for record in records if record.offset >= self.position]
        found += records
