"""The log of one partition: admits batches, gives them offsets, answers reads, knows what is
stable.

Decides and remembers; every change to the disk leaves as an effect, and the state here is already
that of the future in which it succeeded: a failed write stops the node. Reading, rolling, retention
and recovery have files of their own beside this one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flowstream.broker.doors import Append, MakeDirectory, Operation, Put, Storage
from flowstream.broker.effects import Advance, Effect, Write
from flowstream.broker.log import names, reading, retention
from flowstream.broker.log.aborted import Aborted
from flowstream.broker.log.admission import Refused, check_client_batch, check_whole_batches
from flowstream.broker.log.checkpoints import encode_partition_metadata
from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.contents import Allowance
from flowstream.broker.log.producers import Batch, Wrong
from flowstream.broker.log.reading import Read, TimestampOffset
from flowstream.broker.log.rolling import close_clean, must_roll, roll, segments_from
from flowstream.broker.log.segment import Segment
from flowstream.broker.log.state import LogState
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.batch import (
    BatchHeader,
    decode_control,
    decode_records,
    encode_batch,
    encode_control_batch,
    read_header,
    restamp,
)
from flowstream.wire.batch_header import CONTROL, LENGTH_OVERHEAD

__all__ = ["Accepted", "Appended", "Duplicate", "PartitionLog", "Read", "Refused", "create_log"]


_PLACE = struct.Struct(">qii")
"""Base offset, length, leader epoch: the first and the last are the broker's, outside the CRC."""


@dataclass(slots=True)
class Accepted:
    """Batches that may be appended in this turn; `keep_offsets`: a leader gave them theirs.

    `span` is their number of offsets less one, `max_timestamp` the largest of all.
    """

    batches: memoryview
    headers: Sequence[tuple[int, BatchHeader]]
    span: int
    max_timestamp: int
    keep_offsets: bool = False


@dataclass(slots=True)
class Duplicate:
    """A repetition of a remembered batch; `timestamp` is what the first answer said (P1)."""

    base_offset: int
    last_offset: int
    timestamp: int


@dataclass(slots=True)
class Appended:
    """Where the batches went. `timestamp` is the broker's under LogAppendTime, else -1."""

    base_offset: int
    last_offset: int
    timestamp: int
    effects: list[Effect]


