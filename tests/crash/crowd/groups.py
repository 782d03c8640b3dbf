"""A consumer group whose members come and go while they commit: everything is delivered, and the
committed offsets only rise.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from tests.checkers import rising
from tests.checkers.history import (
    Anomaly,
    GroupPartition,
    Operation,
    Outcome,
    Partition,
    Send,
)
from tests.checkers.rising import Answer
from tests.crash.crowd.clients import (
    ANSWER_S,
    BOUND_S,
    CALM,
    Sender,
    create,
    insist,
    settings,
)
from tests.crash.crowd.neighbour import Neighbour, Role

PARTITIONS = 4
SLOTS = 3
LAST_MEMBERS = 2
EVERY = 10
"""Records between two commits."""
PROTOCOLS: Mapping[str, Mapping[str, Any]] = {
    "eager": {"partition.assignment.strategy": "range"},
    "cooperative": {"partition.assignment.strategy": "cooperative-sticky"},
    "consumer": {"group.protocol": "consumer"},
}
CLASSIC = {"session.timeout.ms": 2000, "heartbeat.interval.ms": 300}
Done = Callable[[], bool]


def either(stop: threading.Event, until: float) -> Done:
    """Whether the event is set, or the time has come."""
    return lambda: stop.is_set() or time.monotonic() > until


class Group(Neighbour):
    """A topic and the group that reads it."""

    expected = ("rebalances", "commits", "static members that vanished")

    def __init__(self, broker: str, protocol: str) -> None:
        super().__init__(broker)
        self.topic = f"crowd-queue-{protocol}"
        self.group = f"crowd-{protocol}"
        self.history: list[Operation] = []
        self.answers: list[Answer] = []
        self.seen: set[tuple[int, int]] = set()
        more = PROTOCOLS[protocol]
        self._more = dict(more) if "group.protocol" in more else {**CLASSIC, **more}
        self._number = self._members = 0

    def prepare(self) -> None:
        """The topic."""
        create(self.admin, self.topic, PARTITIONS, {})

    def roles(self) -> Mapping[str, Role]:
        """Who writes, who watches, and three places for members."""
        members: dict[str, Role] = {f"member {n}": self._place(n) for n in range(SLOTS)}
        return {"writer": self._write, "watcher": self._watch} | members

    def _write(self, stop: threading.Event, rng: random.Random) -> None:
        self._number += 1
        sender = Sender(self.broker, f"{self.topic}#{self._number}", self.history)
        while not stop.wait(0.03):
            self._number += 1
            where = Partition(self.topic, rng.randrange(PARTITIONS))
            sender.send(where, f"{self.topic}:{self._number}")
        sender.settle()
        sender.close()

    # Members

    def _place(self, number: int) -> Role:
        """One member after the other; those in the first place have a name, and go without a
        word.
        """

        def work(stop: threading.Event, rng: random.Random) -> None:
            while not stop.is_set():
                enough = either(stop, time.monotonic() + rng.uniform(1.0, 5.0))
                self._member(enough, static=number == 0)
                self.counts["static members that vanished"] += number == 0
                stop.wait(rng.uniform(0.0, 1.0))

        return work

    def _member(self, done: Done, *, static: bool = False) -> None:
        self._members += 1
        more = self._more | ({"group.instance.id": f"{self.group}-named"} if static else {})
        Member(self, self.broker, f"member {self._members}", more).serve(done)

    # What is known

    def _watch(self, stop: threading.Event, rng: random.Random) -> None:
        watcher = self._watcher()
        while not stop.wait(0.2):
            try:
                self._committed(watcher)
            except KafkaException:
                self.counts["no answer"] += 1
        watcher.close()

    def _watcher(self) -> Consumer:
        return Consumer(settings(self.broker) | {"group.id": self.group})

    def _committed(self, watcher: Consumer) -> dict[int, int]:
        """The committed offsets, 0 where there is none."""
        wanted = [TopicPartition(self.topic, n) for n in range(PARTITIONS)]
        began = time.monotonic()
        found = watcher.committed(wanted, timeout=ANSWER_S)
        ended = time.monotonic()
        for each in found:
            if each.error is not None:
                raise KafkaException(each.error)
        for each in found:
            offset = each.offset if each.offset >= 0 else None
            self.answers.append(Answer(self.target(each.partition), "watcher", offset, began, ended))  # fmt: skip # noqa: E501
        return {each.partition: max(0, each.offset) for each in found}

    def target(self, partition: int) -> GroupPartition:
        """What is committed."""
        return GroupPartition(self.group, Partition(self.topic, partition))

    # The end of a round

    def settle(self, rng: random.Random) -> None:
        """A few members that stay come to the end of everything (G7, V1), then judge."""
        done = threading.Event()
        members = [
            threading.Thread(target=self._member, args=(done.is_set,)) for _ in range(LAST_MEMBERS)
        ]
        for member in members:
            member.start()
        try:
            committed = self._reach_the_end()
        finally:
            done.set()
            for member in members:
                member.join()
        self.judge(committed)

    def _reach_the_end(self) -> dict[int, int]:
        ends = dict.fromkeys(range(PARTITIONS), 0)
        for each in self._acknowledged():
            assert each.offset is not None
            number = each.partition.partition
            ends[number] = max(ends[number], each.offset + 1)
        watcher = self._watcher()
        began = time.monotonic()
        try:
            while True:
                committed: dict[int, int] = insist(lambda: self._committed(watcher))
                if all(committed[number] >= end for number, end in ends.items()):
                    return committed
                if CALM.is_over(began):
                    evidence = f"{self.group} is at {committed} of {ends} after {BOUND_S:.0f} s"
                    self.anomalies.append(Anomaly("stalled group", "G7", evidence))
                    return committed
                time.sleep(0.1)
        finally:
            watcher.close()

    def _acknowledged(self) -> list[Send]:
        return [
            each
            for each in self.history
            if isinstance(each, Send) and each.outcome is Outcome.OK and each.offset is not None
        ]

    def judge(self, committed: Mapping[int, int]) -> None:
        self.anomalies += rising.check(self.answers)
        self.anomalies += passed_over(self.group, self._acknowledged(), self.seen, committed)
        highest: dict[GroupPartition, Answer] = {}
        for each in self.answers:
            best = highest.get(each.target)
            if best is None or rising.known(best) < rising.known(each):
                highest[each.target] = each
        self.answers = list(highest.values())
        # Offsets are compared from round to round; records once.
        self.history = self._newest()
        self.seen = {(p, o) for p, o in self.seen if o >= committed[p] - 1}

    def _newest(self) -> list[Operation]:
        """The last record of each partition, so that its end stays known."""
        newest: dict[Partition, Send] = {}
        for each in self._acknowledged():
            newest[each.partition] = each
        return list(newest.values())


def passed_over(
    group: str, sent: list[Send], seen: set[tuple[int, int]], committed: Mapping[int, int]
) -> list[Anomaly]:
    """S11: what lies below a committed offset was delivered to a member."""
    return [
        Anomaly("passed over", "S11", f"{group}: {each}, committed {committed}")
        for each in sent
        if (each.partition.partition, each.offset) not in seen
        and (each.offset or 0) < committed[each.partition.partition]
    ]


class Member:
    """One member: takes records, and commits behind them."""

    def __init__(self, group: Group, broker: str, name: str, more: Mapping[str, Any]) -> None:
        self._group, self._name = group, name
        self._next: dict[int, int] = {}
        self._consumer = Consumer(
            settings(broker)
            | {
                "group.id": group.group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
            }
            | dict(more)
        )

    def serve(self, done: Done) -> None:
        """Work until `done`, or until the broker says that another one has the name."""
        self._consumer.subscribe(
            [self._group.topic],
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._lost,
        )
        count = 0
        try:
            while not done():
                message = self._consumer.poll(0.1)
                count += self._took(message)
                if self._next and (message is None or count >= EVERY):
                    self._commit(self._consumer)
                    count = 0
        except KafkaException:
            self._group.counts["members put out"] += 1
        finally:
            self._consumer.close()

    def _took(self, message: Message | None) -> int:
        """Note a record; how many it was."""
        if message is None:
            return 0
        error = message.error()
        if error is not None:
            if error.fatal():
                raise KafkaException(error)
            return 0
        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        self._group.seen.add((partition, offset))
        self._next[partition] = offset + 1
        return 1

    def _commit(self, consumer: Consumer) -> None:
        """Commit, and note what the broker acknowledged. What it refused is offered again: who
        keeps a partition in a rebalance does not read its records a second time.
        """
        offsets = [TopicPartition(self._group.topic, p, o) for p, o in self._next.items()]
        began = time.monotonic()
        try:
            found = consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException:
            self._group.counts["commits refused"] += 1
            return
        self._next.clear()
        ended = time.monotonic()
        for each in found:
            if each.error is None:
                target = self._group.target(each.partition)
                answer = Answer(target, self._name, each.offset, began, ended, commit=True)
                self._group.answers.append(answer)
                self._group.counts["commits"] += 1

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._group.counts["rebalances"] += 1

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._next:
            self._commit(consumer)
        for each in partitions:
            self._next.pop(each.partition, None)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._next.clear()
