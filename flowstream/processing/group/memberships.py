"""One membership after another: how a worker joins its group, and what a failure costs: a rewind, a
new membership, or the worker.

Shell: wires consumer, committer and membership; what a membership does is `membership`'s affair.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from flowstream.clock import monotonic_ms
from flowstream.processing.duties.lending import Lending
from flowstream.processing.environment.doors import Doors
from flowstream.processing.environment.settings import Settings
from flowstream.processing.errors import SettingsError
from flowstream.processing.group.claiming import claiming_assignor
from flowstream.processing.group.committer import Checkpoint, Committer
from flowstream.processing.group.membership import Membership, TopicGrown
from flowstream.processing.group.placing import Rules
from flowstream.processing.running.plan import Plan
from flowstream.processing.stores.starting import TaskStarter
from flowstream.processing.tables.replicated import GlobalTable
from flowstream.transport.admin import Admin
from flowstream.transport.batches import RecordBuffer
from flowstream.transport.cluster import Cluster
from flowstream.transport.consumer import GroupConsumer
from flowstream.transport.errors import (
    CommitRefused,
    ConsumerFailed,
    TransportError,
)
from flowstream.transport.member import unnoted
from flowstream.transport.producer import IdempotentProducer
from flowstream.transport.refusals import FATAL, Refusals, ends_at_once
from flowstream.transport.transaction import TransactionSession

log = logging.getLogger("flowstream.worker")

RECOVERY_PAUSE_S = 0.2
STOP_TIMEOUT_S = 6.0
"""For the last commit. Whatever waits for a silent broker behind it adds up to V4's 10 s."""
ABORT_TIMEOUT_S = 1.0
MOST_GATHER_MS, GATHER_SHARE = 2.0, 0.02
"""So long a few records wait for others before they are fetched: less than is seen in the time to
the next commit, which their results wait for anyhow.
"""

REJOIN = (CommitRefused, ConsumerFailed)
"""After these the worker joins its group anew; after other transport errors it rewinds."""


def heartbeat_ms(settings: Settings) -> int:
    """How often a worker tells its group that it lives."""
    interval = settings.heartbeat_interval
    if interval is None:
        return max(100, round(settings.session_timeout * 1000 / 10))
    if interval >= settings.session_timeout:
        raise SettingsError(
            f"heartbeat_interval={interval:g} is no less than session_timeout="
            f"{settings.session_timeout:g}: the group would take the worker for lost"
        )
    return max(1, round(interval * 1000))


