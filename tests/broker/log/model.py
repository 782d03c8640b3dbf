"""A partition's log as a model, and a harness that drives the real one beside it over a disk that
crashes.

The model is the list of all batches ever appended, in plain Python; everything else (producers,
transactions, what a reader may see) is folded from that list in the most naive way.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from functools import lru_cache

from flowstream.broker.doors import Append, MakeDirectory, Operation, Remove, Rename, Replace
from flowstream.broker.effects import Advance, Effect, Happened, Write
from flowstream.broker.log import checkpoints
from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.partition import Accepted, Appended, Duplicate, PartitionLog, create_log
from flowstream.broker.log.recovery import open_log
from flowstream.broker.log.swapping import finish_swaps
from flowstream.broker.storage.memory import Crashed, MemoryStorage
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.batch import (
    check_crc,
    decode_control,
    decode_records,
    encode_batch,
    iter_batches,
    read_header,
)

header_of = lru_cache(maxsize=100_000)(read_header)

NAME = TopicPartition("t", 0)
TOPIC_ID = bytes(range(16))
CONFIG = LogConfig(
    segment_bytes=1500,
    index_interval_bytes=150,
    segment_index_bytes=1000,
    retention_ms=2000,
    timestamp_after_max_ms=1 << 60,
)
MARK = checkpoints.CLEAN_SHUTDOWN


@dataclass
class Model:
    """All that ever happened, and which of it must survive."""

    batches: list[bytes] = field(default_factory=list)
    acknowledged: int = 0
    log_start: int = 0
    asked_start: int = 0

    def cut(self, end: int) -> None:
        """The log ends at `end` after a crash."""
        self.batches = [b for b in self.batches if header_of(b).last_offset < end]

    def remembered(self) -> dict[int, tuple[int, list[int]]]:
        """Producer id -> (epoch, last offsets of its last five batches in that epoch)."""
        found: dict[int, tuple[int, list[int]]] = {}
        for batch in self.batches:
            header = header_of(batch)
            if header.producer_id < 0:
                continue
            epoch, offsets = found.get(header.producer_id, (header.producer_epoch, []))
            if epoch != header.producer_epoch:
                epoch, offsets = header.producer_epoch, []
            if not header.is_control:
                offsets = [*offsets, header.last_offset][-5:]
            found[header.producer_id] = (epoch, offsets)
        return found

    def transactions(self) -> tuple[dict[int, int], list[tuple[int, int, int]]]:
        """Open ones (producer -> first offset), aborted ones (producer, first offset, marker)."""
        opened: dict[int, int] = {}
        aborted = []
        for batch in self.batches:
            header = header_of(batch)
            if header.is_control:
                first = opened.pop(header.producer_id, None)
                if first is not None and not decode_control(decode_records(batch)[0]).commit:
                    aborted.append((header.producer_id, first, header.base_offset))
            elif header.is_transactional:
                opened.setdefault(header.producer_id, header.base_offset)
        return opened, aborted


class Harness:
    """A log, its model and its driver: performs, syncs, crashes, recovers, compares."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.config = replace(CONFIG, compact=seed % 3 == 0)
        self.storage = MemoryStorage()
        self.model = Model()
        self.now = Instant(1_000_000)
        self.unsynced: set[str] = set()
        self.advances: list[int] = []
        self.sequences: dict[int, tuple[int, int]] = {}
        """Producer id -> (epoch, next sequence)."""
        self.recoveries = 0
        self.log: PartitionLog
        self.create()

    def create(self) -> None:
        self.log, operations = create_log(self.storage, NAME, TOPIC_ID, self.config, self.now)
        self.unsynced |= self.storage.perform(operations)

    # What a broker does

    def carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Write):
                self.unsynced |= self.storage.perform(effect.operations)
            elif not isinstance(effect, Happened):
                assert isinstance(effect, Advance)
                self.advances.append(effect.offset)

    def appended(self, appended: Appended) -> None:
        """The model has the batch before the disk has: a crash may come in between."""
        for effect in appended.effects:
            if isinstance(effect, Write):
                write = effect.operations[-1]
                assert isinstance(write, Append)
                self.model.batches.append(b"".join(bytes(buffer) for buffer in write.buffers))
        self.carry_out(appended.effects)

    def produce(self) -> None:
        producer_id = self.rng.choice([-1, 1, 2, 3, 4])
        count = self.rng.randrange(1, 4)
        records = [
            (self.now + at, b"k%d" % at, self.rng.randbytes(self.rng.randrange(0, 150)), ())
            for at in range(count)
        ]
        epoch, sequence = self.sequences.get(producer_id, (0, 0))
        if producer_id < 0:
            epoch = sequence = -1
        transactional = producer_id in (3, 4)
        batch = encode_batch(
            records,
            producer_id=producer_id,
            producer_epoch=epoch,
            base_sequence=sequence,
            transactional=transactional,
        )
        admitted = self.log.admit(memoryview(batch), self.now)
        assert isinstance(admitted, Accepted), admitted
        appended = self.log.append(admitted, self.now)
        if producer_id >= 0:
            self.sequences[producer_id] = (epoch, sequence + count)
        self.appended(appended)

    def repeat(self) -> None:
        """P1: send one of the remembered batches again."""
        candidates = [
            batch
            for batch in self.model.batches[-12:]
            if header_of(batch).producer_id >= 0 and not header_of(batch).is_control
        ]
        if not candidates:
            return
        batch = self.rng.choice(candidates)
        header = header_of(batch)
        epoch, offsets = self.model.remembered()[header.producer_id]
        if epoch != header.producer_epoch or header.last_offset not in offsets:
            return
        again = bytearray(batch)
        again[:8] = bytes(8)
        admitted = self.log.admit(memoryview(again), self.now)
        if isinstance(admitted, Duplicate):
            assert admitted.base_offset == header.base_offset
            assert admitted.last_offset == header.last_offset
        else:
            # Its bytes are gone with the log start: it may be unknown, but it is never appended
            # again.
            assert not isinstance(admitted, Accepted)
            assert header.last_offset < self.log.log_start

    def end_transaction(self) -> None:
        opened = self.log.open_transactions
        producer_id = self.rng.choice([*opened, 3])
        epoch = self.sequences.get(producer_id, (0, 0))[0]
        bumped = epoch + self.rng.randrange(0, 2)
        if bumped != epoch:
            self.sequences[producer_id] = (bumped, 0)
        commit = self.rng.random() < 0.5
        self.appended(self.log.append_marker(producer_id, bumped, commit, 0, self.now))

    def sync(self) -> None:
        paths, self.unsynced = self.unsynced, set()
        self.storage.sync(paths)
        advances, self.advances = self.advances, []
        for offset in advances:
            self.log.advance(offset)
        self.model.acknowledged = self.log.high_watermark

    def checkpoint(self) -> None:
        self.log.flushed(self.log.high_watermark)
        self.write_checkpoints()

    def write_checkpoints(self) -> None:
        points = {NAME: self.log.recovery_point}
        starts = {NAME: self.log.log_start}
        self.storage.perform(
            [
                Replace(checkpoints.RECOVERY_POINT, checkpoints.encode_offsets(points)),
                Replace(checkpoints.LOG_START, checkpoints.encode_offsets(starts)),
            ]
        )
        self.model.log_start = self.log.log_start

    def delete_records(self) -> None:
        span = self.log.high_watermark - self.log.log_start
        offset = self.log.log_start + self.rng.randrange(0, span // 2 + 1)
        self.model.asked_start = max(self.model.asked_start, offset)
        self.carry_out(self.log.delete_before(offset))
        self.write_checkpoints()

    def tick(self) -> None:
        """Retention: what is old goes, once it is durable."""
        if self.config.delete:
            self.model.asked_start = max(self.model.asked_start, self.log.high_watermark)
        self.carry_out(self.log.tick(self.now))
        self.write_checkpoints()

    def restart(self) -> None:
        """A clean stop and a new start."""
        self.sync()
        self.storage.sync(self.storage.perform(self.log.close_clean(self.now)))
        self.model.acknowledged = self.log.log_end
        self.write_checkpoints()
        self.storage.perform([Replace(MARK, checkpoints.encode_clean_shutdown(1))])
        self.recover()

    # Crashing and coming back

    def crash(self) -> None:
        self.storage.crash(self.rng)
        self.unsynced.clear()
        self.advances.clear()

    def recover(self, crash_within: bool = False) -> None:
        """Open the log, crashing meanwhile if asked (D5), and compare it with the model."""
        while True:
            if crash_within and self.rng.random() < 0.7:
                self.storage.crash_at(self.storage.operations + self.rng.randrange(0, 12))
            try:
                self.open()
                self.storage.crash_at(None)
                break
            except Crashed:
                self.crash()
        self.recoveries += 1
        self.model.cut(self.log.log_end)
        self.model.acknowledged = self.log.log_end
        for producer_id, (epoch, offsets) in self.model.remembered().items():
            if offsets:
                last = next(
                    header_of(b)
                    for b in self.model.batches
                    if header_of(b).last_offset == offsets[-1]
                )
                self.sequences[producer_id] = (epoch, last.last_sequence + 1)
            else:
                self.sequences[producer_id] = (epoch, 0)
        for producer_id in set(self.sequences) - set(self.model.remembered()):
            del self.sequences[producer_id]
        self.check()

    def open(self) -> None:
        storage = self.storage
        clean = storage.size(MARK) is not None
        if clean:
            storage.perform([Rename(MARK, MARK + ".used"), Remove(MARK + ".used")])
        point = self.checkpointed(checkpoints.RECOVERY_POINT)
        start = self.checkpointed(checkpoints.LOG_START)
        storage.perform([MakeDirectory(str(NAME)), *finish_swaps(storage, str(NAME))])
        acknowledged = self.model.acknowledged
        opened = open_log(
            storage,
            NAME,
            TOPIC_ID,
            self.config,
            self.now,
            clean=clean,
            recovery_point=point,
            log_start=start,
        )
        assert opened.log.log_end >= acknowledged, "L2: an acknowledged record is gone"
        self.perform_opening(opened.operations)
        self.log = opened.log

    def perform_opening(self, operations: list[Operation]) -> None:
        self.unsynced |= self.storage.perform(operations)

    def checkpointed(self, path: str) -> int:
        size = self.storage.size(path)
        if size is None:
            return 0
        return checkpoints.decode_offsets(self.storage.read(path, 0, size), path).get(NAME, 0)

    # Comparing

    def check(self) -> None:
        """Everything that a log promises."""
        log, model = self.log, self.model
        assert log.log_start <= log.last_stable <= log.high_watermark <= log.log_end, "L6"
        assert model.log_start <= log.log_start <= max(model.asked_start, model.log_start), "L8"
        kept = [b for b in model.batches if header_of(b).last_offset >= log.log_start]
        assert [bytes(batch) for batch in log.scan()] == kept, "L1"
        end = read_header(model.batches[-1]).last_offset + 1 if model.batches else log.log_end
        assert log.log_end == max(end, log.log_start)
        self.check_producers()
        self.check_reads()

    def check_producers(self) -> None:
        """P3: producer state = fold(log), as far as the log reaches back."""
        first = self.log.segments[0].base_offset
        for producer_id, (epoch, offsets) in self.model.remembered().items():
            producer = self.log.producers.by_id.get(producer_id)
            found = [] if producer is None else [batch[1] for batch in producer.batches]
            assert found == offsets[len(offsets) - len(found) :], producer_id
            assert set(found) >= {offset for offset in offsets if offset >= first}, producer_id
            if offsets:
                assert producer is not None, producer_id
                assert (producer.epoch, found[-1:]) == (epoch, offsets[-1:]), producer_id
        opened, _ = self.model.transactions()
        real = {pid: offset for pid, (_, offset) in self.log.open_transactions.items()}
        assert real == opened

    def check_reads(self) -> None:
        """L5, T6: whole valid batches from wherever, and the aborted transactions in them."""
        log = self.log
        _, aborted = self.model.transactions()
        for _ in range(4):
            if log.log_start >= log.last_stable:
                return
            offset = self.rng.randrange(log.log_start, log.last_stable)
            limit = self.rng.randrange(0, 2500)
            read = log.read(offset, limit, committed_only=True, upto="last_stable")
            assert read.error == 0
            data = b"".join(read.buffers)
            batches = list(iter_batches(data))
            assert sum(header.size for _, header in batches) == len(data) > 0
            assert len(data) <= limit or len(batches) == 1
            assert all(check_crc(data, header, at) for at, header in batches)
            first, last = batches[0][1], batches[-1][1]
            assert first.base_offset <= offset <= first.last_offset
            assert read.next_offset == last.last_offset + 1 <= log.last_stable
            expected = {
                (pid, start)
                for pid, start, marker in aborted
                if start < read.next_offset and marker >= offset and marker >= log.log_start
            }
            assert read.aborted is not None
            assert len(read.aborted) == len(set(read.aborted))
            assert set(read.aborted) == expected


STEPS = (
    [Harness.produce] * 12
    + [Harness.repeat] * 3
    + [Harness.end_transaction] * 3
    + [Harness.sync] * 5
    + [Harness.checkpoint, Harness.delete_records, Harness.restart, Harness.tick]
)
