"""Topics that forget: one by age, one by size and on demand. One writer each, so that every offset
has its record, and a watcher of where they begin.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from contextlib import suppress

from confluent_kafka import KafkaException, TopicPartition

from flowstream.clock import wall_ms
from tests.checkers import log, retained
from tests.checkers.history import (
    Drained,
    Operation,
    Outcome,
    Partition,
    Poll,
    Seek,
    Send,
    Watermarks,
)
from tests.crash.crowd.clients import (
    ANSWER_S,
    Forgotten,
    Record,
    Sender,
    create,
    insist,
    offsets_of,
    pairs,
    read_all,
)
from tests.crash.crowd.neighbour import Neighbour, Role

WATCH_S = 0.15


class River(Neighbour):
    """A topic of one partition under retention."""

    expected: tuple[str, ...] = ("log starts",)

    def __init__(
        self, broker: str, topic: str, bounds: retained.Bounds, *, size: int, cuts: bool
    ) -> None:
        """Records of `size` bytes; `cuts`: some are deleted on demand."""
        super().__init__(broker)
        self.where = Partition(topic, 0)
        self.bounds = bounds
        self.history: list[Operation] = []
        self.starts: list[retained.Start] = []
        self.cuts: list[retained.Cut] = []
        self.sent_at: dict[str, int] = {}
        self._size, self._with_cuts = size, cuts
        self._number = self._rounds = 0
        if cuts:
            self.expected = ("log starts", "records deleted on demand")

    def prepare(self) -> None:
        """The topic."""
        bounds = self.bounds
        config = {
            "segment.ms": "300",
            "retention.ms": str(-1 if bounds.ms is None else bounds.ms),
            "retention.bytes": str(-1 if bounds.bytes is None else bounds.bytes),
        }
        create(self.admin, self.where.topic, 1, config)

    def roles(self) -> Mapping[str, Role]:
        """One writes, one watches, one deletes."""
        roles: dict[str, Role] = {"writer": self._write, "watcher": self._watch}
        return roles | ({"deleter": self._delete} if self._with_cuts else {})

    def _write(self, stop: threading.Event, rng: random.Random) -> None:
        self._rounds += 1
        sender = Sender(self.broker, f"{self.where.topic}#{self._rounds}", self.history)
        while not stop.wait(0.02):
            try:
                self._send(sender, rng)
            except Forgotten:
                # As with Kafka: what retention took before a restart is known of no more, so that
                # a retry of it is out of order, and an idempotent client ends.
                self.counts["sessions that retention ended"] += 1
                sender.close()
                self._rounds += 1
                sender = Sender(self.broker, f"{self.where.topic}#{self._rounds}", self.history)
        with suppress(Forgotten):
            sender.settle()
        sender.close()

    def _send(self, sender: Sender, rng: random.Random) -> None:
        for _ in range(rng.randrange(1, 5)):
            value = f"{self.where.topic}:{self._number}"
            self._number += 1
            at = self.sent_at[value] = wall_ms()
            sender.send(self.where, value, padding=self._size, timestamp=at)

    def _watch(self, stop: threading.Event, rng: random.Random) -> None:
        while not stop.wait(WATCH_S):
            try:
                self._look()
            except KafkaException:
                self.counts["no answer"] += 1

    def _look(self) -> int:
        """Where the log begins now."""
        asked = wall_ms()
        start, stable, end = offsets_of(self.admin, self.where)
        before = self.starts[-1].offset if self.starts else 0
        self.counts["log starts"] += start > before
        self.starts.append(retained.Start(start, asked, wall_ms()))
        # The answers are of one moment after another: only the sum of them is in order.
        self.history.append(Watermarks(self.where, start, stable, end, end))
        return start

    def _delete(self, stop: threading.Event, rng: random.Random) -> None:
        while not stop.wait(rng.uniform(0.5, 2.0)):
            sent = [each for each in self.history[-200:] if isinstance(each, Send)]
            if not sent or sent[0].offset is None:
                continue
            offset, asked = sent[0].offset, wall_ms()
            at = TopicPartition(*self.where, offset)
            self.cuts.append(retained.Cut(offset, asked, None))
            try:
                self.admin.delete_records([at], request_timeout=ANSWER_S)[at].result()
            except KafkaException:
                continue
            self.cuts[-1] = retained.Cut(offset, asked, wall_ms())
            self.counts["records deleted on demand"] += 1

    def settle(self, rng: random.Random) -> None:
        """Read what is left, and judge."""
        self._rounds += 1
        end = insist(lambda: offsets_of(self.admin, self.where)).end
        records = read_all(self.broker, self.where, end, committed=True, reset="earliest")
        start: int = insist(self._look)
        # What was deleted while it was read may have been seen or not.
        left = [record for record in records if record.offset >= start]
        self.judge(records, left, start, end)
        self._forget(start)

    def judge(self, records: list[Record], left: list[Record], start: int, end: int) -> None:
        for number, record in enumerate(records[: len(records) - len(left)]):
            alone = f"early reader {self._rounds}.{number}"
            self.history.append(Seek(alone, self.where, record.offset))
            self.history.append(Poll(alone, self.where, pairs([record])))
        reader = f"reader {self._rounds} from {start} to {end}"
        self.history.append(Seek(reader, self.where, start))
        self.history.append(Poll(reader, self.where, pairs(left)))
        self.history.append(Drained(reader, self.where, start))
        self.anomalies += log.check(self.history)
        self.anomalies += retained.gaps([record.offset for record in left], end)
        written = [
            retained.Written(each.offset, self.sent_at[each.value], len(each.value) + self._size)
            for each in self.history
            if isinstance(each, Send) and each.outcome is Outcome.OK and each.offset is not None
        ]
        self.anomalies += retained.check(written, self.starts, self.cuts, self.bounds)

    def _forget(self, start: int) -> None:
        """Keep of the history what the next round is compared with."""
        kept = [
            each
            for each in self.history
            if isinstance(each, Send) and (each.offset is None or each.offset >= start)
        ]
        self.sent_at = {each.value: self.sent_at[each.value] for each in kept}
        marks = [each for each in self.history if isinstance(each, Watermarks)]
        self.history = [*kept, *marks[-1:]]
        self.starts = self.starts[-1:]
        self.cuts = sorted(self.cuts, key=lambda cut: cut.offset)[-1:]
