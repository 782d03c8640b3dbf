"""The simulated clients: they do what real ones do on each answer, and write down what they saw.

A value is sent once; every operation ends as ok, fail or unknown. Offsets are committed in rising
order.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from flowstream.broker.types import Instant
from flowstream.wire.batch import NewRecord, encode_batch
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.add_offsets_to_txn import AddOffsetsToTxnRequest
from flowstream.wire.messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnTopic,
)
from flowstream.wire.messages.end_txn import EndTxnRequest
from flowstream.wire.messages.init_producer_id import InitProducerIdRequest
from flowstream.wire.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from flowstream.wire.messages.txn_offset_commit import (
    TxnOffsetCommitRequest,
    TxnOffsetCommitRequestPartition,
    TxnOffsetCommitRequestTopic,
)
from tests.checkers.history import End, GroupPartition, Outcome, Partition, Send
from tests.simulation.world import Actor, Call, World

TOPIC = "events"
PARTITIONS = 2
GROUP = "group"
TRANSACTION_TIMEOUT_MS = 4_000
PRODUCE, ADD_PARTITIONS, ADD_OFFSETS, END_TXN, TXN_OFFSETS, INIT = 0, 24, 25, 26, 28, 22

RETRIED = {
    ErrorCode.NOT_LEADER_OR_FOLLOWER,
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_COORDINATOR,
    ErrorCode.CONCURRENT_TRANSACTIONS,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode.REQUEST_TIMED_OUT,
}
Steps = Generator[Call | int, Any, Any]


@dataclass(slots=True)
class Session:
    """One producer id and epoch with its sequences."""

    name: str
    producer_id: int
    epoch: int
    sequences: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Names:
    """Values and names that occur once in a history."""

    world: World
    next: int = 0

    def value(self) -> str:
        """A value nobody else sends."""
        self.next += 1
        return f"v{self.next}"


def answered(world: World, call: Call, attempts: int) -> Steps:
    """Send until an answer comes that is not retriable; None when none came."""
    body = None
    for _ in range(attempts):
        body = yield call
        code = getattr(body, "error_code", 0) if body is not None else None
        if body is not None and code not in RETRIED:
            return body
        yield world.rng.randrange(5, 60)
    return body


def initialise(world: World, transactional_id: str | None, name: str) -> Steps:
    """InitProducerId until it is answered."""
    request = InitProducerIdRequest(
        transactional_id=transactional_id, transaction_timeout_ms=TRANSACTION_TIMEOUT_MS
    )
    while True:
        body = yield from answered(world, Call(INIT, 4, request), 3)
        if body is not None and body.error_code == 0:
            unique = f"{name}/{body.producer_id}/{body.producer_epoch}"
            return Session(unique, body.producer_id, body.producer_epoch)
        yield 100


def produce(
    world: World,
    session: Session,
    partition: int,
    values: list[str],
    transactional_id: str | None,
    *,
    v2: bool,
) -> Steps:
    """One batch of values to the topic that everybody uses; (outcome, base offset)."""
    records: list[NewRecord] = [(world.now, None, value.encode(), ()) for value in values]
    return (
        yield from produce_records(
            world, session, TOPIC, partition, records, transactional_id, v2=v2
        )
    )


def produce_records(
    world: World,
    session: Session,
    topic: str,
    partition: int,
    records: list[NewRecord],
    transactional_id: str | None,
    *,
    v2: bool,
) -> Steps:
    """One batch, retried with its sequence as idempotent producers do; (outcome, base offset)."""
    sequence = session.sequences.get(partition, 0)
    batch = encode_batch(
        records,
        producer_id=session.producer_id,
        producer_epoch=session.epoch,
        base_sequence=sequence,
        transactional=transactional_id is not None,
    )
    data = PartitionProduceData(index=partition, records=bytes(batch))
    request = ProduceRequest(
        transactional_id=transactional_id,
        acks=-1,
        timeout_ms=1000,
        topic_data=(TopicProduceData(name=topic, partition_data=(data,)),),
    )
    for _ in range(6):
        body = yield Call(PRODUCE, 12 if v2 else 11, request)
        if body is not None:
            answer = body.responses[0].partition_responses[0]
            if answer.error_code == 0:
                session.sequences[partition] = sequence + len(records)
                return Outcome.OK, answer.base_offset
            if answer.error_code == ErrorCode.DUPLICATE_SEQUENCE_NUMBER:
                session.sequences[partition] = sequence + len(records)
                return Outcome.OK, None
            if answer.error_code not in RETRIED:
                return Outcome.UNKNOWN, None
        yield world.rng.randrange(5, 60)
    return Outcome.UNKNOWN, None


def write_down(
    world: World,
    session: Session,
    partition: int,
    values: list[str],
    outcome: Outcome,
    base: int | None,
    transaction: str | None,
) -> None:
    """One Send per value. A refusal after a lost answer proves nothing, so refusals count as
    unknown.
    """
    for index, value in enumerate(values):
        offset = None if base is None or base < 0 else base + index
        where = Partition(TOPIC, partition)
        world.history.append(Send(session.name, where, value, outcome, offset, transaction))


def idempotent_producer(world: World, names: Names, label: str, until: Instant) -> Actor:
    """Batches of one to four values; after an unknown outcome a new session."""
    session = yield from initialise(world, None, label)
    while world.now < until:
        partition = world.rng.randrange(PARTITIONS)
        values = [names.value() for _ in range(world.rng.randrange(1, 5))]
        outcome, base = yield from produce(world, session, partition, values, None, v2=True)
        write_down(world, session, partition, values, outcome, base, None)
        if outcome is not Outcome.OK:
            session = yield from initialise(world, None, label)
        yield world.rng.randrange(1, 40)


@dataclass(slots=True)
class Transactional:
    """A transactional client: its id, its protocol version and the offset it committed last."""

    world: World
    names: Names
    label: str
    v2: bool
    offset: int = 0
    count: int = 0

    def live(self, until: Instant) -> Actor:
        """Transactions in turn, some aborted on purpose, some abandoned."""
        session = yield from initialise(self.world, self.label, self.label)
        while self.world.now < until:
            usable = yield from self.transaction(session)
            if not usable:
                session = yield from initialise(self.world, self.label, self.label)
            yield self.world.rng.randrange(1, 60)

    def transaction(self, session: Session) -> Steps:
        """One transaction; False when the session must be initialised anew."""
        rng = self.world.rng
        self.count += 1
        name = f"{self.label}/{self.count}"
        healthy = True
        for _ in range(rng.randrange(1, 4)):
            partition = rng.randrange(PARTITIONS)
            values = [self.names.value() for _ in range(rng.randrange(1, 4))]
            outcome, base = Outcome.FAIL, None
            if self.v2 or (yield from self.add_partition(session, partition)):
                outcome, base = yield from produce(
                    self.world, session, partition, values, self.label, v2=self.v2
                )
            else:
                healthy = False
            write_down(self.world, session, partition, values, outcome, base, name)
            healthy = healthy and outcome is Outcome.OK
            if not healthy:
                break
        offsets: dict[GroupPartition, int] = {}
        if healthy and rng.random() < 0.6:
            healthy = yield from self.add_offsets(session, offsets)
        if healthy and rng.random() < 0.05:
            self.world.history.append(End(name, False, Outcome.OK, offsets))
            return False  # abandoned: the next InitProducerId, or the timeout, aborts it
        commit = healthy and rng.random() < 0.8
        usable = yield from self.end(session, name, offsets, commit=commit)
        # Under v1 the epoch stays: a batch whose answer was lost may hold the sequences to come.
        return usable and (self.v2 or healthy)

    def add_partition(self, session: Session, partition: int) -> Steps:
        """AddPartitionsToTxn v3; True when it joined."""
        request = AddPartitionsToTxnRequest(
            v3_and_below_transactional_id=self.label,
            v3_and_below_producer_id=session.producer_id,
            v3_and_below_producer_epoch=session.epoch,
            v3_and_below_topics=(AddPartitionsToTxnTopic(name=TOPIC, partitions=(partition,)),),
        )
        for _ in range(6):
            body = yield Call(ADD_PARTITIONS, 3, request)
            if body is not None:
                result = body.results_by_topic_v3_and_below[0].results_by_partition[0]
                if result.partition_error_code not in RETRIED:
                    return result.partition_error_code == 0
            yield self.world.rng.randrange(5, 60)
        return False

    def add_offsets(self, session: Session, offsets: dict[GroupPartition, int]) -> Steps:
        """Commit the next offset of this client's own partition of the group in the transaction."""
        if not self.v2:
            add = AddOffsetsToTxnRequest(
                transactional_id=self.label,
                producer_id=session.producer_id,
                producer_epoch=session.epoch,
                group_id=GROUP,
            )
            body = yield from answered(self.world, Call(ADD_OFFSETS, 3, add), 6)
            if body is None or body.error_code:
                return False
        target = GroupPartition(GROUP, Partition(self.label, 0))
        self.offset += 1
        part = TxnOffsetCommitRequestPartition(
            partition_index=0, committed_offset=self.offset, committed_metadata=""
        )
        request = TxnOffsetCommitRequest(
            transactional_id=self.label,
            group_id=GROUP,
            producer_id=session.producer_id,
            producer_epoch=session.epoch,
            topics=(TxnOffsetCommitRequestTopic(name=self.label, partitions=(part,)),),
        )
        for _ in range(6):
            body = yield Call(TXN_OFFSETS, 5 if self.v2 else 3, request)
            if body is not None:
                code = body.topics[0].partitions[0].error_code
                if code not in RETRIED:
                    offsets[target] = self.offset
                    return code == 0
            yield self.world.rng.randrange(5, 60)
        return False

    def end(
        self, session: Session, name: str, offsets: dict[GroupPartition, int], *, commit: bool
    ) -> Steps:
        """EndTxn; an unknown outcome is asked for by repeating the same request (T3)."""
        request = EndTxnRequest(
            transactional_id=self.label,
            producer_id=session.producer_id,
            producer_epoch=session.epoch,
            committed=commit,
        )
        body, sent = None, 0
        while body is None or body.error_code in RETRIED:
            body = yield Call(END_TXN, 5 if self.v2 else 3, request)
            sent += 1
            if body is None and sent >= 8:
                break
            yield self.world.rng.randrange(5, 60)
        if body is not None and body.error_code == 0:
            self.world.history.append(End(name, commit, Outcome.OK, offsets))
            if self.v2:
                if (session.producer_id, session.epoch) != (body.producer_id, body.producer_epoch):
                    session.sequences.clear()
                session.producer_id, session.epoch = body.producer_id, body.producer_epoch
                session.name = f"{self.label}/{body.producer_id}/{body.producer_epoch}"
            return True
        # A refusal tells nothing of an earlier attempt whose answer was lost, but an abort that was
        # asked for
        # or forced by the timeout can never have become a commit.
        outcome = Outcome.UNKNOWN if commit else Outcome.OK
        self.world.history.append(End(name, commit, outcome, offsets))
        return False
