"""Short ways to say what happens to a log in a test."""

from __future__ import annotations

from flowstream.broker.effects import Advance, Effect, Write
from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.partition import Accepted, Appended, Duplicate, PartitionLog, Refused
from flowstream.broker.log.partition import create_log as create
from flowstream.broker.log.recovery import Opened, open_log
from flowstream.broker.storage.memory import MemoryStorage
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.batch import encode_batch

NAME = TopicPartition("orders", 3)
TOPIC_ID = b"0123456789abcdef"
NOW = Instant(1_700_000_000_000)


def new_log(config: LogConfig | None = None) -> tuple[MemoryStorage, PartitionLog]:
    """An empty log on an empty disk."""
    storage = MemoryStorage()
    log, operations = create(storage, NAME, TOPIC_ID, config or LogConfig(), NOW)
    storage.sync(storage.perform(operations))
    return storage, log


def batch_of(
    count: int = 1,
    *,
    value: bytes = b"v",
    key: bytes | None = b"k",
    timestamp: int = NOW,
    producer: tuple[int, int, int] | None = None,
    transactional: bool = False,
    codec: int = 0,
) -> memoryview:
    """A producer's batch; `producer` is (id, epoch, sequence)."""
    producer_id, epoch, sequence = producer or (-1, -1, -1)
    return memoryview(
        encode_batch(
            [(timestamp, key, value, ())] * count,
            producer_id=producer_id,
            producer_epoch=epoch,
            base_sequence=sequence,
            transactional=transactional,
            codec=codec,
        )
    )


def carry_out(log: PartitionLog, effects: list[Effect], *, durable: bool = True) -> None:
    """Perform and sync; with `durable=False` nothing is synced and the high watermark stays."""
    storage = log.storage
    for effect in effects:
        if isinstance(effect, Write):
            unsynced = storage.perform(effect.operations)
            if durable:
                storage.sync(unsynced)
        elif isinstance(effect, Advance) and durable:
            log.advance(effect.offset)


def send(
    log: PartitionLog, batch: memoryview, now: Instant = NOW, *, durable: bool = True
) -> Appended | Duplicate | Refused:
    """Admit a batch and, if it may, append it."""
    admitted = log.admit(batch, now)
    if not isinstance(admitted, Accepted):
        return admitted
    appended = log.append(admitted, now)
    carry_out(log, appended.effects, durable=durable)
    return appended


def appended(
    log: PartitionLog, batch: memoryview, now: Instant = NOW, *, durable: bool = True
) -> Appended:
    """Append a batch that must be accepted."""
    result = send(log, batch, now, durable=durable)
    assert isinstance(result, Appended), result
    return result


def refused(log: PartitionLog, batch: memoryview, now: Instant = NOW) -> Refused:
    """Send a batch that must be refused."""
    result = send(log, batch, now)
    assert isinstance(result, Refused), result
    return result


def end(log: PartitionLog, producer_id: int, epoch: int, *, commit: bool) -> int:
    """Write a marker; its offset."""
    result = log.append_marker(producer_id, epoch, commit, 0, NOW)
    carry_out(log, result.effects)
    return result.base_offset


def reopen(
    log: PartitionLog,
    *,
    clean: bool,
    recovery_point: int = 0,
    log_start: int = 0,
    now: Instant = NOW,
) -> Opened:
    """Open the directory as the next process does."""
    storage = log.storage
    if clean:
        storage.sync(storage.perform(log.close_clean(NOW)))
    opened = open_log(
        storage,
        NAME,
        TOPIC_ID,
        log.config,
        now,
        clean=clean,
        recovery_point=recovery_point,
        log_start=log_start,
    )
    storage.perform(opened.operations)
    return opened
