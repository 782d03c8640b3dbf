"""Topics that are deleted and made again under the same name, over and over: what one life held
must never show in the next one, and what a life was promised must be there (L1, L2).

Only where the network duplicates nothing: a late copy of a request would be another life's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flowstream.broker.types import Instant
from flowstream.wire.batch import NewRecord, Record
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
)
from flowstream.wire.messages.delete_topics import DeleteTopicsRequest
from tests.checkers.history import Outcome
from tests.simulation.actors import Session, Steps, initialise, produce_records
from tests.simulation.readers import Reader
from tests.simulation.setting_up import create_topic
from tests.simulation.world import Actor, Call, World

DELETE_TOPICS, DELETE_RECORDS = 20, 21
GONE = (0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
PLAIN = {"segment.ms": "60"}
COMPACTED = {
    "cleanup.policy": "compact,delete",
    "segment.ms": "60",
    "retention.ms": "400",
    "min.cleanable.dirty.ratio": "0.01",
}
"""Records go: only what shows is judged, not what is missing."""


NAME = "again"


def is_reborn(topic: str) -> bool:
    """Whether the topic is one of those that are made again."""
    return topic.startswith(NAME)


@dataclass(slots=True)
class Life:
    """One topic between its creation and its deletion."""

    topic: str
    number: int
    partitions: int
    keeps: bool
    session: Session
    acknowledged: dict[tuple[int, int], str] = field(default_factory=dict)
    starts: dict[int, int] = field(default_factory=dict)
    """Where DeleteRecords moved the log start of a partition, at least."""
    sent: int = 0

    @property
    def mark(self) -> str:
        """What each of its values begins with."""
        return f"{self.topic}/{self.number}/"


@dataclass(slots=True)
class Reborn:
    """Number so and so of those who make topics again and again."""

    world: World
    number: int
    lives: int = 0

    def live(self, until: Instant) -> Actor:
        """One to three topics at a time."""
        rng = self.world.rng
        while self.world.now < until:
            lives = []
            for number in range(rng.randrange(1, 4)):
                lives.append((yield from self.begin(f"{NAME}{self.number}.{number}")))
            for _ in range(rng.choice([0, 1, 4, 15])):
                yield from self.act(rng.choice(lives))
                yield rng.randrange(0, 30)
            for life in lives:
                yield from self.look(life)
                yield from self.delete(life.topic)

    def begin(self, topic: str) -> Steps:
        """A new topic of the name."""
        rng = self.world.rng
        self.lives += 1
        count = rng.randrange(1, 4)
        keeps = rng.random() < 0.6
        yield from create_topic(self.world, topic, count, PLAIN if keeps else COMPACTED)
        session = yield from initialise(self.world, None, topic)
        return Life(topic, self.lives, count, keeps, session)

    def act(self, life: Life) -> Steps:
        """A batch mostly; now and then a look, or the oldest records go."""
        rng = self.world.rng
        choice = rng.random()
        if choice < 0.1:
            yield from self.look(life)
        elif choice < 0.2:
            yield from self.cut(life, rng.randrange(life.partitions))
        else:
            yield from self.send(life, rng.randrange(life.partitions))

    def send(self, life: Life, partition: int) -> Steps:
        """One batch."""
        values = []
        for _ in range(self.world.rng.randrange(1, 4)):
            life.sent += 1
            values.append(f"{life.mark}{life.sent}")
        records: list[NewRecord] = [
            (self.world.now, b"k%d" % (at % 2), value.encode(), ())
            for at, value in enumerate(values)
        ]
        outcome, base = yield from produce_records(
            self.world, life.session, life.topic, partition, records, None, v2=True
        )
        if outcome is not Outcome.OK:
            life.session = yield from initialise(self.world, None, life.topic)
        elif base is not None and base >= 0:
            for at, value in enumerate(values):
                life.acknowledged[partition, base + at] = value

    def cut(self, life: Life, partition: int) -> Steps:
        """DeleteRecords of what is there."""
        known = [offset for number, offset in life.acknowledged if number == partition]
        if not known:
            return
        offset = self.world.rng.choice(known)
        # Before the answer comes the records may be gone.
        life.starts[partition] = max(offset, life.starts.get(partition, 0))
        part = DeleteRecordsPartition(partition_index=partition, offset=offset)
        wanted = DeleteRecordsTopic(name=life.topic, partitions=(part,))
        yield Call(DELETE_RECORDS, 2, DeleteRecordsRequest(topics=(wanted,), timeout_ms=1000))

    def look(self, life: Life) -> Steps:
        """Read every partition, and judge."""
        for partition in range(life.partitions):
            reader = Glance(self.world, life.topic, partition, False, topic=life.topic)
            done = yield from reader.glance()
            self._foreign(life, reader)
            if done and life.keeps:
                self._lost(life, partition, reader.found)

    def _foreign(self, life: Life, reader: Glance) -> None:
        for offset, value in reader.found.items():
            if not value.startswith(life.mark):
                self.world.failures.append(
                    f"L1: {reader.where} offset {offset}: {value} in the life {life.mark}"
                )

    def _lost(self, life: Life, partition: int, found: dict[int, str]) -> None:
        start = life.starts.get(partition, 0)
        for (number, offset), value in life.acknowledged.items():
            seen = found.get(offset, "nothing")
            if number == partition and offset >= start and seen != value:
                self.world.failures.append(
                    f"L2: {life.topic}-{partition} offset {offset}: acknowledged {value},"
                    f" found {seen}"
                )

    def delete(self, topic: str) -> Steps:
        """DeleteTopics until the name is free."""
        request = DeleteTopicsRequest(topic_names=(topic,), timeout_ms=1000)
        while True:
            body = yield Call(DELETE_TOPICS, 5, request)
            if body is not None and body.responses[0].error_code in GONE:
                return
            yield self.world.rng.randrange(1, 50)


@dataclass(slots=True)
class Glance(Reader):
    """A reader of all that is there."""

    found: dict[int, str] = field(default_factory=dict)

    def glance(self) -> Steps:
        """Read from the log start to the end; True when the end was reached."""
        for _ in range(200):
            answered = yield from self.poll(max_wait_ms=0)
            if answered and self.position >= self.end[1]:
                return True
            if self.refusal == ErrorCode.OFFSET_OUT_OF_RANGE:
                self.position += 1  # deleted records: the log start is somewhere behind
            elif not answered:
                yield self.world.rng.randrange(1, 20)
        return False

    def saw(self, records: list[Record]) -> None:
        """Keep the values."""
        for record in records:
            self.found[record.offset] = bytes(record.value or b"").decode()
