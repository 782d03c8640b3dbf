"""A compacted log over a disk that crashes, beside the list of all that was ever appended.

What a reader sees is compared with what that list says it must see.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

from flowstream.broker.doors import Append, MakeDirectory, Operation, Replace
from flowstream.broker.effects import Advance, Effect, Happened, Write
from flowstream.broker.log import checkpoints
from flowstream.broker.log.cleaner import Cleaning, plan
from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.partition import Accepted, Appended, PartitionLog, create_log
from flowstream.broker.log.recovery import open_log
from flowstream.broker.log.state import NEVER_CLEANED
from flowstream.broker.log.swapping import finish_swaps
from flowstream.broker.storage.memory import MemoryStorage
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.batch import (
    Record,
    check_crc,
    decode_control,
    decode_records,
    encode_batch,
    iter_batches,
    read_header,
)

NAME = TopicPartition("table", 0)
TOPIC_ID = bytes(range(16))
RETENTION_MS = 3_000
CONFIG = LogConfig(
    segment_bytes=1200,
    index_interval_bytes=150,
    segment_index_bytes=1000,
    timestamp_after_max_ms=1 << 60,
    compact=True,
    delete=False,
    delete_retention_ms=RETENTION_MS,
)
KEYS = [b"a", b"bb", b"c" * 40, b"", b"e"]


def committed(batches: Iterable[bytes]) -> list[Record]:
    """The records of batches in order, without those of aborted transactions or open ones."""
    found: list[Record] = []
    pending: dict[int, list[Record]] = {}
    for batch in batches:
        header = read_header(batch)
        if header.is_control:
            records = pending.pop(header.producer_id, [])
            if decode_control(decode_records(batch)[0]).commit:
                found += records
        elif header.is_transactional:
            pending.setdefault(header.producer_id, []).extend(decode_records(batch))
        else:
            found += decode_records(batch)
    return sorted(found)


def read_all(log: PartitionLog, limit: int, *, upto: str = "last_stable") -> list[Record]:
    """What a client makes of a partition that it reads in fetches of `limit` bytes."""
    offset = log.log_start
    found: list[Record] = []
    ended: set[int] = set()
    only = upto == "last_stable"
    bound = log.last_stable if only else log.high_watermark
    while offset < bound:
        read = log.read(offset, limit, committed_only=only, upto=upto)
        assert read.error == 0, read
        assert read.next_offset > offset, read
        aborted = sorted((first, pid) for pid, first in read.aborted or ())
        data = memoryview(b"".join(read.buffers))
        for position, header in iter_batches(data):
            assert check_crc(data, header, position), "L5"
            batch = data[position : position + header.size]
            while aborted and aborted[0][0] <= header.last_offset:
                ended.add(aborted.pop(0)[1])
            if header.is_control:
                ended.discard(header.producer_id)
            elif not (header.is_transactional and header.producer_id in ended):
                found += [r for r in decode_records(batch) if r.offset >= offset]
        offset = read.next_offset
    return found


class Compacted:
    """A log with producers, transactions and tombstones; the list of its batches beside it."""

    def __init__(self, seed: int, config: LogConfig = CONFIG) -> None:
        self.rng = random.Random(seed)
        self.config = replace(config, segment_bytes=self.rng.choice([450, 700, 1200]))
        self.storage = MemoryStorage()
        self.batches: list[bytes] = []
        self.now = Instant(1_000_000)
        self.unsynced: set[str] = set()
        self.advances: list[int] = []
        self.sequences: dict[int, tuple[int, int]] = {}
        self.acknowledged = 0
        self.log_start = 0
        self.cleanings = 0
        self.slices = [1, 300, 1 << 17]
        self.deletes = False
        """Whether records are deleted now and then, also while a cleaning goes on."""
        self.tried = 0
        """The farthest end of a cleaning, also of one that was cut short."""
        self.log, operations = create_log(self.storage, NAME, TOPIC_ID, self.config, self.now)
        self.storage.sync(self.storage.perform(operations))

    # Appending

    def carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Write):
                self.unsynced |= self.storage.perform(effect.operations)
            elif not isinstance(effect, Happened):
                assert isinstance(effect, Advance)
                self.advances.append(effect.offset)

    def appended(self, appended: Appended) -> None:
        for effect in appended.effects:
            if isinstance(effect, Write):
                write = effect.operations[-1]
                assert isinstance(write, Append)
                self.batches.append(b"".join(bytes(buffer) for buffer in write.buffers))
        self.carry_out(appended.effects)

    def produce(self) -> None:
        rng = self.rng
        producer_id = rng.choice([-1, 1, 2, 3, 4, 5])
        records = []
        for _ in range(rng.randrange(1, 5)):
            value = None if rng.random() < 0.2 else rng.randbytes(rng.randrange(0, 60))
            headers = (("h", b"1"),) if rng.random() < 0.2 else ()
            records.append((self.now - rng.randrange(0, 50), rng.choice(KEYS), value, headers))
        epoch, sequence = self.sequences.get(producer_id, (0, 0))
        if producer_id < 0:
            epoch = sequence = -1
        batch = encode_batch(
            records,
            codec=rng.choice([0, 0, 1, 4]),
            producer_id=producer_id,
            producer_epoch=epoch,
            base_sequence=sequence,
            transactional=producer_id >= 3,
        )
        admitted = self.log.admit(memoryview(batch), self.now)
        assert isinstance(admitted, Accepted), admitted
        if producer_id >= 0:
            self.sequences[producer_id] = (epoch, sequence + len(records))
        self.appended(self.log.append(admitted, self.now))

    def end_transaction(self) -> None:
        opened = self.log.open_transactions
        if not opened:
            return
        producer_id = self.rng.choice(list(opened))
        epoch, sequence = self.sequences[producer_id]
        if self.rng.random() < 0.4:
            epoch, sequence = epoch + 1, 0
        self.sequences[producer_id] = (epoch, sequence)
        commit = self.rng.random() < 0.6
        self.appended(self.log.append_marker(producer_id, epoch, commit, 7, self.now))

    def sync(self) -> None:
        paths, self.unsynced = self.unsynced, set()
        self.storage.sync(paths)
        advances, self.advances = self.advances, []
        for offset in advances:
            self.log.advance(offset)
        self.acknowledged = self.log.high_watermark

    def wait(self) -> None:
        self.now = Instant(self.now + self.rng.choice([10, 100, RETENTION_MS]))

    def live(self, steps: int) -> None:
        """Some random life without a cleaning."""
        acts = [self.produce] * 12 + [self.end_transaction] * 4 + [self.sync] * 4 + [self.wait]
        for _ in range(steps):
            self.now = Instant(self.now + self.rng.randrange(0, 20))
            self.rng.choice(acts)()
        self.sync()

    # Cleaning

    def clean(self, keys: int = 1000) -> bool:
        """One cleaning from its plan to its checkpoint; life goes on between its slices. False when
        there was nothing to do.
        """
        found = plan(self.log, self.now)
        if found is None:
            return False
        self.tried = max(self.tried, found.end)
        if self.log.clean_end == NEVER_CLEANED:
            self.log.clean_end = found.first_dirty
            self.checkpoint()
        flush, slice_bytes = self.rng.random() < 0.5, self.rng.choice(self.slices)
        cleaning = Cleaning(
            self.log, found, self.now, keys=keys, flush=flush, slice_bytes=slice_bytes
        )
        while (operations := cleaning.step()) is not None:
            if self.rng.random() < 0.05:
                self.produce()
            self.look()  # in the turn of the exchange, before the disk has it
            self.perform(operations)
            self.look()  # and after, before it is durable
            if self.deletes and self.rng.random() < 0.05:
                self.delete_records()
            self.sync()
        if cleaning.end is None:
            assert self.deletes
            return False
        assert found.first_dirty < cleaning.end <= found.end
        self.log.clean_end = cleaning.end
        self.checkpoint()
        self.cleanings += 1
        return True

    def delete_records(self) -> None:
        """Move the log start; segments may go that are being cleaned."""
        log = self.log
        offset = log.log_start + self.rng.randrange(
            0, max(2, (log.last_stable - log.log_start) // 4)
        )
        self.carry_out(log.delete_before(offset))
        starts = checkpoints.encode_offsets({NAME: log.log_start})
        self.storage.perform([Replace(checkpoints.LOG_START, starts)])
        self.log_start = log.log_start

    def look(self) -> None:
        """Read now and then, whatever stage an exchange of segments is at."""
        if self.rng.random() < 0.03:
            read_all(self.log, 400)

    def clean_all(self, keys: int = 1000) -> None:
        """Cleanings until nothing is left to do; what is appended meanwhile may wait."""
        turns = 0
        while turns < 40 and self.clean(keys):
            turns += 1

    def perform(self, operations: list[Operation]) -> None:
        self.unsynced |= self.storage.perform(operations)

    def checkpoint(self) -> None:
        ends = checkpoints.encode_offsets({NAME: self.log.clean_end})
        self.storage.perform([Replace(checkpoints.CLEANER, ends)])

    # Coming back

    def recover(self, *, clean: bool = False) -> None:
        """Open the directory anew; what was lost is lost in the list too."""
        if clean:
            self.sync()
            self.storage.sync(self.storage.perform(self.log.close_clean(self.now)))
        storage = self.storage
        self.unsynced.clear()
        self.advances.clear()
        storage.perform([MakeDirectory(str(NAME)), *finish_swaps(storage, str(NAME))])
        opened = open_log(
            storage,
            NAME,
            TOPIC_ID,
            self.config,
            self.now,
            clean=clean,
            recovery_point=0,
            log_start=self.checkpointed(checkpoints.LOG_START, 0),
            clean_end=self.checkpointed(checkpoints.CLEANER, NEVER_CLEANED),
        )
        storage.perform(opened.operations)
        self.log = opened.log
        assert self.log.log_end >= self.acknowledged, "L2: an acknowledged record is gone"
        assert self.log.log_start >= self.log_start, "L8: deleted records are back"
        self.batches = [b for b in self.batches if read_header(b).last_offset < self.log.log_end]
        self.sequences = {
            p.producer_id: (p.epoch, max(p.next_sequence, 0)) for p in self.log.producers
        }

    def checkpointed(self, path: str, default: int) -> int:
        """What a checkpoint file says of the log."""
        size = self.storage.size(path)
        if size is None:
            return default
        return checkpoints.decode_offsets(self.storage.read(path, 0, size), path).get(NAME, default)

    # Comparing

    def check(self) -> None:
        """L7, C1: of the committed records only those are gone that a newer one of their key, or a
        tombstone's age, allows; nothing came back; what is not clean yet is all there.
        """
        log = self.log
        stable = range(log.log_start, log.last_stable)
        known = [record for record in committed(self.batches) if record.offset in stable]
        seen = read_all(log, self.rng.choice([1, 500, 1 << 20]))
        assert set(seen) <= set(known), "T8: something else than committed records is visible"
        assert seen == sorted(seen)
        last = {record.key: record for record in known}
        last_seen = {record.key: record for record in seen}
        for key, record in last.items():
            if record.value is not None:
                assert last_seen.get(key) == record, f"L7: {record} is gone"
            else:
                # A tombstone may be gone, but never before what it deletes.
                assert last_seen.get(key) in (record, None), f"L7: {key!r} came back"
        there = set(seen)
        for record in known:
            assert record in there or record.offset < self.tried, f"L2: {record} is gone"
        assert log.log_start <= log.last_stable <= log.high_watermark <= log.log_end, "L6"

    def check_clean(self) -> None:
        """Below the end of a cleaning each key stands once, and no aborted data at all."""
        log = self.log
        everything = [
            r for r in read_all(log, 1 << 20, upto="high_watermark") if r.offset < log.clean_end
        ]
        keys = [record.key for record in everything]
        assert len(keys) == len(set(keys)), "a key stands twice in the clean section"

    def producers(self) -> dict[int, tuple[object, ...]]:
        """P3: what the log remembers of each producer that a snapshot would keep."""
        return {
            p.producer_id: (p.epoch, *p.batches[-1][:3], p.next_sequence, p.first_offset)
            if p.batches
            else (p.epoch, p.next_sequence, p.first_offset)
            for p in self.log.producers
        }