class PartitionLog(LogState):
    """One partition's log."""

    __slots__ = ()

    # Appending

    def admit(
        self,
        batches: memoryview,
        now: Instant,
        *,
        origin: str = "client",
        transaction_ok: bool = True,
        strict_sequence: bool = False,
        allowance: Allowance | None = None,
    ) -> Accepted | Duplicate | Refused:
        """Whether `batches` may be appended; changes nothing.

        `origin` is "client" (exactly one batch, all checks), "coordinator" or "replica" (whole
        batches with a CRC). `transaction_ok`: the coordinator confirms that this partition is in
        the producer's open transaction. `strict_sequence`: the producer speaks transactions v2, so
        that one unknown here begins with sequence 0 (KIP-890). `allowance`: what may be read of the
        records in all batches of the request.
        """
        if origin != "client":
            headers = check_whole_batches(batches)
            if isinstance(headers, Refused):
                return headers
            return _accepted(batches, headers, keep_offsets=origin == "replica")
        checked = check_client_batch(batches, self.config, now, allowance)
        if isinstance(checked, Refused):
            return checked
        header, batches = checked
        if header.producer_id >= 0:
            found = self.producers.check(header, transaction_ok, strict_sequence)
            if found is not None:
                return self._answer(found)
        return Accepted(batches, ((0, header),), header.last_offset_delta, header.max_timestamp)

    def _answer(self, found: Batch | Wrong) -> Duplicate | Refused:
        if isinstance(found, Wrong):
            return Refused(found.error, found.message)
        _, last_offset, span, timestamp = found
        stamp = timestamp if self.config.log_append_time else -1
        return Duplicate(last_offset - span, last_offset, stamp)

    def append(self, accepted: Accepted, now: Instant) -> Appended:
        """Give the batches their offsets, in place, and fold them in. They are written in this
        turn.
        """
        batches = accepted.batches
        if batches.readonly:
            batches = memoryview(bytearray(batches))
        if self.config.log_append_time:
            accepted = _restamped(accepted, batches, now)
        size = len(batches)
        segment = self.segments[-1]
        end = self.log_end + accepted.span
        operations: list[Operation] = []
        if must_roll(segment, self.config, size, accepted.max_timestamp, end, now):
            operations = roll(self, now)
            segment = self.segments[-1]
        base = first = self.log_end
        for position, header in accepted.headers:
            if accepted.keep_offsets:
                base = header.base_offset
                assert base >= self.log_end, f"{self.name}: {base} is below {self.log_end}"
                operations += self.assign_epoch(header.leader_epoch, base)
            else:
                _PLACE.pack_into(batches, position, base, header.batch_length, self.leader_epoch)
            last = base + header.last_offset_delta
            segment.extend(last, header.max_timestamp, LENGTH_OVERHEAD + header.batch_length)
            if header.producer_id >= 0:
                if header.attributes & CONTROL:
                    batch = batches[position : position + header.size]
                    self.fold_marker(segment, batch, header, base, now)
                else:
                    self.producers.append(header, base, now)
            self.log_end = base = last + 1
        operations.append(Append(segment.path, (batches,)))
        self.appended.append((base, segment, segment.size))
        stamp = now if self.config.log_append_time else -1
        return Appended(first, base - 1, stamp, [Write(operations), Advance(self, base)])

    def fold_marker(
        self, segment: Segment, batch: memoryview, header: BatchHeader, offset: int, now: Instant
    ) -> None:
        """A marker at `offset` ends its producer's transaction; an aborted one enters the index of
        `segment`.
        """
        if not header.count:
            # Compaction emptied it: nothing of the transaction is left but the epoch.
            self.producers.fence(header.producer_id, header.producer_epoch, now)
            return
        marker = decode_control(decode_records(batch)[0])
        first = self.producers.finish(
            header.producer_id,
            header.producer_epoch,
            marker.coordinator_epoch,
            header.max_timestamp,
            now,
        )
        if first is None:
            return
        self.completed.append((first, offset))
        if not marker.commit:
            oldest = self.producers.oldest_open
            stable = offset + 1 if oldest is None else oldest
            segment.aborted.append(Aborted(header.producer_id, first, offset, stable))

    def append_records(
        self,
        records: Sequence[tuple[bytes | None, bytes | None]],
        now: Instant,
        *,
        producer: tuple[int, int] | None = None,
        compression: int = 0,
    ) -> Appended:
        """One batch of a coordinator's (key, value) pairs; in the transaction of `producer` (id,
        epoch) when there is one.
        """
        producer_id, epoch = producer or (-1, -1)
        batch = encode_batch(
            [(now, key, value, ()) for key, value in records],
            codec=compression,
            producer_id=producer_id,
            producer_epoch=epoch,
            transactional=producer is not None,
        )
        return self.append(_accepted(memoryview(batch), [(0, read_header(batch))]), now)

    def append_marker(
        self,
        producer_id: int,
        producer_epoch: int,
        commit: bool,
        coordinator_epoch: int,
        now: Instant,
    ) -> Appended:
        """End the producer's transaction here (T7). Repeating it is harmless."""
        batch = encode_control_batch(
            commit,
            base_offset=self.log_end,
            producer_id=producer_id,
            producer_epoch=producer_epoch,
            coordinator_epoch=coordinator_epoch,
            timestamp=now,
            leader_epoch=self.leader_epoch,
        )
        return self.append(_accepted(memoryview(batch), [(0, read_header(batch))]), now)

    def advance(self, offset: int) -> None:
        """Everything below `offset` is durable: the high watermark moves there."""
        if offset <= self.high_watermark:
            return
        assert offset <= self.log_end, f"{self.name}: {offset} is beyond {self.log_end}"
        self.high_watermark = offset
        appended = self.appended
        while appended and appended[0][0] <= offset:
            end, segment, position = appended.popleft()
            if end == offset:
                self.remember(end, segment, position)
        while self.sealed and self.sealed[0][0] <= offset:
            self.sealed.popleft()[1].release()
        while self.completed and self.completed[0][1] < offset:
            self.completed.popleft()

    # Leadership

    def lead(self, epoch: int) -> list[Operation]:
        """Batches carry leader epoch `epoch` from here on."""
        self.leader_epoch = epoch
        return self.assign_epoch(epoch, self.log_end)

    def leader_epoch_end(self, epoch: int) -> tuple[int, int]:
        """The largest epoch not above `epoch` and its end offset, (-1, -1) when unknown
        (OffsetForLeaderEpoch).
        """
        return self.epochs.end_of(epoch, self.log_end)

    # Reading, retention, closing: see `reading`, `retention`, `rolling`

    def read(
        self,
        offset: int,
        max_bytes: int,
        *,
        committed_only: bool = False,
        upto: str = "high_watermark",
        min_one: bool = True,
    ) -> Read:
        """Whole batches from the one that holds `offset`, below `upto` ("high_watermark",
        "last_stable", "log_end"); see `reading`.
        """
        return reading.read(self, offset, max_bytes, committed_only, upto, min_one)

    def offset_for_timestamp(self, timestamp: int) -> TimestampOffset | None:
        """The first record that is not older than `timestamp`; negative ones are ListOffsets'
        special places.
        """
        return reading.offset_for_timestamp(self, timestamp)

    def scan(self) -> Iterator[memoryview]:
        """Every batch from the log start to the log end, each as its bytes; what is pending must
        have been written.
        """
        return reading.scan(self)

    def delete_before(self, offset: int, most: int = retention.SEGMENTS_AT_ONCE) -> list[Effect]:
        """Move the log start forward to `offset` (DeleteRecords, L8), but not beyond the high
        watermark, and delete at most so many segments.
        """
        start = self.log_start
        return self._noticed(start, retention.delete_before(self, offset, most))

    def tick(self, now: Instant) -> list[Effect]:
        """Delete segments that are too old or too many; forget producers long silent."""
        start = self.log_start
        return self._noticed(start, retention.tick(self, now))

    def _noticed(self, start: int, effects: list[Effect]) -> list[Effect]:
        """Readers are told when the log start moved on from `start`, as when the end does."""
        return (
            effects if self.log_start == start else [*effects, Advance(self, self.high_watermark)]
        )

    def unsynced_paths(self) -> list[str]:
        """What to sync before the recovery point may move to the log end, should the durability not
        do that anyway.
        """
        return [s.path for s in segments_from(self, self.recovery_point)]

    def flushed(self, offset: int) -> None:
        """Everything below `offset` was synced: recovery need not look below it."""
        assert offset <= self.log_end, f"{self.name}: {offset} is beyond {self.log_end}"
        self.recovery_point = max(self.recovery_point, offset)

    def close_clean(self, now: Instant, *, synced: bool = False) -> list[Operation]:
        """Leave the directory so that the next start trusts it. The recovery point is the log end
        once these are performed and synced. `synced`: what was appended is, or will be before that.
        """
        return close_clean(self, synced=synced)


