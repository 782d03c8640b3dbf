"""What compaction keeps of each batch: the decisions, one after the other in the order of the log.

Values in, values out; reading, writing and exchanging segments are `cleaner`'s affair. The rules
are Kafka's (KIP-58, KIP-98, KIP-354, KIP-534), and C1 and L7 are why: below the end of a cleaning
every transaction is decided, and only a newer committed record of its key lets a record go.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from hashlib import blake2b

from flowstream.broker.log.aborted import Aborted
from flowstream.broker.log.config import LONG_MAX
from flowstream.broker.log.producers import Producers
from flowstream.errors import WireError
from flowstream.wire.batch import (
    DECOMPRESSED_MAX,
    BatchHeader,
    body_of,
    decode_control,
    decode_records,
)
from flowstream.wire.batch_filter import Span, spans, with_records, without_records

ENTRY_BYTES = 200
"""What one key of the offset map costs at most: table slot, key and offset."""

KEY_MAX = 32
"""Longer keys are kept as digests, one byte longer, so that no key can be taken for a digest."""

RECORD = 64
"""Bytes of work that a record counts as at least."""

BREATH = 1024
"""Records after which a long batch lets others have their turn."""


class OffsetMap:
    """The newest offset of each key of the dirty section, as far as `limit` keys reach."""

    __slots__ = ("_limit", "_offsets", "latest")

    def __init__(self, limit: int) -> None:
        """An empty map for at most `limit` keys."""
        self._limit = max(limit, 1)
        self._offsets: dict[bytes, int] = {}
        self.latest = -1
        """Every record up to here is in the map: beyond it everything is kept."""

    def put(self, key: bytes, offset: int) -> bool:
        """`offset` is the newest of `key`. False when there is no room for another key."""
        if len(key) > KEY_MAX:
            key = _digest(key)
        if len(self._offsets) >= self._limit and key not in self._offsets:
            return False
        self._offsets[key] = offset
        return True

    def get(self, key: bytes) -> int:
        """The newest offset of `key`, -1 when the dirty section does not have it."""
        return self._offsets.get(key if len(key) <= KEY_MAX else _digest(key), -1)


def _digest(key: bytes) -> bytes:
    return b"\0" + blake2b(key, digest_size=KEY_MAX).digest()


class Transactions:
    """Which batches belong to aborted transactions, and which markers still have data.

    Fed with every batch in order. `kept` are the aborted transactions whose data was seen: the new
    transaction index, from which `take_kept` hands on what belongs to a segment.
    """

    def __init__(self, aborted: Iterable[Aborted]) -> None:
        """`aborted`: those of the log that may reach into what is read."""
        self._ahead = sorted(set(aborted), key=_first_offset, reverse=True)
        self._aborted: dict[int, Aborted] = {}
        self._seen: set[int] = set()
        """Producers of whose aborted transaction a batch was read."""
        self._committed: set[int] = set()
        """Producers of whose committed transaction a batch was read."""
        self._kept: list[Aborted] = []

    def take_kept(self) -> list[Aborted]:
        """The aborted transactions whose markers came since the last call."""
        kept, self._kept = self._kept, []
        return kept

    def is_aborted(self, header: BatchHeader) -> bool:
        """A data batch comes: whether its transaction was aborted."""
        self._begin(header.last_offset)
        if not header.is_transactional:
            return False
        if header.producer_id in self._aborted:
            self._seen.add(header.producer_id)
            return True
        self._committed.add(header.producer_id)
        return False

    def ends_nothing(self, header: BatchHeader, batch: memoryview) -> bool:
        """A marker comes: whether nothing is left of its transaction. Raises WireError."""
        self._begin(header.last_offset)
        if header.count == 0:
            return True
        producer_id = header.producer_id
        if decode_control(decode_records(batch)[0]).commit:
            seen = producer_id in self._committed
            self._committed.discard(producer_id)
            return not seen
        transaction = self._aborted.pop(producer_id, None)
        if transaction is None or producer_id not in self._seen:
            return True
        self._seen.discard(producer_id)
        self._kept.append(transaction)
        return False

    def _begin(self, offset: int) -> None:
        while self._ahead and self._ahead[-1].first_offset <= offset:
            transaction = self._ahead.pop()
            # Its marker may have been deleted meanwhile, with the segments before this batch.
            if transaction.last_offset >= offset:
                self._aborted.setdefault(transaction.producer_id, transaction)


def _first_offset(transaction: Aborted) -> int:
    return transaction.first_offset


def add_keys(
    offsets: OffsetMap, header: BatchHeader, batch: memoryview, start: int
) -> Generator[int, None, bool]:
    """Put the keys of a committed batch, from offset `start` on, into the map; yields after so many
    records. False when the map is full.

    Raises WireError where the body is not what its header says.
    """
    _, found = yield from read_spans(header, batch)
    for span in found:
        if span.key is not None and span.offset >= start and not offsets.put(span.key, span.offset):
            offsets.latest = max(offsets.latest, span.offset - 1)
            return False
    return True


def read_spans(
    header: BatchHeader, batch: memoryview
) -> Generator[int, None, tuple[bytes, list[Span]]]:
    """The body of a batch and its records, all or none; yields after so many, and for what the
    batch expands to. Raises WireError.
    """
    try:
        body = body_of(batch, header)
    except WireError:
        yield DECOMPRESSED_MAX // RECORD
        raise
    if header.codec:
        yield len(body) // RECORD
    found: list[Span] = []
    for span in spans(body, header):
        found.append(span)
        if len(found) % BREATH == 0:
            yield BREATH
    return body, found


class Filter:
    """What stays of each batch that a cleaning reads. `offsets`: the map of the dirty section."""

    def __init__(
        self,
        offsets: OffsetMap,
        transactions: Transactions,
        *,
        round_end: int,
        now: int,
        delete_retention_ms: int,
    ) -> None:
        """`round_end`: where the cleaning ends at most; the batch that ends there is kept, empty if
        need be, so that the last offset is not lost. Delete horizons count from `now`.
        """
        self.keyless = 0
        """Records without a key, which a compacted log cannot keep."""
        self.unreadable = 0
        """Batches whose body is not what the header says: they stay as they are."""
        self.transactions = transactions
        self._offsets = offsets
        self._round_end = round_end
        self._now = now
        self._horizon = min(now + delete_retention_ms, LONG_MAX)
        self._last: dict[int, tuple[int | None, int]] = {}

    def remember_last(self, producers: Producers) -> None:
        """The producers that are active now: the last batch of each stays (P3)."""
        self._last = {
            producer.producer_id: (
                producer.batches[-1][1] if producer.batches else None,
                producer.epoch,
            )
            for producer in producers
        }

    def retained(
        self, header: BatchHeader, batch: memoryview
    ) -> Generator[int, None, bytes | bytearray | memoryview | None]:
        """What stays of the next batch: itself, a smaller one or nothing; yields after so many
        records.
        """
        if header.is_control:
            return self._marker(header, batch)
        if self.transactions.is_aborted(header):
            return without_records(header) if self._must_stay(header) else None
        try:
            body, found = yield from read_spans(header, batch)
        except WireError:
            # What it holds is unknown, and so is what would be lost.
            self.unreadable += 1
            return batch
        kept = self._records(found, header)
        if not kept:
            return without_records(header) if self._must_stay(header) else None
        needs_horizon = not self._is_dated(header) and any(not s.has_value for s in kept)
        if len(kept) == header.count and not needs_horizon:
            return batch
        return with_records(header, body, kept, self._horizon_of(header, needs_horizon))

    def _records(self, found: list[Span], header: BatchHeader) -> list[Span]:
        """The records that stay."""
        latest, newest = self._offsets.latest, self._offsets.get
        expired = header.has_delete_horizon and header.base_timestamp <= self._now
        kept: list[Span] = []
        for span in found:
            if span.offset <= latest:
                if span.key is None:
                    self.keyless += 1
                    continue
                if newest(span.key) > span.offset or (expired and not span.has_value):
                    continue
            kept.append(span)
        return kept

    def _marker(self, header: BatchHeader, batch: memoryview) -> bytearray | memoryview | None:
        """A marker goes once its data is gone and, counted from then, the delete horizon passed."""
        if not self.transactions.ends_nothing(header, batch):
            return batch
        dated = self._is_dated(header)
        if header.count and dated and header.base_timestamp > self._now:
            return batch
        if header.count and not dated:
            body = body_of(batch, header)
            return with_records(header, body, list(spans(body, header)), self._horizon)
        return without_records(header) if self._must_stay(header) else None

    def _is_dated(self, header: BatchHeader) -> bool:
        """Whether a horizon was set that can be: one beyond those of now is of a clock that was set
        back since, or of a longer retention. It would be there for as long, and counts anew.
        """
        return header.has_delete_horizon and header.base_timestamp <= self._horizon

    def _horizon_of(self, header: BatchHeader, needed: bool) -> int | None:
        if needed:
            return self._horizon
        return header.base_timestamp if header.has_delete_horizon else None

    def _must_stay(self, header: BatchHeader) -> bool:
        """Whether the batch must be kept though it is empty."""
        if header.last_offset + 1 == self._round_end:
            return True
        if header.producer_id < 0 or header.producer_id not in self._last:
            return False
        last_offset, epoch = self._last[header.producer_id]
        if last_offset is not None:
            return header.last_offset == last_offset
        return header.is_control and header.producer_epoch == epoch
