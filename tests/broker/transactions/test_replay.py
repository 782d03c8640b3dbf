"""Durable state is the fold of the records, and the invariants hold whatever clients ask."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flowstream.broker.config import BrokerConfig
from flowstream.broker.transactions.coordinator import Owner, TransactionCoordinator, Verdict
from flowstream.broker.transactions.records import Transaction, TransactionRecord
from flowstream.broker.transactions.states import EMPTY, ONGOING, PREPARED, SUCCESSORS
from flowstream.broker.transactions.transitions import MAX_EPOCH, V2
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.error_codes import ErrorCode

IDS = st.sampled_from(["a", "b"])
PARTITIONS = st.lists(
    st.builds(TopicPartition, st.sampled_from(["x", "y"]), st.integers(0, 2)), min_size=1
)
VERSIONS = st.sampled_from([0, V2])
CONFIG = BrokerConfig.of({"transactional.id.expiration.ms": "100000"})


def durable(core: TransactionCoordinator) -> dict[str, Transaction]:
    """What the log keeps: all but the epoch that only a retry before a restart may use."""
    return {name: each._replace(last_producer_epoch=-1) for name, each in core.transactions.items()}


class Coordinators(RuleBasedStateMachine):
    """A live coordinator, all it wrote, and clients that ask with present and past epochs."""

    @initialize(epoch=st.sampled_from([0, MAX_EPOCH - 3]))
    def start(self, epoch: int) -> None:
        self.now = Instant(1_000)
        self.log: list[TransactionRecord] = []
        self.granted: dict[Owner, str] = {}
        self.epochs: dict[int, int] = {}
        self.core = TransactionCoordinator(CONFIG)
        self.core.producer_ids.add(range(10, 10_000))
        self.commit(TransactionRecord("a", Transaction(1, epoch, 50, EMPTY, self.now)))
        self.known = {"a": [Owner(1, epoch)], "b": [Owner(2, 0)]}

    def commit(self, record: TransactionRecord | None) -> None:
        if record is None:
            return
        old = self.core.transactions.get(record.transactional_id)
        new = record.transaction
        if old is not None and new is not None:
            assert new.state in SUCCESSORS[old.state]
        if new is not None:
            # T11: an id's epochs never go back. T12: it never changes hands.
            assert new.producer_epoch >= self.epochs.get(new.producer_id, -1)
            self.epochs[new.producer_id] = new.producer_epoch
        self.log.append(record)
        self.core.apply(record)

    def decided(self, verdict: Verdict) -> Verdict:
        assert verdict.error is ErrorCode.NONE or verdict.record is None
        self.commit(verdict.record)
        return verdict

    def an_owner(self, data: st.DataObject, name: str) -> Owner:
        present = self.core.transactions.get(name)
        owners = self.known[name][-3:]
        if present is not None:
            owners = [*owners, Owner(present.producer_id, present.producer_epoch)]
        return data.draw(st.sampled_from(owners))

    @rule(name=IDS, recover=st.booleans(), data=st.data())
    def init(self, name: str, recover: bool, data: st.DataObject) -> None:
        expected = self.an_owner(data, name) if recover else None
        verdict = self.decided(self.core.init_producer_id(name, 50, expected, self.now))
        fencing = verdict.record is not None and self.core.transactions[name].state in PREPARED
        if verdict.record is not None and not fencing:
            assert self.granted.setdefault(verdict.owner, name) == name
            self.known[name].append(verdict.owner)

    @rule(name=IDS, partitions=PARTITIONS, version=VERSIONS, data=st.data())
    def add(
        self, name: str, partitions: list[TopicPartition], version: int, data: st.DataObject
    ) -> None:
        owner = self.an_owner(data, name)
        verdict = self.decided(self.core.add_partitions(name, owner, partitions, version, self.now))
        if verdict.error is ErrorCode.NONE:
            assert all(self.core.verify(name, owner, each) is ErrorCode.NONE for each in partitions)

    @rule(name=IDS, commit=st.booleans(), version=VERSIONS, data=st.data())
    def end(self, name: str, commit: bool, version: int, data: st.DataObject) -> None:
        owner = self.an_owner(data, name)
        before = self.core.transactions.get(name)
        verdict = self.decided(
            self.core.end(name, owner, commit=commit, client_version=version, now=self.now)
        )
        if verdict.record is not None:
            assert before is not None
            # T2: it acted on its own transaction only.
            assert (before.producer_id, before.producer_epoch) == owner
            if version == V2:
                self.known[name].append(verdict.owner)

    @rule(name=IDS)
    def complete(self, name: str) -> None:
        if name in self.core.prepared():
            self.commit(self.core.complete(name, self.now))

    @rule(passed=st.sampled_from([1, 49, 50, 200, 50_000, 5_000_000]))
    def wait(self, passed: int) -> None:
        self.now = Instant(self.now + passed)
        for name in self.core.overdue(self.now):
            record = self.core.abort_overdue(name, self.now)
            assert record is not None
            self.commit(record)
        for record in self.core.expired(self.now):
            self.commit(record)
        for transaction in self.core.transactions.values():
            # T10: nothing stays open beyond its time.
            assert transaction.state is not ONGOING or transaction.start + 50 > self.now

    @invariant()
    def replaying_the_log_gives_the_durable_state(self) -> None:
        replayed = TransactionCoordinator(CONFIG)
        for record in self.log:
            decoded = replayed.decode(*replayed.encode(record))
            assert decoded is not None
            replayed.apply(decoded)
        assert durable(replayed) == durable(self.core)
        assert replayed.by_producer_id == self.core.by_producer_id
        assert sorted(replayed.prepared()) == sorted(self.core.prepared())

    @invariant()
    def a_deadline_is_set_while_a_transaction_is_open(self) -> None:
        due = self.core.deadline()
        for transaction in self.core.transactions.values():
            assert due is not None
            if transaction.state is ONGOING:
                assert due <= transaction.start + transaction.timeout_ms


TestCoordinators = Coordinators.TestCase
TestCoordinators.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
