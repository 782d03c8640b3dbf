"""Records on their way out: one open batch per partition, sealed when it is shipped.

`RecordBuffer.append` is the hot path: one dict lookup and one call into aiokafka's compiled
builder per record. Knows no transaction; producer id, epoch and sequence come at ship time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from flowstream.transport.types import TopicPartition

_MAGIC = 2
_NO_HEADERS: list[tuple[str, bytes | None]] = []


class SealedBatch(NamedTuple):
    """Bytes of a batch that carries its producer's id, epoch and sequence."""

    tp: TopicPartition
    data: bytes
    records: int


class PendingBatch:
    """A full batch without a producer: `records` of them, in order, the first of `first_ms`."""

    __slots__ = ("_builder", "first_ms", "records", "tp")

    def __init__(self, tp: TopicPartition, builder: Any, records: int, first_ms: int) -> None:
        self.tp = tp
        self.records = records
        self.first_ms = first_ms
        self._builder = builder

    def seal(self, producer_id: int, epoch: int, sequence: int) -> SealedBatch:
        """The batch's bytes under this producer. Once only: a retry ships the same bytes."""
        self._builder.set_producer_state(producer_id, epoch, sequence)
        return SealedBatch(self.tp, bytes(self._builder.build()), self.records)


class _Open:
    """The batch of a partition that still takes records."""

    __slots__ = ("append", "builder", "count", "first_ms")

    def __init__(self, builder: Any, first_ms: int) -> None:
        self.builder = builder
        self.append = builder.append
        self.first_ms = first_ms
        self.count = 0


class RecordBuffer:
    """Records by partition, in the order of `append`."""

    def __init__(
        self, max_batch_bytes: int = 1 << 19, *, transactional: bool = True, compression: int = 0
    ) -> None:
        self._max_batch_bytes = max_batch_bytes
        self._transactional = transactional
        self._compression = compression
        self._open: dict[TopicPartition, _Open] = {}
        self._full: dict[TopicPartition, list[PendingBatch]] = {}
        self._full_bytes = 0
        self._topic_bytes: dict[str, int] = {}

    def limit(self, topic: str, max_batch_bytes: int) -> None:
        """The topic takes no larger batches than this."""
        self._topic_bytes[topic] = min(max_batch_bytes, self._max_batch_bytes)

    def append(
        self,
        tp: TopicPartition,
        key: bytes | None,
        value: bytes | None,
        timestamp_ms: int,
        headers: Sequence[tuple[str, bytes | None]] = (),
    ) -> None:
        """Add a record to its partition's batch; a record larger than a batch gets its own."""
        try:
            batch = self._open[tp]
        except KeyError:
            batch = self._open[tp] = self._begin(tp, timestamp_ms)
        count = batch.count
        listed = list(headers) if headers else _NO_HEADERS
        if batch.append(count, timestamp_ms, key, value, listed) is None:
            self._retire(tp, batch)
            batch, count = self._begin(tp, timestamp_ms), 0
            self._open[tp] = batch
            batch.append(0, timestamp_ms, key, value, listed)
        batch.count = count + 1

    def take(self) -> dict[TopicPartition, list[PendingBatch]]:
        """Everything appended so far, by partition; the buffer is empty after."""
        for tp, batch in self._open.items():
            if batch.count:  # not where the first record could not be encoded
                self._retire(tp, batch)
        taken, self._full = self._full, {}
        self._open = {}
        self._full_bytes = 0
        return taken

    @property
    def size_bytes(self) -> int:
        """Bytes held now."""
        open_bytes: int = sum(b.builder.size() for b in self._open.values())
        return self._full_bytes + open_bytes

    def __bool__(self) -> bool:
        return bool(self._open) or bool(self._full)

    def _begin(self, tp: TopicPartition, first_ms: int) -> _Open:
        return _Open(
            DefaultRecordBatchBuilder(
                magic=_MAGIC,
                compression_type=self._compression,
                is_transactional=int(self._transactional),
                producer_id=-1,
                producer_epoch=-1,
                base_sequence=-1,
                batch_size=self._topic_bytes.get(tp.topic, self._max_batch_bytes),
            ),
            first_ms,
        )

    def _retire(self, tp: TopicPartition, batch: _Open) -> None:
        self._full_bytes += batch.builder.size()
        self._full.setdefault(tp, []).append(
            PendingBatch(tp, batch.builder, batch.count, batch.first_ms)
        )
