"""Copies of tasks that run on other workers, kept current by their changelogs: who has one takes
over without a restore.

Shell. A copy is never ahead of what is committed (S1): it reads committed records only, and rows
and position go into the store in one batch. Who promotes one leaves it first, and then restores as
always: there is little to read (S4, S5).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from flowstream.processing.errors import StateLost
from flowstream.processing.running.plan import TablePlan
from flowstream.processing.stores.followed import Followed
from flowstream.processing.stores.restoring import Progress, delete_retention_ms, restore
from flowstream.processing.stores.telling import Tell, tell_of
from flowstream.processing.units.task import TaskId
from flowstream.state.changelog import fold
from flowstream.state.store import StateStore, StoreError
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import OffsetOutOfRange, TransportError
from flowstream.transport.refusals import FATAL, is_counted
from flowstream.transport.tail import LongSilence, Tail
from flowstream.transport.types import TopicPartition

log = logging.getLogger("flowstream.worker")

RETRY_S = 0.5
REFUSED_RETRY_S = 30.0
"""Between two tries to make a copy that a store or a changelog refused, or that met a mistake; the
longest where a cluster refuses what it may not for long.
"""

Open = Callable[[TaskId, str], Awaitable[StateStore]]
"""Gives the open store of a task's table."""
CaughtUp = Callable[[TaskId], None]


def is_no(error: TransportError) -> bool:
    """Whether the cluster refuses, or cannot give, what was asked for: not its silence."""
    return is_counted(error) or isinstance(error, FATAL)