class Memberships:
    """The memberships of one worker, of which there is at most one at a time."""

    def __init__(
        self,
        worker: Lending,
        doors: Doors,
        cluster: Cluster,
        admin: Admin,
        buffer: RecordBuffer,
        starter: TaskStarter,
        session: TransactionSession | None,
        checkpoint: Checkpoint,
        noting: Callable[[str], None],
    ) -> None:
        self.current: Membership | None = None
        self._worker = worker
        self._doors = doors
        self._cluster = cluster
        self._admin = admin
        self._buffer = buffer
        self._starter = starter
        self._session = session
        self._checkpoint = checkpoint
        self._noting = noting
        self._refusals = Refusals()
        # One for all memberships: what the one before sent last may still be on its way, and is
        # refused once this producer has written in its place.
        self._plain = None if session is not None else IdempotentProducer(cluster)

    async def live(self, plan: Plan) -> None:
        """Join, run, and leave when stopped or when the membership is of no more use."""
        worker, settings = self._worker, self._worker.settings
        membership = Membership(
            plan, worker, self._buffer, self._committer(), self._starter, settings
        )
        consumer = GroupConsumer(
            self._cluster,
            worker.app_id,
            claiming_assignor(
                membership,
                self._starter,
                plan.sources,
                worker.onlookers.assigning,
                self._rules(plan),
                worker.web_address,
            ),
            membership,
            session_timeout_ms=round(settings.session_timeout * 1000),
            heartbeat_interval_ms=heartbeat_ms(settings),
            rebalance_timeout_ms=round(settings.rebalance_timeout * 1000),
            max_partition_bytes=settings.max_partition_fetch_bytes,
            gather_ms=min(MOST_GATHER_MS, settings.commit_interval * 1000 * GATHER_SHARE),
            fetching=self._doors.fetching(self._cluster, settings.max_partition_fetch_bytes),
            instance_id=settings.group_instance_id,
            # A static member is back by its name, and its share waits for it: it stays.
            noting=self._noting if settings.group_instance_id is None else unnoted,
        )
        membership.attach(consumer)
        self.current = membership
        try:
            await consumer.start(plan.sources)
            await self._run(membership)
        except TopicGrown:
            worker.outgrown()
            await worker.stopping.pause(RECOVERY_PAUSE_S)
        except TransportError as error:
            await self._lost(error)
            await self._abandon(membership)
            await self._renew_session()
        finally:
            self.current = None
            try:
                await self._abandon(membership)
            finally:
                await consumer.stop()

    def _rules(self, plan: Plan) -> Rules:
        settings = self._worker.settings
        tables = [table for table in plan.tables if not isinstance(table.table, GlobalTable)]
        return Rules(
            settings.standby_replicas,
            settings.acceptable_recovery_lag,
            settings.max_warmup_replicas,
            frozenset(table.partitions for table in tables),
        )

    def _committer(self) -> Committer:
        return Committer(
            self._worker.settings.processing_guarantee,
            session=self._session,
            plain=self._plain,
            admin=self._admin,
            checkpoint=self._checkpoint,
        )

    async def _run(self, membership: Membership) -> None:
        worker = self._worker
        while True:
            try:
                await membership.run(lambda: worker.wants_stop or worker.is_outgrown)
                await self._finish(membership)
                return
            except TransportError as error:
                if isinstance(error, REJOIN) or ends_at_once(error):
                    raise
                await self._lost(error)
                await membership.rewind(self._renew_session)

    async def _finish(self, membership: Membership) -> None:
        """The last commit; what it cannot commit in time is done again by whoever is next."""
        stopping = self._worker.stopping
        # Who only joins anew does not stop: the time for a stop must not run from here.
        left_s = stopping.left_s(STOP_TIMEOUT_S, 0.0) if stopping.is_set else STOP_TIMEOUT_S
        try:
            async with asyncio.timeout(left_s):
                await membership.finish()
        except TimeoutError:
            log.warning("the last commit did not succeed in time")
        except FATAL:
            raise
        except TransportError as error:
            log.warning("the last commit did not succeed: %s", error)

    async def _abandon(self, membership: Membership) -> None:
        """Nothing is committed any more, so that no rebalance may hold this up."""
        await membership.consumer.end_rebalances()
        await membership.abandon()

    async def _lost(self, error: TransportError) -> None:
        await self.endure(error, "going back to the last commit")

    async def endure(self, error: TransportError, then: str = "trying again") -> None:
        """Wait, and say what is done `then`; or raise what is no use to be tried once more."""
        try:
            pause_s = self._refusals.met(error, monotonic_ms(), self._worker.counts.commits)
        except TransportError:
            await self._abort()
            raise
        log.log(self._cluster.level(logging.WARNING), "%s: %s", error, then)
        await self._worker.stopping.pause(pause_s)

    async def _abort(self) -> None:
        """Let readers not wait for the timeout of a transaction that will never be committed."""
        if self._session is not None:
            with suppress(TransportError, TimeoutError):
                async with asyncio.timeout(ABORT_TIMEOUT_S):
                    await self._session.abort()

    async def _renew_session(self) -> None:
        """A fresh producer epoch: what was open is aborted, what was decided is complete."""
        while self._session is not None and not self._worker.wants_stop:
            try:
                await self._worker.stopping.unless(self._session.init())
                return
            except TransportError as error:
                await self.endure(error)