def _restamped(accepted: Accepted, batches: memoryview, now: Instant) -> Accepted:
    """LogAppendTime: attributes, largest timestamp and CRC are the broker's; a leader has done so
    already.
    """
    if accepted.keep_offsets:
        return accepted
    headers = []
    for position, _ in accepted.headers:
        restamp(batches, now, position)
        headers.append((position, read_header(batches, position)))
    return _accepted(batches, headers)


def _accepted(
    batches: memoryview, headers: Sequence[tuple[int, BatchHeader]], *, keep_offsets: bool = False
) -> Accepted:
    span = sum(header.last_offset_delta + 1 for _, header in headers) - 1
    largest = max(header.max_timestamp for _, header in headers)
    return Accepted(batches, headers, span, largest, keep_offsets)


def create_log(
    storage: Storage, name: TopicPartition, topic_id: bytes, config: LogConfig, now: Instant
) -> tuple[PartitionLog, list[Operation]]:
    """The empty log of a new partition, and what makes its directory: durable with the next sync,
    like the record that tells of it. What a crash leaves of it before is nothing, or an empty log.
    """
    directory = str(name)
    log = PartitionLog(
        storage, name, topic_id, config, [Segment(storage, directory, 0, now, config)]
    )
    log.epochs.assign(0, 0)
    operations: list[Operation] = [
        MakeDirectory(directory),
        Put(f"{directory}/{names.PARTITION_METADATA}", encode_partition_metadata(topic_id)),
        Put(*log.epochs_file()),
        Append(log.active.path, ()),
    ]
    return log, operations
