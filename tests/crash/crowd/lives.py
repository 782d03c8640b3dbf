"""A topic that is created, filled, deleted and created again under its name, all the time. Every
life has a history of its own: what a reader finds in it and was not sent in it is a phantom.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping

from tests.checkers.history import Anomaly, Drained, Operation, Outcome, Partition, Poll, Seek, Send
from tests.checkers.log import check
from tests.crash.crowd.clients import (
    ANSWER_S,
    Sender,
    administrator,
    create,
    delete,
    insist,
    pairs,
    quiet_end,
    read_all,
)
from tests.crash.crowd.neighbour import Neighbour, Role
from tests.crash.crowd.transactions import Transactional

MOST_PARTITIONS = 3
FORMER = 3
"""Lives after which a transaction that was left open has ended."""
REPEATED = 5
"""More deaths than while one transaction ends."""
CONFIGS: tuple[Mapping[str, str], ...] = (
    {},
    {"segment.ms": "20"},
    {"segment.ms": "20", "cleanup.policy": "delete", "retention.bytes": "100000000"},
)


class Lives(Neighbour):
    """One name, and who lives under it."""

    expected = ("lives", "transactions open at a deletion")

    def __init__(self, broker: str, topic: str) -> None:
        super().__init__(broker)
        self.topic = topic
        self._left_open: deque[bool] = deque(maxlen=FORMER)

    def roles(self) -> Mapping[str, Role]:
        """One life after the other."""
        return {"lives": self._live}

    def _live(self, stop: threading.Event, rng: random.Random) -> None:
        while not stop.is_set():
            number = self.counts["lives"]
            life = Life(self.broker, self.topic, number, rng, markers=sum(self._left_open))
            self.gone()
            create(self.admin, self.topic, life.partitions, rng.choice(CONFIGS))
            life.write()
            life.read()
            end_transaction = life.leave_open() if number % 3 == 1 else None
            self._left_open.append(end_transaction is not None)
            delete(self.admin, self.topic)
            if end_transaction is not None:
                self.counts["transactions open at a deletion"] += 1
                end_transaction()
            self.counts["lives"] += 1
            self.anomalies += life.judge()

    def gone(self) -> None:
        """L8: an acknowledged deletion stays."""
        found = insist(lambda: self.admin.list_topics(timeout=ANSWER_S)).topics
        if self.topic in found:
            evidence = f"{self.topic} after {self.counts['lives']} lives"
            self.anomalies.append(Anomaly("deleted topic is there", "L8", evidence))

    def settle(self, rng: random.Random) -> None:
        """The last one was deleted too."""
        self.gone()


class Life:
    """From a topic's creation to its end."""

    def __init__(
        self, broker: str, topic: str, number: int, rng: random.Random, *, markers: int
    ) -> None:
        """`markers`: transactions that were open when lives shortly before this one ended."""
        self._markers = markers
        self.partitions = rng.randrange(1, MOST_PARTITIONS + 1)
        self.history: list[Operation] = []
        self._broker, self._topic, self._number, self._rng = broker, topic, number, rng
        self._written: Counter[str] = Counter()
        self._writer = Transactional(broker, f"{topic}-writer", self.history)

    def _partition(self, number: int) -> Partition:
        return Partition(self._topic, number)

    def _value(self, what: str) -> str:
        self._written[what] += 1
        return f"{self._topic}:{self._number}:{what}:{self._written[what]}"

    def write(self) -> None:
        """Records in every partition, then some transactions."""
        sender = Sender(self._broker, f"{self._topic}#{self._number}", self.history)
        for _ in range(self._rng.randrange(1, 20)):
            for number in range(self.partitions):
                sender.send(self._partition(number), self._value("plain"), padding=200)
        sender.settle()
        sender.close()
        for _ in range(self._rng.randrange(3)):
            self._writer.run(self._fill, commit=self._rng.random() < 0.6)

    def _fill(self, sender: Sender, name: str) -> None:
        for _ in range(self._rng.randrange(1, 6)):
            where = self._partition(self._rng.randrange(self.partitions))
            sender.send(where, self._value("transactional"), transaction=name)

    def read(self) -> None:
        """All of it, by readers of both kinds."""
        # One that knew the topic of this name before may believe in its partitions for minutes.
        admin = administrator(self._broker)
        for number in range(self.partitions):
            where = self._partition(number)
            end = quiet_end(admin, where).end
            for committed in (True, False):
                records = read_all(self._broker, where, end, committed=committed)
                reader = f"reader of life {self._number}, committed={committed}"
                self.history.append(Seek(reader, where, 0))
                self.history.append(Poll(reader, where, pairs(records), committed))
                self.history.append(Drained(reader, where))

    def leave_open(self) -> Callable[[], None]:
        """A transaction that is open when the topic goes. What is returned commits it, aborts it or
        leaves it to its time: any outcome is right, but there must be one (T10).
        """
        sender, _ = self._writer.begin(self._fill)
        producer = sender.producer
        ends = (producer.commit_transaction, producer.abort_transaction)
        how = self._rng.randrange(3)
        return lambda: self._writer.finish(ends[how]) if how < len(ends) else None

    def judge(self) -> list[Anomaly]:
        """What was wrong in this life."""
        self._writer.close()
        return check(self.history) + begins_anew(self.history, self._markers)


def begins_anew(history: list[Operation], markers: int) -> list[Anomaly]:
    """L1: the first record of a life has offset 0. Before it there may be the `markers` of former
    lives: a transaction knows its partitions by name, as in Kafka, and each death of the broker
    before its end is durable may repeat them (T7).
    """
    first: dict[Partition, int] = {}
    for each in history:
        if isinstance(each, Send) and each.outcome is Outcome.OK and each.offset is not None:
            first[each.partition] = min(first.get(each.partition, each.offset), each.offset)
    return [
        Anomaly("offsets go on", "L1", f"{partition} begins at {offset}")
        for partition, offset in first.items()
        if offset > markers * REPEATED
    ]
