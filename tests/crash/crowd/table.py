"""A compacted topic that is cleaned all the time: keyed records and tombstones, alone and in
transactions, some aborted and some abandoned; readers that follow, and readers of it all.
"""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress

from tests.checkers.compacted import Keyed, View, check
from tests.checkers.history import Operation, Partition, Send
from tests.crash.crowd.clients import (
    Forgotten,
    Reader,
    Record,
    Sender,
    create,
    quiet_end,
    read_all,
)
from tests.crash.crowd.neighbour import Neighbour, Role
from tests.crash.crowd.transactions import SERIAL, Transactional

TOPIC = "crowd-table"
PARTITIONS = 2
KEYS = 25
WRITERS = 3
"""Transactional ones: after every kill each is busy for a while with finding its coordinator."""
ABANDONED_MS = 3000
FATES = (*("committed",) * 5, *("aborted",) * 3, "abandoned")
CONFIG = {
    "cleanup.policy": "compact",
    "segment.ms": "300",
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "10000",
}
"""Tombstones stay longer than a reader needs from one end to the other."""


class Table(Neighbour):
    """The writers and readers of the compacted topic."""

    expected = ("committed", "aborted", "abandoned", "tombstones", "superseded")

    def __init__(self, broker: str) -> None:
        super().__init__(broker)
        self.history: list[Operation] = []
        self.keys: dict[str, tuple[str, bool]] = {}
        self.views: dict[int, list[View]] = defaultdict(list)
        self._values: dict[int, dict[int, str | None]] = defaultdict(dict)

    def prepare(self) -> None:
        """The topic."""
        create(self.admin, TOPIC, PARTITIONS, CONFIG)

    def roles(self) -> Mapping[str, Role]:
        """Writers, and a reader of each kind in the midst of the cleaning."""
        return {
            "plain": self._plain,
            **{f"transactional {n}": self._writes(f"crowd-table-{n}") for n in range(WRITERS)},
            "follower": lambda stop, rng: self._follow(stop, rng, committed=True),
            "dirty follower": lambda stop, rng: self._follow(stop, rng, committed=False),
        }

    def _session(self, name: str) -> str:
        return f"table-{name}-{next(SERIAL)}"

    def _send(self, sender: Sender, rng: random.Random, transaction: str | None) -> None:
        """One record, a tombstone now and then."""
        value = f"{sender.session}:{len(self.keys)}:{rng.getrandbits(32):x}"
        key, tombstone = f"k{rng.randrange(KEYS)}", rng.random() < 0.15
        self.keys[value] = key, tombstone
        self.counts["tombstones"] += tombstone
        where = Partition(TOPIC, rng.randrange(PARTITIONS))
        sender.send(
            where, value, key=key, tombstone=tombstone, transaction=transaction, padding=100
        )

    def _plain(self, stop: threading.Event, rng: random.Random) -> None:
        sender = Sender(self.broker, self._session("plain"), self.history)
        while not stop.wait(rng.uniform(0.01, 0.08)):
            try:
                for _ in range(rng.randrange(1, 4)):
                    self._send(sender, rng, None)
            except Forgotten:
                # As with Kafka: of a producer whose batches were cleaned away before a restart only
                # the last one is known, so that a retry of an earlier one is out of order.
                self.counts["sessions that a cleaning ended"] += 1
                sender.close()
                sender = Sender(self.broker, self._session("plain"), self.history)
        with suppress(Forgotten):
            sender.settle()
        sender.close()

    def _writes(self, id: str) -> Role:
        """Transactions of one transactional id."""
        return lambda stop, rng: self._transactional(stop, rng, id)

    def _transactional(self, stop: threading.Event, rng: random.Random, id: str) -> None:
        def fill(sender: Sender, name: str) -> None:
            for _ in range(rng.randrange(1, 8)):
                self._send(sender, rng, name)

        writer = Transactional(self.broker, id, self.history)
        fates: list[str] = []
        while not stop.wait(rng.uniform(0.01, 0.15)):
            fates = fates or rng.sample(FATES, len(FATES))
            fate = fates.pop()
            if fate == "abandoned":
                self._gone().abandon(fill)
            elif not writer.run(fill, commit=fate == "committed"):
                fate = "committed or not" if fate == "committed" else fate
            self.counts[fate] += 1
        writer.close()
        self.counts["fenced"] += writer.fenced

    def _gone(self) -> Transactional:
        """One that will not be heard of again; its transaction holds readers up for a while."""
        return Transactional(
            self.broker, self._session("gone"), self.history, timeout_ms=ABANDONED_MS
        )

    def _follow(self, stop: threading.Event, rng: random.Random, *, committed: bool) -> None:
        number = rng.randrange(PARTITIONS)
        reader = Reader(self.broker, Partition(TOPIC, number), committed=committed)
        records: list[Record] = []
        while not stop.is_set():
            records += reader.take()
            # Slow readers are overtaken by the cleaner.
            time.sleep(rng.choice((0, 0, 0.3)))
        reader.close()
        name = f"follower of {TOPIC}-{number}, committed={committed}"
        self.views[number].append(View(name, tuple(records), committed, drained=False))

    def settle(self, rng: random.Random) -> None:
        """Read all of it, in both ways."""
        for number in range(PARTITIONS):
            where = Partition(TOPIC, number)
            end = quiet_end(self.admin, where).end
            for committed in (True, False):
                records = read_all(self.broker, where, end, committed=committed)
                name = f"reader of {TOPIC}-{number}, committed={committed}, to {end}"
                self.views[number].append(View(name, tuple(records), committed, drained=True))
            self.judge(number)

    def judge(self, number: int) -> None:
        keyed = [
            Keyed(each, *self.keys[each.value])
            for each in self.history
            if isinstance(each, Send) and each.partition.partition == number
        ]
        views = self.views.pop(number)
        # What was sent and is not there any more, without being aborted: compaction took it.
        self.counts["superseded"] = max(
            self.counts["superseded"], len(keyed) - len(views[-1].records)
        )
        self.anomalies += check(keyed, self.history, views, self._values[number])
