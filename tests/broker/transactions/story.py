"""One transactional id at a coordinator whose decisions are applied at once."""

from __future__ import annotations

from flowstream.broker.config import BrokerConfig
from flowstream.broker.transactions.coordinator import Owner, TransactionCoordinator, Verdict
from flowstream.broker.transactions.records import Transaction, TransactionRecord
from flowstream.broker.transactions.states import (
    EMPTY,
)
from flowstream.broker.transactions.transitions import V2
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.error_codes import ErrorCode

A, B = TopicPartition("a", 0), TopicPartition("b", 1)
OFFSETS = TopicPartition("__consumer_offsets", 2)
V1 = 0


class Story:
    """One transactional id, `t`, whose decisions are applied at once."""

    def __init__(self, epoch: int | None = None, **settings: str) -> None:
        self.now = Instant(1_000)
        names = {key.replace("_", "."): value for key, value in settings.items()}
        self.core = TransactionCoordinator(BrokerConfig.of(names))
        self.core.producer_ids.add(range(500, 600))
        if epoch is not None:
            state = Transaction(499, epoch, 60_000, EMPTY, self.now)
            self.core.apply(TransactionRecord("t", state))

    @property
    def transaction(self) -> Transaction:
        return self.core.transactions["t"]

    @property
    def owner(self) -> Owner:
        return Owner(self.transaction.producer_id, self.transaction.producer_epoch)

    def take(self, verdict: Verdict) -> Verdict:
        if verdict.record is not None:
            self.core.apply(verdict.record)
        return verdict

    def init(self, expected: Owner | None = None, timeout_ms: int = 60_000) -> Verdict:
        return self.take(self.core.init_producer_id("t", timeout_ms, expected, self.now))

    def add(self, owner: Owner, *partitions: TopicPartition, version: int = V2) -> ErrorCode:
        verdict = self.core.add_partitions("t", owner, partitions, version, self.now)
        return self.take(verdict).error

    def end(self, owner: Owner, *, commit: bool = True, version: int = V2) -> Verdict:
        verdict = self.core.end("t", owner, commit=commit, client_version=version, now=self.now)
        return self.take(verdict)

    def complete(self) -> None:
        self.core.apply(self.core.complete("t", self.now))

    def begun(self, version: int = V2) -> Owner:
        owner = self.init().owner
        assert self.add(owner, A, version=version) is ErrorCode.NONE
        return owner
