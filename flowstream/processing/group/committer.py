"""Commits epochs: runs the steps of `commit.ORDER` one by one, with a checkpoint before each.

Shell. One epoch at a time; while it commits the next one fills. What a failure means is the
membership's affair.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from flowstream.processing.commit import ORDER, Step
from flowstream.processing.units.epoch import Epoch
from flowstream.transport.admin import Admin
from flowstream.transport.batches import PendingBatch
from flowstream.transport.errors import GenerationPassed
from flowstream.transport.producer import IdempotentProducer
from flowstream.transport.transaction import TransactionSession
from flowstream.transport.types import Generation, TopicPartition

Batches = Mapping[TopicPartition, list[PendingBatch]]
Ends = Mapping[TopicPartition, int]
GenerationAfter = Callable[[Generation, GenerationPassed], Awaitable[Generation | None]]
"""The generation into which a member went over with all it owns, None when it did not; by the one
in which its offsets were refused, and why.
"""
Checkpoint = Callable[[str], None]
"""Called with the name of each step before it is taken, and with `done`; crash tests stop there."""


def no_checkpoint(step: str) -> None:
    """Go on."""


class Commit:
    """One epoch on its way: state that the steps hand to each other."""

    __slots__ = ("batches", "ends", "epoch", "in_transaction")

    def __init__(self, epoch: Epoch[Generation], batches: Batches) -> None:
        self.epoch = epoch
        self.batches = batches
        self.ends: Ends = {}
        self.in_transaction = False


class Committer:
    """Takes epochs through their steps."""

    def __init__(
        self,
        guarantee: str,
        *,
        session: TransactionSession | None,
        plain: IdempotentProducer | None,
        admin: Admin,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._generation_after: GenerationAfter = _no_other
        self._order = ORDER[guarantee]
        self._session = session
        self._plain = plain
        self._admin = admin
        self._checkpoint = checkpoint
        self._does: dict[Step, Callable[[Commit], Awaitable[None]]] = {
            Step.BEGIN: self._begin,
            Step.PRODUCE: self._produce,
            Step.OFFSETS: self._offsets,
            Step.END: self._end,
            Step.STORE: self._store,
        }

    def carry(self, generation_after: GenerationAfter) -> None:
        """For a member that may go over into a later generation while an epoch commits."""
        self._generation_after = generation_after

    async def commit(self, close: Callable[[], Commit | None]) -> Commit | None:
        """Close an epoch and commit it; None when there is nothing to commit.

        Raises what transport raises; the store is written only after the broker has decided.
        """
        commit: Commit | None = None
        for step in self._order:
            self._checkpoint(step.value)
            if step is Step.CLOSE:
                commit = close()
                if commit is None:
                    return None
            elif step is not Step.DONE:
                assert commit is not None
                await self._does[step](commit)
        return commit

    async def _begin(self, commit: Commit) -> None:
        assert self._session is not None
        self._session.begin()
        commit.in_transaction = True

    async def _produce(self, commit: Commit) -> None:
        if commit.batches:
            producer = self._session or self._plain
            assert producer is not None
            commit.ends = await producer.produce(commit.batches)

    async def _offsets(self, commit: Commit) -> None:
        epoch = commit.epoch
        if not epoch.offsets:
            return
        generation = epoch.generation
        assert generation is not None
        offsets = {TopicPartition(*tp): offset for tp, offset in epoch.offsets.items()}
        while True:
            try:
                if self._session is not None:
                    await self._session.add_offsets(offsets, generation)
                else:
                    await self._admin.commit_offsets(offsets, generation)
                return
            except GenerationPassed as passed:
                # The group went on between the epoch's end and here. Nobody else can own what this
                # member still owns; who is a zombie has no later generation (G4).
                later = await self._generation_after(generation, passed)
                if later is None:
                    raise
                generation = later

    async def _end(self, commit: Commit) -> None:
        assert self._session is not None
        await self._session.commit()
        commit.in_transaction = False

    async def _store(self, commit: Commit) -> None:
        for table in commit.epoch.tables:
            assert table.changelog is not None
            # Unknown when the broker forgot where a repeat lies: a restore then reads it again.
            end = commit.ends.get(TopicPartition(*table.changelog))
            table.partition.committed(table.rows, end, table.source_offset)


async def _no_other(refused: Generation, why: GenerationPassed) -> Generation | None:
    return None
