"""A compacted topic and a short-lived one in the simulated crowd: keyed writers, readers that keep
what they saw, topics that are created, filled and deleted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flowstream.broker.types import Instant
from flowstream.wire.batch import NewRecord, Record
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
)
from flowstream.wire.messages.delete_topics import DeleteTopicsRequest
from tests.checkers.compacted import Keyed, View, check
from tests.checkers.history import Anomaly, End, Outcome, Partition, Send
from tests.simulation.actors import (
    Names,
    Session,
    Steps,
    Transactional,
    initialise,
    produce_records,
)
from tests.simulation.readers import Reader
from tests.simulation.setting_up import create_topic
from tests.simulation.world import Actor, Call, World

TABLE = "table"
KEYS = 6
TABLE_CONFIGS = {
    "cleanup.policy": "compact",
    "segment.ms": "200",
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "2000",
}
SHORT_CONFIGS = {
    "cleanup.policy": "compact,delete",
    "segment.ms": "100",
    "retention.ms": "700",
    "min.cleanable.dirty.ratio": "0.01",
}
DELETE_TOPICS, DELETE_RECORDS = 20, 21


@dataclass(slots=True)
class Table:
    """What was sent to the compacted topic, and who read it."""

    world: World
    names: Names
    sent: list[Keyed] = field(default_factory=list)
    readers: list[TableReader] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    """Topics whose deletion was acknowledged."""

    def problems(self) -> list[Anomaly]:
        """The checker's verdict."""
        views = [reader.view() for reader in self.readers]
        return check(self.sent, self.world.history, views)

    def write(
        self, session: Session, transactional_id: str | None, transaction: str | None
    ) -> Steps:
        """A few records with keys, some of them tombstones; the outcome."""
        rng = self.world.rng
        keyed = [
            (f"k{rng.randrange(KEYS)}", self.names.value(), rng.random() < 0.15)
            for _ in range(rng.randrange(1, 5))
        ]
        records: list[NewRecord] = [
            (self.world.now, key.encode(), None if tombstone else value.encode(), ())
            for key, value, tombstone in keyed
        ]
        outcome, base = yield from produce_records(
            self.world, session, TABLE, 0, records, transactional_id, v2=True
        )
        for at, (key, value, tombstone) in enumerate(keyed):
            offset = None if base is None or base < 0 else base + at
            send = Send(session.name, Partition(TABLE, 0), value, outcome, offset, transaction)
            self.sent.append(Keyed(send, key, tombstone))
        return outcome

    def plain(self, label: str, until: Instant) -> Actor:
        """An idempotent writer."""
        session = yield from initialise(self.world, None, label)
        while self.world.now < until:
            outcome = yield from self.write(session, None, None)
            if outcome is not Outcome.OK:
                session = yield from initialise(self.world, None, label)
            yield self.world.rng.randrange(1, 60)

    def transactional(self, label: str, until: Instant) -> Actor:
        """Transactions of a few batches, some aborted, some abandoned."""
        world = self.world
        client = Transactional(world, self.names, label, v2=True)
        session = yield from initialise(world, label, label)
        count = 0
        while world.now < until:
            count += 1
            name = f"{label}/{count}"
            healthy = True
            for _ in range(world.rng.randrange(1, 4)):
                outcome = yield from self.write(session, label, name)
                healthy = healthy and outcome is Outcome.OK
                if not healthy:
                    break
            usable = False
            if healthy and world.rng.random() < 0.05:
                world.history.append(End(name, False, Outcome.OK, {}))
            else:
                commit = healthy and world.rng.random() < 0.7
                usable = yield from client.end(session, name, {}, commit=commit)
            if not usable:
                session = yield from initialise(world, label, label)
            yield world.rng.randrange(1, 80)

    def reader(self, name: str, *, committed_only: bool) -> TableReader:
        """One more reader of the topic."""
        reader = TableReader(self.world, name, 0, committed_only, topic=TABLE)
        self.readers.append(reader)
        return reader

    def short_lives(self, until: Instant) -> Actor:
        """Topics that are filled, cut at their start and deleted while retention and compaction are
        at work.
        """
        world = self.world
        number = 0
        while world.now < until:
            number += 1
            topic = f"short{number}"
            yield from create_topic(world, topic, 1, SHORT_CONFIGS)
            session = yield from initialise(world, None, topic)
            end = 0
            for _ in range(world.rng.randrange(5, 30)):
                key = b"k%d" % world.rng.randrange(KEYS)
                records: list[NewRecord] = [(world.now, key, self.names.value().encode(), ())]
                outcome, base = yield from produce_records(
                    world, session, topic, 0, records, None, v2=True
                )
                if outcome is not Outcome.OK:
                    session = yield from initialise(world, None, topic)
                elif base is not None:
                    end = base
                if world.rng.random() < 0.1:
                    yield from self.delete_records(topic, end)
                if world.rng.random() < 0.3:
                    yield from self.look(topic, end)
                yield world.rng.randrange(1, 60)
            yield from self.delete(topic)

    def look(self, topic: str, offset: int) -> Steps:
        """One fetch, for the watermarks that the answer states."""
        reader = TableReader(self.world, topic, 0, True, topic=topic, position=offset)
        yield from reader.poll(max_wait_ms=0)

    def delete_records(self, topic: str, offset: int) -> Steps:
        """Move the log start, once."""
        part = DeleteRecordsPartition(partition_index=0, offset=offset)
        wanted = DeleteRecordsTopic(name=topic, partitions=(part,))
        yield Call(DELETE_RECORDS, 2, DeleteRecordsRequest(topics=(wanted,), timeout_ms=1000))

    def delete(self, topic: str) -> Steps:
        """DeleteTopics until it is answered; then the topic is gone for good."""
        request = DeleteTopicsRequest(topic_names=(topic,), timeout_ms=1000)
        while True:
            body = yield Call(DELETE_TOPICS, 5, request)
            gone = (0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            if body is not None and body.responses[0].error_code in gone:
                self.deleted.append(topic)
                return
            yield 50


@dataclass(slots=True)
class TableReader(Reader):
    """A reader that keeps keys and values for the checker."""

    records: list[tuple[int, str, str | None]] = field(default_factory=list)
    drained: bool = False

    def saw(self, records: list[Record]) -> None:
        """Keep them in order."""
        for record in records:
            value = None if record.value is None else bytes(record.value).decode()
            self.records.append((record.offset, bytes(record.key or b"").decode(), value))

    def drain(self) -> Actor:
        """Read to the end."""
        result: Any = yield from Reader.drain(self)
        self.drained = True
        return result

    def view(self) -> View:
        """What it saw, in the checker's words."""
        return View(self.name, tuple(self.records), self.committed_only, self.drained)
