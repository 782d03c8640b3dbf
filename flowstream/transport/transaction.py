"""The exactly-once session: one producer, one transaction at a time (KIP-98, KIP-447, KIP-890).

Straight coroutines in the order of the protocol; whatever fails makes the transaction abort, and
an unanswered EndTxn is asked for, never assumed (T3). Knows no tables and no epochs of the worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum

from flowstream.transport import transaction_requests as requests
from flowstream.transport.batches import PendingBatch, SealedBatch
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import (
    ConnectionLost,
    GenerationPassed,
    ProducerFenced,
    TransactionFailed,
    TransportError,
    error_name,
)
from flowstream.transport.shipping import (
    MAX_VERSION_V1,
    MIN_VERSION_V2,
    Route,
    Shipment,
    for_good,
    ship,
)
from flowstream.transport.transaction_requests import FENCED, NO_NOTES, Producer
from flowstream.transport.types import Generation, TopicPartition

SEQUENCE_END = 1 << 31


class State(Enum):
    """Where a session is."""

    CREATED = "created"  # init() is wanted
    READY = "ready"  # begin() opens a transaction
    OPEN = "open"  # takes batches and offsets
    ENDING = "ending"  # an EndTxn is on its way; its outcome is not known
    FAILED = "failed"  # only abort() or init() go on
    FENCED = "fenced"  # only init() goes on


MOVES: Mapping[State, frozenset[State]] = {
    State.CREATED: frozenset({State.READY}),
    State.READY: frozenset({State.READY, State.OPEN, State.FENCED}),
    State.OPEN: frozenset({State.READY, State.ENDING, State.FAILED, State.FENCED}),
    State.ENDING: frozenset({State.READY, State.FAILED, State.FENCED}),
    State.FAILED: frozenset({State.READY, State.FAILED, State.FENCED}),
    State.FENCED: frozenset({State.READY, State.FAILED, State.FENCED}),
}


class TransactionSession:
    """One transactional id. Not for concurrent use, except that produce() calls of one
    transaction may overlap when their partitions differ.
    """

    def __init__(
        self,
        cluster: Cluster,
        transactional_id: str,
        *,
        timeout_ms: int = 10_000,
        request_timeout_ms: int = 5_000,
        init_timeout_ms: int = 60_000,
        allow_v2: bool = True,
    ) -> None:
        self.transactional_id = transactional_id
        self.state = State.CREATED
        self.v2 = False
        """Whether the transaction protocol is v2: a new epoch for every transaction (KIP-890)."""
        self._allow_v2 = allow_v2
        self._cluster = cluster
        self._producer = Producer(transactional_id, -1, -1)
        self._wire = requests.Requests(
            cluster,
            lane=("transactions", transactional_id),
            timeout_ms=timeout_ms,
            request_timeout_ms=request_timeout_ms,
            init_timeout_ms=init_timeout_ms,
        )
        self._sequences: dict[TopicPartition, int] = {}
        self._partitions: set[TopicPartition] = set()
        self._groups: set[str] = set()
        self._touched = False

    @property
    def producer(self) -> Producer:
        """Transactional id, producer id and epoch."""
        return self._producer

    async def init(self) -> None:
        """Become the one owner of the transactional id: whoever had it is fenced, its open
        transaction aborted, and ended ones are complete when this returns.
        """
        self._wire.drop_connections()
        await self._cluster.refresh_features()
        self.v2 = self._allow_v2 and self._cluster.transactions_v2
        self._adopt(await self._wire.init_producer(Producer(self.transactional_id, -1, -1)))
        self._ready()

    def begin(self) -> None:
        """Open a transaction. Nothing is sent yet."""
        if self.state is State.FENCED:
            raise ProducerFenced("the producer was fenced; init() it first", "unknown")
        self._require(State.READY)
        self._move(State.OPEN)

    async def produce(
        self, batches: Mapping[TopicPartition, Sequence[PendingBatch]]
    ) -> dict[TopicPartition, int]:
        """Ship the batches; returns when every one is acknowledged, with the offset behind the
        last record of each partition (but for partitions whose offsets the broker forgot).
        """
        ends: dict[TopicPartition, int] = {}
        with self._step():
            await self._add_partitions([tp for tp in batches if tp not in self._partitions])
            for turn in range(max(map(len, batches.values()), default=0)):
                # A partition's next batch goes only after the one before is acknowledged.
                sealed = [self._seal(b[turn]) for b in batches.values() if turn < len(b)]
                placed = await self._ship(sealed)
                ends.update({b.tp: placed[b.tp] + b.records for b in sealed if placed[b.tp] >= 0})
        return ends

    async def add_offsets(
        self, offsets: Mapping[TopicPartition, int], generation: Generation
    ) -> None:
        """Make the group's next positions part of the transaction. CommitRefused when member or
        generation is not the current one (KIP-447).
        """
        # Without a generation the coordinator would not check anything.
        assert generation.generation_id >= 0, generation
        assert generation.member_id, generation
        await self._add_offsets(offsets, generation)

    async def add_lone_offsets(
        self,
        offsets: Mapping[TopicPartition, int],
        group: str,
        notes: Mapping[TopicPartition, str] = NO_NOTES,
    ) -> None:
        """Make positions of a group without members part of the transaction, with what is noted
        beside them: only the transactional id says who may.
        """
        await self._add_offsets(offsets, Generation(group, -1, ""), notes)

    async def _add_offsets(
        self,
        offsets: Mapping[TopicPartition, int],
        generation: Generation,
        notes: Mapping[TopicPartition, str] = NO_NOTES,
    ) -> None:
        with self._step():
            if not offsets:
                return
            self._touched = True
            if not self.v2 and generation.group not in self._groups:
                await self._wire.add_group(self._producer, generation.group)
            self._groups.add(generation.group)
            await self._wire.commit_offsets(self._producer, offsets, generation, notes, v2=self.v2)

    async def commit(self) -> None:
        """Commit. When this returns it is decided, whatever crashes after (T7).

        ProducerFenced tells what is known of the outcome. A commit that was cancelled leaves the
        session in ENDING: init() settles it.
        """
        self._require(State.OPEN)
        if not self._touched:
            self._ready()
            return
        self._move(State.ENDING)
        with self._fencing():
            await self._end(commit=True)
        if self._wire.uncertain and not self.v2:
            # v1 keeps its epoch: a request still under way could touch the next transaction.
            try:
                await self._renew()
            except TransportError:
                self._move(State.FENCED)
                return
        self._ready()

    async def abort(self) -> None:
        """Abort what is open, if anything; then READY for the next transaction."""
        if self.state is State.READY:
            return
        if self.state is State.FENCED:
            raise ProducerFenced("the producer was fenced; init() it first")
        self._require(State.OPEN, State.FAILED)
        with self._fencing():
            if self._touched:
                await self._end(commit=False)
                if not self.v2:
                    # Refused batches left gaps in the sequences of this epoch (KIP-360).
                    await self._renew()
        self._ready()

    async def _add_partitions(self, fresh: list[TopicPartition]) -> None:
        if fresh:
            self._touched = True
            if not self.v2:
                await self._wire.add_partitions(self._producer, fresh)
            self._partitions.update(fresh)

    def _seal(self, batch: PendingBatch) -> SealedBatch:
        sequence = self._sequences.get(batch.tp, 0)
        self._sequences[batch.tp] = (sequence + batch.records) % SEQUENCE_END
        return batch.seal(self._producer.producer_id, self._producer.epoch, sequence)

    async def _ship(self, sealed: Sequence[SealedBatch]) -> dict[TopicPartition, int]:
        route = Route(
            transactional_id=self.transactional_id,
            min_version=MIN_VERSION_V2 if self.v2 else 3,
            max_version=MIN_VERSION_V2 if self.v2 else MAX_VERSION_V1,
            lane=self._wire.lane,
            timeout_ms=self._wire.timeout_ms,
            request_timeout_ms=self._wire.request_timeout_ms,
        )
        try:
            shipment = await ship(self._cluster, sealed, route)
        except ConnectionLost as error:
            self._wire.uncertain = True
            raise TransactionFailed(str(error)) from error
        self._wire.uncertain |= shipment.uncertain
        self._judge(shipment)
        return shipment.offsets

    def _judge(self, shipment: Shipment) -> None:
        if not shipment.refused:
            return
        for tp, code, _ in shipment.refused:
            if code in FENCED:
                raise ProducerFenced(f"{tp.topic}-{tp.partition}: {error_name(code)}")
        again = for_good(shipment.refused)
        if again is not None:
            raise again
        reasons = "; ".join(refusal.reason for refusal in shipment.refused)
        raise TransactionFailed(f"refused: {reasons}", code=shipment.refused[0].code)

    async def _end(self, *, commit: bool) -> None:
        self._adopt(await self._wire.end(self._producer, commit=commit, v2=self.v2))

    async def _renew(self) -> None:
        self._wire.drop_connections()
        self._adopt(await self._wire.init_producer(self._producer))

    def _adopt(self, producer: Producer) -> None:
        """A new epoch starts with sequence 0 everywhere; the same one goes on counting."""
        if producer != self._producer:
            self._sequences.clear()
        self._producer = producer

    def _ready(self) -> None:
        self._partitions.clear()
        self._groups.clear()
        self._touched = False
        self._wire.uncertain = False
        self._move(State.READY)

    @contextmanager
    def _step(self) -> Iterator[None]:
        """A part of a transaction: whatever leaves it early, cancellation too, fails the whole;
        but offsets that a later generation may offer again do not.
        """
        self._require(State.OPEN)
        try:
            yield
        except GenerationPassed:
            raise
        except ProducerFenced:
            self._move(State.FENCED)
            raise
        except BaseException:
            self._move(State.FAILED)
            raise

    @contextmanager
    def _fencing(self) -> Iterator[None]:
        try:
            yield
        except TransactionFailed as error:
            self._move(State.FAILED if error.abortable else State.FENCED)
            raise
        except asyncio.CancelledError:
            raise
        except TransportError:
            self._move(State.FENCED)
            raise

    def _require(self, *states: State) -> None:
        if self.state not in states:
            names = " or ".join(state.value for state in states)
            raise TransactionFailed(
                f"the session is {self.state.value}, not {names}", abortable=False
            )

    def _move(self, to: State) -> None:
        assert to in MOVES[self.state], (self.state, to)
        self.state = to
