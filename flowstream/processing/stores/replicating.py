"""Replicated tables on this worker: their stores, caught up at the start and kept current after.

Shell around `replicated`: opens stores in the slot, restores them, and follows their changelogs.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from flowstream.clock import monotonic_ms
from flowstream.processing.environment.slots import Slot
from flowstream.processing.errors import PartitionMismatch, StateLost
from flowstream.processing.running.plan import Plan
from flowstream.processing.stores.followed import Followed
from flowstream.processing.stores.restoring import (
    Progress,
    delete_retention_ms,
    refuse_other,
    restore,
)
from flowstream.processing.tables.replicated import GlobalTable, Replica, Replicas
from flowstream.processing.tables.rows import refuse_other_rows
from flowstream.processing.units.task import TaskId
from flowstream.state.changelog import fold
from flowstream.state.store import StateStore, StoreError, StoreIdentity
from flowstream.state.table import TablePartition
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import (
    OffsetOutOfRange,
    TransportError,
)
from flowstream.transport.refusals import Refusals
from flowstream.transport.tail import LongSilence, Tail
from flowstream.transport.types import TopicDescription, TopicPartition

log = logging.getLogger("flowstream.worker")

RETRY_S = 0.5
LOOK_S = 10.0
"""Between two looks at whether the changelogs are still the same topics."""
LOST_LOOK_S = 1.0
"""The same while one of them is gone."""
AT_ONCE = 8
"""Partitions that are restored side by side."""

Held = tuple[str, int]


class Replication:
    """The replicated tables of one worker."""

    def __init__(self, app_id: str, cluster: Cluster, admin: Admin, slot: Slot) -> None:
        self.tables: dict[str, Replicas] = {}
        self._app_id = app_id
        self._cluster = cluster
        self._admin = admin
        self._slot = slot
        self._stores: dict[Held, StateStore] = {}
        self._tail = Tail(cluster)
        self._followed: dict[TopicPartition, Held] = {}
        self._lost: set[Held] = set()
        """Copies of other apps' tables whose changelog is gone, or was made anew: they stay as they
        are until they can be made anew too.
        """

    async def start(self, plan: Plan, progress: Progress) -> None:
        """Hold, up to date, all that every worker holds."""
        self.tables = {replicas.table.name: replicas for replicas in _replicated(plan)}
        wanted = [
            (name, number)
            for name, replicas in self.tables.items()
            if not replicas.is_copartitioned
            for number in range(replicas.partitions)
        ]
        for first in range(0, len(wanted), AT_ONCE):
            group = wanted[first : first + AT_ONCE]
            await asyncio.gather(*(self._hold(held, progress) for held in group))

    async def hold_copartitioned(self, id: TaskId, progress: Progress) -> None:
        """Hold the partitions that a task reads of its number, up to date."""
        for name, replicas in self.tables.items():
            if replicas.is_copartitioned and replicas.partitions == id.partitions:
                await self._hold((name, id.number), progress)

    async def _hold(self, held: Held, progress: Progress) -> None:
        name, number = held
        replicas = self.tables[name]
        store = self._stores.get(held)
        if store is None:
            identity = StoreIdentity(self._app_id, name, number)
            store = self._slot.open(identity)
            self._stores[held] = store
        elif replicas.held[number] is not None:
            return
        table = replicas.table
        await self._bring(held, store, progress)
        refuse_other_rows(name, table.row_keys, store, expires=False)
        part = TablePartition(name, number, store, table.row_codec, mend=table.mend)
        replicas.held[number] = Replica(part)
        self._follow(held)

    async def _bring(self, held: Held, store: StateStore, progress: Progress) -> None:
        """A store up to its changelog."""
        name, number = held
        replicas = self.tables[name]
        changelog = TopicPartition(replicas.changelog, number)
        bring = partial(restore, store, self._cluster, self._admin, changelog, table=name)
        try:
            await bring(progress=progress)
        except StateLost as error:
            if replicas.is_strict:
                raise
            # Another app's affair: it was reset, and a copy of what it was is of no use.
            log.warning("the copy of %r, partition %d is made anew: %s", name, number, error)
            store.clear()
            await bring(progress=progress)

    def _follow(self, held: Held) -> None:
        name, number = held
        start = self._stores[held].changelog_offset
        assert start is not None, "a restored store knows its offset"
        changelog = TopicPartition(self.tables[name].changelog, number)
        self._followed[changelog] = held
        self._tail.follow(changelog, start)

    def _leave(self, held: Held) -> None:
        name, number = held
        changelog = TopicPartition(self.tables[name].changelog, number)
        self._followed.pop(changelog, None)
        self._lost.discard(held)
        self._tail.leave(changelog)

    def _replica(self, held: Held) -> Replica:
        replica = self.tables[held[0]].held[held[1]]
        assert replica is not None
        return replica

    def copy(self, table: str, number: int) -> Followed | None:
        """A partition of a replicated table, where the changelog's tail keeps it current."""
        for changelog, held in self._followed.items():
            if held == (table, number):
                return Followed(changelog, self._stores[held], self._tail)
        return None

    def claim(self, table: str, number: int) -> StateStore:
        """A task here writes this partition from now on: its commits keep the store current."""
        held = (table, number)
        self._leave(held)
        self._replica(held).is_owned = True
        return self._stores[held]

    def keep_only(self, tasks: set[TaskId]) -> StoreError | None:
        """Follow again what tasks of other workers write; close what only tasks read that are
        gone. Gives an error of a store that could not bring everything to its disk.
        """
        failed: StoreError | None = None
        for held in list(self._stores):
            name, number = held
            replicas = self.tables[name]
            replica = replicas.held[number]
            if replica is None or TaskId(replicas.partitions, number) in tasks:
                continue
            if replicas.is_copartitioned:
                self._leave(held)
                replicas.held[number] = None
                try:
                    self._stores.pop(held).close()
                except StoreError as error:
                    failed = failed or error
            elif replica.is_owned:
                replica.is_owned = False
                replica.forget()
                self._follow(held)
        return failed

    async def follow(self) -> None:
        """Apply what the changelogs bring, until cancelled."""
        loop = asyncio.get_running_loop()
        look_at, told, refusals = loop.time(), "", Refusals()
        while True:
            try:
                if loop.time() >= look_at:
                    await self._look()
                    look_at = loop.time() + (LOST_LOOK_S if self._lost else LOOK_S)
                if self._lost and not self._followed:
                    await asyncio.sleep(LOST_LOOK_S)
                    continue
                found, told = await self._tail.read(), ""
            except OffsetOutOfRange as error:
                held = self._followed.get(error.tp)
                if held is not None and self.tables[held[0]].is_strict:
                    raise
                self._lose(held)
                look_at = loop.time()
                continue
            except LongSilence as silence:
                await self._heard_again(silence)
                continue
            except TransportError as error:
                pause_s = refusals.met(error, monotonic_ms())
                level = self._cluster.level(logging.WARNING)
                if level == logging.DEBUG or told != (told := str(error)):  # each thing once
                    log.log(level, "following replicated tables: %s: trying again", error)
                await asyncio.sleep(max(RETRY_S, pause_s))
                look_at = loop.time()
                continue
            for changelog, (position, records) in found.items():
                held = self._followed.get(changelog)
                # What was read before a task here wrote the partition for a while is known already.
                if held is not None and position > (self._stores[held].changelog_offset or 0):
                    self._replica(held).replicate(fold(records), position)

    async def _heard_again(self, silence: LongSilence) -> None:
        """Follow on, unless deletions may have been missed. Then the copy has to be made anew, and
        events would read half of it meanwhile: that is done where a worker starts.
        """
        try:
            kept_ms = await delete_retention_ms(self._admin, silence.tp.topic)
        except TransportError as error:
            log.debug("%s: %s", silence, error)
            await asyncio.sleep(RETRY_S)
            return
        if silence.silence_ms >= kept_ms:
            raise StateLost(
                f"{silence}, longer than the {kept_ms} ms for which it keeps deletions: this"
                " worker's copy may have missed some. Start the worker again: it makes it anew"
            )
        self._tail.go_on(silence.tp)

    async def _look(self) -> None:
        """Whether the changelogs are still those that the copies were made from. Those of one that
        was deleted and made anew would be rows of both.
        """
        looked_at = sorted({*self._followed.values(), *self._lost})
        described = await self._admin.topics({self.tables[name].changelog for name, _ in looked_at})
        for held in looked_at:
            if held not in self._stores:
                continue  # its task has left meanwhile
            replicas = self.tables[held[0]]
            topic = described.get(replicas.changelog)
            if not replicas.is_strict and not self._is_that_of(held, topic):
                self._lose(held)
            if topic is None:
                continue
            if held in self._lost:
                await self._make_anew(held, topic.partitions)
            else:
                changelog = TopicPartition(replicas.changelog, held[1])
                refuse_other(self._stores[held], topic.topic_id, changelog, held[0])

    def _is_that_of(self, held: Held, topic: TopicDescription | None) -> bool:
        lineage = self._stores[held].lineage
        if topic is None or topic.partitions != self.tables[held[0]].partitions:
            return False
        return not any(topic.topic_id) or lineage in (None, topic.topic_id)

    def _lose(self, held: Held | None) -> None:
        if held is not None and held not in self._lost:
            changelog = self.tables[held[0]].changelog
            log.warning(
                "the changelog %r, which another app writes, is gone or was made anew: the copy of"
                " partition %d stays as it is until it can be made anew too", changelog, held[1],
            )  # fmt: skip
            self._leave(held)
            self._lost.add(held)

    async def _make_anew(self, held: Held, partitions: int) -> None:
        replicas, store = self.tables[held[0]], self._stores[held]
        if partitions != replicas.partitions:
            raise PartitionMismatch(
                f"the changelog {replicas.changelog!r} of another app has {partitions} partitions"
                f" now, and had {replicas.partitions} when this worker started: start it again"
            )
        try:
            await self._bring(held, store, Progress())
        except StateLost as error:
            log.info("%s", error)  # it has gone again
            return
        except StoreError:
            if self._stores.get(held) is store:
                raise
        if self._stores.get(held) is store and held in self._lost:
            self._replica(held).forget()
            self._follow(held)
            self._lost.discard(held)

    def close(self) -> None:
        """Close every store, all of them also when one fails."""
        failed: StoreError | None = None
        for held in list(self._stores):
            self._leave(held)
            try:
                self._stores.pop(held).close()
            except StoreError as error:
                failed = failed or error
        if failed is not None:
            raise failed


def _replicated(plan: Plan) -> list[Replicas]:
    found = [
        Replicas(each.table, each.changelog, each.partitions)
        for each in plan.tables
        if isinstance(each.table, GlobalTable)
    ]
    for foreign in plan.foreign:
        table = foreign.table
        found.append(
            Replicas(
                table.rows,
                table.changelog,
                foreign.partitions,
                is_copartitioned=table.partitions is not None,
                is_strict=False,
            )
        )
    return found