class StandingBy:
    """The copies that one worker keeps."""

    def __init__(self, cluster: Cluster, admin: Admin, open: Open) -> None:
        self._cluster = cluster
        self._admin = admin
        self._open = open
        self._plans: dict[TaskId, Sequence[TablePlan]] = {}
        self._copying: dict[TaskId, asyncio.Task[None]] = {}
        self._again: set[TaskId] = set()
        """Those of which a table that was copied has to be once more, while others still are."""
        self._followed: dict[TopicPartition, tuple[TaskId, StateStore]] = {}
        self._tells: dict[TopicPartition, Tell | None] = {}
        self._tail = Tail(cluster)
        self._caught_up: CaughtUp = lambda id: None
        # What runs here comes first: copies are made one after the other.
        self._turn = asyncio.Semaphore(1)

    @property
    def tasks(self) -> list[TaskId]:
        """Those of which a copy is kept, or made."""
        return sorted(self._plans)

    def is_current(self, id: TaskId) -> bool:
        """Whether a copy has caught up once and is kept so."""
        return id in self._plans and id not in self._copying

    def copy(self, id: TaskId, table: str) -> Followed | None:
        """The copy of a table of a task, if there is one and it is kept current."""
        if not self.is_current(id):
            return None
        changelogs = (p.changelog for p in self._plans[id] if p.table.name == table)
        for changelog in (TopicPartition(name, id.number) for name in changelogs):
            if changelog in self._followed:
                return Followed(changelog, self._followed[changelog][1], self._tail)
        return None

    async def hold(self, wanted: Mapping[TaskId, Sequence[TablePlan]], caught_up: CaughtUp) -> None:
        """Keep copies of these tasks and of no others; tell of each that has caught up."""
        self._caught_up = caught_up
        for id in [id for id in self._plans if id not in wanted]:
            await self.leave(id)
        for id, plans in wanted.items():
            if id not in self._plans:
                self._plans[id] = plans
                self._copying[id] = asyncio.create_task(self._copy(id))

    async def leave(self, id: TaskId) -> None:
        """Touch the stores of this task no more."""
        plans = self._plans.pop(id, ())
        for plan in plans:
            self._unfollow(TopicPartition(plan.changelog, id.number))
        copying = self._copying.pop(id, None)
        if copying is not None:
            copying.cancel()
            await asyncio.wait((copying,))

    async def leave_all(self) -> None:
        """Keep none."""
        for id in self.tasks:
            await self.leave(id)

    async def _copy(self, id: TaskId) -> None:
        """Bring the copy of a task up to date, as often as it takes, and follow from there."""
        pause_s = RETRY_S
        while True:
            try:
                async with self._turn:
                    self._again.discard(id)
                    await self._restore(id)
            except (StateLost, StoreError) as error:
                # No affair of what runs here; somebody may make room, or mend what is lost.
                log.warning("no copy of task %s is kept, until one can be made: %s", id, error)
                await asyncio.sleep(REFUSED_RETRY_S)
            except TransportError as error:
                level = self._cluster.level(logging.WARNING)
                log.log(level, "copying task %s: %s: trying again", id, error)
                await asyncio.sleep(pause_s)
                if is_no(error):
                    pause_s = min(2 * pause_s, REFUSED_RETRY_S)
            except Exception as error:  # nobody else would hear of it (V2)
                log.error("copying task %s: it is begun again in a while", id, exc_info=error)
                await asyncio.sleep(REFUSED_RETRY_S)
            else:
                if id not in self._again:
                    break
        del self._copying[id]
        log.info("a copy of task %s is kept here", id)
        self._caught_up(id)

    async def _restore(self, id: TaskId) -> None:
        for plan in self._plans[id]:
            changelog = TopicPartition(plan.changelog, id.number)
            # One that is brought up to date again has one writer: what the tail wrote meanwhile
            # would be overwritten with what was before it.
            self._unfollow(changelog)
            store = await self._open(id, plan.table.name)
            await restore(
                store, self._cluster, self._admin, changelog,
                table=plan.table.name, progress=Progress(), tell=tell_of(plan.table),
            )  # fmt: skip
            assert store.changelog_offset is not None, "a restored store knows its offset"
            self._followed[changelog] = id, store
            self._tells[changelog] = tell_of(plan.table)
            self._tail.follow(changelog, store.changelog_offset)

    def _unfollow(self, changelog: TopicPartition) -> None:
        self._followed.pop(changelog, None)
        self._tells.pop(changelog, None)
        self._tail.leave(changelog)

    async def follow(self) -> None:
        """Apply what the changelogs bring, until cancelled."""
        while True:
            try:
                found = await self._tail.read()
            except OffsetOutOfRange as error:
                self._begin_again(error.tp)
                continue
            except LongSilence as silence:
                await self._heard_again(silence)
                continue
            except TransportError as error:
                level = self._cluster.level(logging.WARNING)
                if self._tail.failed is not None and is_no(error):
                    # The others are followed on; this one waits longer and longer.
                    self._begin_again(self._tail.failed)
                    continue
                log.log(level, "following changelogs of standbys: %s: trying again", error)
                await asyncio.sleep(RETRY_S)
                continue
            for changelog, (position, records) in found.items():
                _, store = self._followed.get(changelog, (None, None))
                # What was read for a copy that was left and taken up again is known already.
                if store is not None and position > (store.changelog_offset or 0):
                    store.write(fold(records), changelog_offset=position)
                    tell = self._tells.get(changelog)
                    if tell is not None:
                        await tell(changelog, records)

    async def _heard_again(self, silence: LongSilence) -> None:
        """Follow on, unless deletions may have been missed: what comes now would make the store
        look current, and nobody would ask for them any more (S10).
        """
        try:
            kept_ms = await delete_retention_ms(self._admin, silence.tp.topic)
        except TransportError as error:
            log.debug("%s: %s", silence, error)
            await asyncio.sleep(RETRY_S)
        else:
            if silence.silence_ms < kept_ms:
                self._tail.go_on(silence.tp)
            else:
                self._begin_again(silence.tp)

    def _begin_again(self, changelog: TopicPartition) -> None:
        """The changelog goes on elsewhere: what to do is decided as in any restore."""
        id, _ = self._followed.get(changelog, (None, None))
        self._unfollow(changelog)
        if id in self._copying:
            self._again.add(id)
        elif id is not None:
            self._copying[id] = asyncio.create_task(self._copy(id))
