"""What a partition's log remembers: its segments, offsets, epochs, producers, and what is not
durable yet.

Data with its invariants and the plain questions about it; how it grows, rolls, is read and forgets
is in the files beside this one.
"""

from __future__ import annotations

from collections import deque

from flowstream.broker.doors import Operation, Replace, Storage
from flowstream.broker.log import names
from flowstream.broker.log.checkpoints import encode_epochs
from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.epochs import LeaderEpochs
from flowstream.broker.log.producers import Producers
from flowstream.broker.log.segment import Segment
from flowstream.broker.types import TopicPartition

NEVER_CLEANED = -1

CURSORS = 64
"""Ends of recent reads that a log remembers."""


class LogState:
    """One partition's log as values. Invariant (L6): log_start <= last_stable <= high_watermark <=
    log_end.
    """

    __slots__ = (
        "appended",
        "bytes_in",
        "bytes_out",
        "clean_end",
        "completed",
        "config",
        "cursors",
        "directory",
        "epochs",
        "epochs_stale",
        "high_watermark",
        "leader_epoch",
        "log_end",
        "log_start",
        "name",
        "producers",
        "recovery_point",
        "sealed",
        "segments",
        "storage",
        "topic_id",
    )

    def __init__(
        self,
        storage: Storage,
        name: TopicPartition,
        topic_id: bytes,
        config: LogConfig,
        segments: list[Segment],
    ) -> None:
        """A log of `segments` (at least one) that ends where the last one begins; `recovery` sets
        what it found.
        """
        self.storage = storage
        self.name = name
        self.topic_id = topic_id
        self.directory = str(name)
        self.config = config
        self.segments = segments
        self.log_start = segments[0].base_offset
        self.log_end = segments[-1].base_offset
        self.high_watermark = self.log_end
        self.recovery_point = self.log_end
        """Everything below is known to be synced, whatever the durability."""
        self.bytes_in = 0
        """Bytes of batches that clients brought since the start; for those who watch."""
        self.bytes_out = 0
        """Bytes of batches in answers to readers."""
        self.leader_epoch = 0
        self.epochs = LeaderEpochs()
        self.epochs_stale = False
        """Whether the file still tells of epochs before the log start."""
        self.producers = Producers()
        self.completed: deque[tuple[int, int]] = deque()
        """(first offset, marker offset) of ended transactions whose marker is not durable yet."""
        self.appended: deque[tuple[int, Segment, int]] = deque()
        """(end offset, segment, end position) of appends that are not durable yet: where the high
        watermark will stand.
        """
        self.sealed: deque[tuple[int, Segment]] = deque()
        """(end offset, segment) of rolled segments whose index files are not written yet."""
        self.cursors: dict[int, tuple[Segment, int]] = {}
        """Where recent reads ended: the next one begins there."""
        self.clean_end = NEVER_CLEANED
        """Where the next cleaning begins (the cleaner checkpoint): of what is below each key stands
        once.
        """

    @property
    def gaps(self) -> bool:
        """Whether offsets may be missing: compaction leaves gaps, and they stay when the policy
        changes.
        """
        return self.config.compact or self.clean_end != NEVER_CLEANED

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(segment.size for segment in self.segments)

    @property
    def active(self) -> Segment:
        """The segment that grows."""
        return self.segments[-1]

    @property
    def last_stable(self) -> int:
        """Below it every transaction is decided, durably: where read_committed ends."""
        stable = self.high_watermark
        oldest = self.producers.oldest_open
        if oldest is not None and oldest < stable:
            stable = oldest
        for first, _ in self.completed:
            stable = min(stable, first)
        return max(stable, self.log_start)

    @property
    def open_transactions(self) -> dict[int, tuple[int, int]]:
        """Producer id -> (epoch, first offset) of the transactions without a marker."""
        by_id = self.producers.by_id
        return {pid: (by_id[pid].epoch, first) for pid, first in self.producers.open.items()}

    def in_transaction(self, producer_id: int, epoch: int) -> bool:
        """Whether (id, epoch) has a transaction open here, so that its next batch needs no
        confirmation (T1).
        """
        return self.producers.in_transaction(producer_id, epoch)

    def producer_epoch(self, producer_id: int) -> int:
        """The newest epoch seen of a producer, -1 when it is unknown: an older one is fenced."""
        producer = self.producers.by_id.get(producer_id)
        return -1 if producer is None else producer.epoch

    def remember(self, offset: int, segment: Segment, position: int) -> None:
        """The batch of `offset` begins, or will begin, at `position`."""
        cursors = self.cursors
        if len(cursors) >= CURSORS and offset not in cursors:
            del cursors[next(iter(cursors))]
        cursors[offset] = (segment, position)

    def assign_epoch(self, epoch: int, start: int) -> list[Operation]:
        """Leader epoch `epoch` begins at `start`."""
        return self.write_epochs() if self.epochs.assign(epoch, start) else []

    def write_epochs(self) -> list[Operation]:
        """Write the leader-epoch-checkpoint."""
        self.epochs_stale = False
        return [Replace(*self.epochs_file())]

    def epochs_file(self) -> tuple[str, bytes]:
        """Path and content of the leader-epoch-checkpoint."""
        return f"{self.directory}/{names.LEADER_EPOCHS}", encode_epochs(self.epochs.entries)
