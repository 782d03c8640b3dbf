"""What a task needs before it runs: stable positions, and stores that have caught up.

Shell: asks the cluster, opens stores in the worker's slot and keeps them open over rebalances.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence

from flowstream.processing.commit import EXACTLY_ONCE
from flowstream.processing.environment.slots import Slot
from flowstream.processing.errors import StateLost
from flowstream.processing.running.plan import Plan, TablePlan
from flowstream.processing.stores.followed import Followed
from flowstream.processing.stores.replicating import Replication
from flowstream.processing.stores.restoring import Progress, holds_records, restore
from flowstream.processing.stores.standing_by import StandingBy
from flowstream.processing.stores.telling import tell_of
from flowstream.processing.tables.replicated import GlobalTable, Replicas
from flowstream.processing.units.task import TaskId
from flowstream.processing.watching.meters import Meters
from flowstream.state.store import StateStore, StoreError, StoreIdentity
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import ConsumerFailed
from flowstream.transport.types import TopicPartition

log = logging.getLogger("flowstream.worker")

Positions = Mapping[TopicPartition, int]


class TaskStarter:
    """Positions and stores for the tasks of one worker."""

    def __init__(
        self,
        app_id: str,
        cluster: Cluster,
        admin: Admin,
        slot: Slot,
        guarantee: str,
        meters: Meters,
        *,
        loses_topics: bool = False,
        bootstraps: bool = True,
    ) -> None:
        self._loses_topics = loses_topics
        self._bootstraps = bootstraps
        self._app_id = app_id
        self._guarantee = guarantee
        self._meters = meters
        self._cluster = cluster
        self._admin = admin
        self._slot = slot
        self._stores: dict[tuple[TaskId, str], StateStore] = {}
        self._closing: set[asyncio.Future[None]] = set()
        self._opening = asyncio.Lock()
        self._new: set[TopicPartition] = set()
        self.progress = Progress()
        self.standing_by = StandingBy(cluster, admin, self._open)
        self._replication = Replication(app_id, cluster, admin, slot)

    @property
    def replicated(self) -> Mapping[str, Replicas]:
        """Tables that this worker reads beyond its own partitions."""
        return self._replication.tables

    def copy(self, plan: TablePlan, number: int) -> Followed | None:
        """A table partition whose task runs elsewhere, if it is kept current here."""
        if isinstance(plan.table, GlobalTable):
            return self._replication.copy(plan.table.name, number)
        return self.standing_by.copy(TaskId(plan.partitions, number), plan.table.name)

    async def adopt(self, plan: Plan) -> None:
        """Open the stores that the slot holds already, so that they can be claimed; and bring what
        every worker holds up to date.
        """
        self._adopt([table for table in plan.tables if not isinstance(table.table, GlobalTable)])
        await self._replication.start(plan, self.progress)
        self.restored()

    async def follow(self) -> None:
        """Keep replicated tables current, until cancelled."""
        await self._replication.follow()

    def _adopt(self, tables: Sequence[TablePlan]) -> None:
        for plan in tables:
            for number in range(plan.partitions):
                if self._slot.holds(plan.table.name, number):
                    self._store(TaskId(plan.partitions, number), plan.table.name)

    def _store(self, id: TaskId, table: str) -> StateStore:
        store = self._stores.get((id, table))
        if store is None:
            identity = StoreIdentity(self._app_id, table, id.number)
            store = self._slot.open(identity)
            self._stores[id, table] = store
        return store

    async def positions(self, partitions: Iterable[TopicPartition]) -> Positions:
        """Where to go on: committed and stable (KIP-447), or the log's start for a new app."""
        wanted = sorted(partitions)
        committed = await self._admin.committed(self._app_id, wanted, require_stable=True)
        new = [tp for tp in wanted if committed.get(tp) is None]
        self._new = (self._new - set(wanted)) | set(new)
        starts = await self._admin.beginning_offsets(new) if new else {}
        found: dict[TopicPartition, int] = {}
        for tp in wanted:
            offset = committed.get(tp)
            found[tp] = starts[tp] if offset is None else offset
        return found

    async def bootstraps(
        self, plan: Plan, id: TaskId, positions: Positions
    ) -> dict[str, dict[str, int]]:
        """Topics of a task whose events wait, each with those that are read first, up to offsets:
        what feeds the tables that they look up, where it has never been read, or they have not: who
        filled the tables before may not have come to the end. (Bootstrap streams, as in Apache
        Samza.)
        """
        new = {tp.topic for tp in positions if self._bootstraps and tp in self._new}
        here = {tp.topic for tp in positions}
        waiting = {
            topic: [feed for feed in sorted(first & here) if feed in new or topic in new]
            for topic, first in plan.bootstraps.items()
            if topic in here
        }
        feeds = {TopicPartition(feed, id.number) for first in waiting.values() for feed in first}
        if not feeds:
            return {}
        ends = await self._admin.end_offsets(sorted(feeds), committed=True)
        full = {tp.topic: end for tp, end in ends.items() if end > positions[tp]}
        held = {
            topic: {feed: full[feed] for feed in first if feed in full}
            for topic, first in waiting.items()
        }
        return {topic: first for topic, first in held.items() if first}

    async def stores(
        self, id: TaskId, tables: Sequence[TablePlan], positions: Positions
    ) -> dict[str, StateStore]:
        """The stores of a task, caught up with their changelogs (S4)."""
        await self.standing_by.leave(id)
        ready: dict[str, StateStore] = {}
        is_new = all(tp in self._new for tp in positions)
        for plan in tables:
            name = plan.table.name
            if isinstance(plan.table, GlobalTable):
                store = self._replication.claim(name, id.number)
            else:
                store = await self._open(id, name)
            changelog = TopicPartition(plan.changelog, id.number)
            if is_new:
                await self._refuse_lost_offsets(store, changelog, name, positions)
            await restore(
                store, self._cluster, self._admin, changelog, table=name,
                progress=self.progress, tell=tell_of(plan.table),
            )  # fmt: skip
            ready[name] = store
        await self._replication.hold_copartitioned(id, self.progress)
        return ready

    async def _open(self, id: TaskId, table: str) -> StateStore:
        failed = await self._closed()  # perhaps this very store, let go a moment ago
        if failed is not None:
            raise failed
        async with self._opening:
            # Opening holds the loop for a while: tasks that run have their turn after each.
            store = self._store(id, table)
            await asyncio.sleep(0)
        return store

    async def _refuse_lost_offsets(
        self, store: StateStore, changelog: TopicPartition, table: str, positions: Positions
    ) -> None:
        """A table that was built from the input, and no offset of it: going on from the start would
        count every event again (G3).
        """
        if (store.source_offset or 0) == 0:
            # This slot need not be the one that the table was built in: the changelog tells.
            if not await holds_records(self._cluster, self._admin, changelog, table=table):
                return
            if self._guarantee != EXACTLY_ONCE:
                # There the first epoch writes its rows before its offsets; it is repeated.
                log.warning(
                    "%s-%d has records, but the app has no offsets: its input is read from the"
                    " start", changelog.topic, changelog.partition,
                )  # fmt: skip
                return
        inputs = ", ".join(f"{topic}-{number}" for topic, number in sorted(positions))
        known = await self._admin.committed(self._app_id, sorted(positions), require_stable=True)
        if any(offset is not None for offset in known.values()):
            # Rows and offsets commit together: what was read before is of another generation.
            raise ConsumerFailed(
                f"another worker has gone on with {inputs} while this one was starting: joining"
                " anew"
            )
        if self._loses_topics and await self._admin.group_offsets(self._app_id):
            # The group did not expire: what the table was built from has been deleted, and its
            # offsets with it, as may be where topics are read by a pattern.
            log.warning(
                "table %r has records, and what they were built from is gone: %s are new, and read"
                " from the start", table, inputs,
            )  # fmt: skip
            return
        raise StateLost(
            f"the app's committed offsets of {inputs} are gone (deleted, or expired with the group"
            f" {self._app_id!r}), but table {table!r} was built from that input: reset the app's"
            f" state with its offsets, by deleting its changelogs and {self._slot.path.parent}; or"
            " commit the offsets to go on from to the group; or choose a new app id"
        )

    def restored(self) -> None:
        """An assignment is complete: say so if there was much to read."""
        if self.progress.rows:
            log.info("tables are ready: %d rows restored", self.progress.rows)
            self._meters.restored_rows += self.progress.rows
        self.progress = Progress()

    async def keep_only(self, tasks: set[TaskId]) -> None:
        """Close the stores of tasks that other workers own now, and of which no copy is kept.
        StoreError when one could not bring everything to its disk; all of them are closed all the
        same.

        In threads: bringing much to the disk would stop the tasks that run on.
        """
        # Who only stands by for a task does not write what is replicated of it.
        failed = self._replication.keep_only(tasks)
        tasks = tasks.union(self.standing_by.tasks)
        gone = [self._stores.pop(key) for key in list(self._stores) if key[0] not in tasks]
        self._closing |= {asyncio.ensure_future(asyncio.to_thread(each.close)) for each in gone}
        failed = await self._closed() or failed
        if failed is not None:
            raise failed

    async def _closed(self) -> StoreError | None:
        """Wait until nothing is being closed; an error that was met in it."""
        failed: StoreError | None = None
        while self._closing:
            closing = self._closing.copy()
            await asyncio.wait(closing)
            self._closing -= closing
            for each in closing:
                error = each.exception()
                if isinstance(error, StoreError):
                    failed = failed or error
                elif error is not None:
                    raise error
        return failed

    def state(self) -> dict[TaskId, int]:
        """How much state each open task holds, as the sum of changelog offsets."""
        held: dict[TaskId, int] = {}
        for (id, _), store in self._stores.items():
            held[id] = held.get(id, 0) + (store.changelog_offset or 0)
        return held

    async def close(self) -> None:
        """Close every store."""
        await self.standing_by.leave_all()
        try:
            await self.keep_only(set())
        finally:
            self._replication.close()
