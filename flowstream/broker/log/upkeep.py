"""What logs need from time to time: retention and compaction, a little at every tick.

One round of retention looks at some logs per tick, one cleaning runs at a time, in slices; when
nothing is due a tick costs nothing, however many logs there are. What each needs is decided in
`retention` and `cleaner`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from flowstream.broker.config import BrokerConfig
from flowstream.broker.doors import Operation, Replace
from flowstream.broker.effects import Effect, Happened, Notice, WhenDurable, Write
from flowstream.broker.log import checkpoints
from flowstream.broker.log.cleaner import Cleaning, Plan, is_wanted, plan
from flowstream.broker.log.cleaning import ENTRY_BYTES
from flowstream.broker.log.partition import PartitionLog
from flowstream.broker.log.retention import is_behind
from flowstream.broker.log.state import NEVER_CLEANED, LogState
from flowstream.broker.types import Instant, TopicPartition
from flowstream.errors import CorruptLog, WireError

FIRST_CHECK_MS = 30_000
"""Kafka's delay before the first round of retention."""
LOGS_PER_TICK = 64
PAUSE_MS = 5
"""Between two slices of a cleaning, and at least between two looks, whatever the settings say: the
broker's clients come first.
"""


class Upkeep:
    """The calendar of the logs in `logs`, which come and go. Soft state only."""

    def __init__(self, logs: Mapping[TopicPartition, PartitionLog], *, fsync: bool) -> None:
        """`fsync`: the driver syncs what is written; else cleanings flush it themselves."""
        self._logs = logs
        self._fsync = fsync
        self._retention_at: Instant | None = None
        self._round: deque[PartitionLog] = deque()
        self._clean_at: Instant | None = None
        self._cleaning: Cleaning | None = None
        self._left_alone: set[LogState] = set()
        """Logs whose cleaning failed in this life of the broker, as in Kafka."""

    def start(self, config: BrokerConfig, now: Instant) -> None:
        """Begin to count from `now`."""
        first = min(config.log_retention_check_interval_ms, FIRST_CHECK_MS)
        self._retention_at = Instant(now + first)
        self._clean_at = Instant(now + max(config.log_cleaner_backoff_ms, PAUSE_MS))

    def follow(self, log: PartitionLog) -> None:
        """What DeleteRecords left of this log goes in the next ticks."""
        if is_behind(log):
            self._round.append(log)

    def deadline(self) -> Instant | None:
        """When `tick` is due; None while all waits for the disk."""
        if self._round:
            return Instant(0)
        wanted = (self._retention_at, self._clean_at)
        return min((each for each in wanted if each is not None), default=None)

    def tick(self, config: BrokerConfig, now: Instant) -> list[Effect]:
        """Do what is due, but not much of it."""
        effects: list[Effect] = []
        if self._retention_at is not None and self._retention_at <= now:
            interval = max(config.log_retention_check_interval_ms, PAUSE_MS)
            self._retention_at = Instant(now + interval)
            # What is left of the round before comes first, or some would never have their turn.
            left = set(self._round)
            self._round += (log for log in self._logs.values() if log not in left)
        for _ in range(min(LOGS_PER_TICK, len(self._round))):
            log = self._round.popleft()
            if self._serves(log) and (deleted := log.tick(now)):
                # The loop waited for the disk: others come first, then what is left of this log.
                effects += deleted
                self._round.append(log)
                break
        if self._clean_at is not None and self._clean_at <= now:
            self._clean_at = None
            effects += self._clean(config, now)
        return effects

    def _serves(self, log: LogState) -> bool:
        return self._logs.get(log.name) is log

    # Compaction

    @property
    def uncleanable(self) -> int:
        """Number of logs that are not compacted until the next start: they hold bad bytes."""
        return sum(map(self._serves, self._left_alone))

    def _clean(self, config: BrokerConfig, now: Instant) -> list[Effect]:
        """The next slice of the cleaning that goes on; else begin one, or look again later."""
        cleaning = self._cleaning
        if cleaning is not None and self._serves(cleaning.log):
            return self._go_on(cleaning, config, now)
        self._cleaning = None
        self._clean_at = Instant(now + max(config.log_cleaner_backoff_ms, PAUSE_MS))
        if not config.log_cleaner_enable:
            return []
        effects, found = self._look(now)
        if found is None:
            return effects
        log, planned = found
        keys = config.log_cleaner_dedupe_buffer_size // ENTRY_BYTES
        self._cleaning = Cleaning(
            log,
            planned,
            now,
            keys=int(keys * config.log_cleaner_io_buffer_load_factor),
            flush=not self._fsync,
        )
        self._clean_at = now
        if log.clean_end == NEVER_CLEANED:
            # Whatever crashes from here on: the log may have gaps, under any policy.
            log.clean_end = planned.first_dirty
            effects.append(Write(self.checkpoint()))
        return effects

    def _look(self, now: Instant) -> tuple[list[Effect], tuple[PartitionLog, Plan] | None]:
        """The filthiest log. Compacted logs are looked at for old segments at the same time, as in
        Kafka.
        """
        effects: list[Effect] = []
        best: tuple[PartitionLog, Plan] | None = None
        self._left_alone = {log for log in self._left_alone if self._serves(log)}
        for log in self._logs.values():
            if len(log.segments) == 1 or not log.config.compact or log in self._left_alone:
                continue
            if log.config.delete:
                effects += log.tick(now)
            found = plan(log, now)
            if found and is_wanted(log, found) and (best is None or found.ratio > best[1].ratio):
                best = log, found
        return effects, best

    def _go_on(self, cleaning: Cleaning, config: BrokerConfig, now: Instant) -> list[Effect]:
        before = cleaning.bytes
        try:
            operations = cleaning.step()
        except (CorruptLog, WireError) as error:
            self._left_alone.add(cleaning.log)
            self._cleaning, self._clean_at = None, now
            text = f"{cleaning.log.name}: not compacted until the next start: {error}"
            return [Notice(text), Write(cleaning.abandon())]
        if operations is None:
            return self._finish(cleaning, now)
        rate = config.log_cleaner_io_max_bytes_per_second
        pause = max(PAUSE_MS, int((cleaning.bytes - before) * 1000 / rate))
        if not operations:
            self._clean_at = Instant(now + pause)
            return []
        return [Write(operations), WhenDurable(lambda now: self._resume(Instant(now + pause)))]

    def _resume(self, at: Instant) -> list[Effect]:
        """The last slice is durable: the next one may come."""
        self._clean_at = at
        return []

    def _finish(self, cleaning: Cleaning, now: Instant) -> list[Effect]:
        self._cleaning, self._clean_at = None, now
        if cleaning.end is None:
            return []
        log = cleaning.log
        log.clean_end = cleaning.end
        line = f"{log.name}: compacted below offset {cleaning.end}, {log.size} bytes in the log now"
        effects: list[Effect] = [Write(self.checkpoint()), Happened(line)]
        found = cleaning.filter
        if found is not None and found.keyless:
            text = f"{log.name}: compaction dropped {found.keyless} records that have no key"
            effects.append(Notice(text))
        if found is not None and found.unreadable:
            text = (
                f"{log.name}: {found.unreadable} batches whose records cannot be read were not"
                " compacted: they stay as their producers sent them"
            )
            effects.append(Notice(text))
        return effects

    def checkpoint(self) -> list[Operation]:
        """Write up to where each log was cleaned."""
        ends = {log.name: log.clean_end for log in self._logs.values() if log.clean_end >= 0}
        return [Replace(checkpoints.CLEANER, checkpoints.encode_offsets(ends))]
