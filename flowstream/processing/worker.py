"""The worker: runs an app's agents as one member of its group, until it is stopped or fails.

Shell: wires cluster, slot, transaction session and memberships, and what goes on beside them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowstream.clock import wall_ms
from flowstream.processing.app import App
from flowstream.processing.commit import EXACTLY_ONCE
from flowstream.processing.declarations.background import run_chore
from flowstream.processing.duties.event_times import settle_event_times
from flowstream.processing.duties.following import Address, connect, follow, patiently
from flowstream.processing.duties.matching import patterns_of
from flowstream.processing.duties.planned import Planned
from flowstream.processing.duties.purging import purge
from flowstream.processing.environment.doors import DOORS, Doors
from flowstream.processing.environment.settings import COMPRESSIONS
from flowstream.processing.environment.slots import Slot
from flowstream.processing.errors import AppError
from flowstream.processing.events.current import HERE, WORKER
from flowstream.processing.group.committer import Checkpoint, no_checkpoint
from flowstream.processing.group.membership import Membership
from flowstream.processing.group.memberships import Memberships
from flowstream.processing.group.succession import succeed
from flowstream.processing.instead import missing, telling
from flowstream.processing.running.plan import Plan, TablePlan
from flowstream.processing.running.reader import TableReader
from flowstream.processing.stores.followed import Followed
from flowstream.processing.stores.restoring import Progress
from flowstream.processing.stores.starting import TaskStarter
from flowstream.processing.watching.sensors import Sensor
from flowstream.processing.watching.watchdog import Busy, Watchdog
from flowstream.transport.admin import Admin
from flowstream.transport.batches import RecordBuffer
from flowstream.transport.errors import TransportError
from flowstream.transport.transaction import TransactionSession
from flowstream.transport.types import TopicPartition

log = logging.getLogger("flowstream.worker")

STOP_S = 9.0
LEAST_S = 0.5
"""What a graceful stop may take in all (V4), and what each part of it may take at least."""


class Worker(Planned):
    """Runs one app against one cluster (HOST:PORT). Use `run`, and `stop` from anywhere; or
    `running`.

    `address` tells where the cluster is now, when it may end and come back elsewhere as the
    embedded broker does: the worker then waits for it and follows. `sensors` join the app's.
    """

    @telling("Worker")
    def __init__(
        self,
        app: App,
        bootstrap: str,
        *,
        data_dir: str | Path | None = None,
        checkpoint: Checkpoint = no_checkpoint,
        clock: Callable[[], int] = wall_ms,
        address: Address | None = None,
        doors: Doors = DOORS,
        sensors: Sequence[Sensor] = (),
    ) -> None:
        self.sensors = set(sensors)
        for sensor in sensors:
            app.sensors.add(sensor)
        app.configure()
        app.worker = self
        self._exactly_once = app.settings.processing_guarantee == EXACTLY_ONCE
        buffer = RecordBuffer(
            app.settings.max_batch_bytes, transactional=self._exactly_once,
            compression=COMPRESSIONS[app.settings.compression],
        )  # fmt: skip
        super().__init__(app, buffer, clock)
        self.plan: Plan | None = None
        self._bootstrap = bootstrap
        self._data_dir = Path(data_dir or app.settings.data_dir)
        self._checkpoint = checkpoint
        self._address = address
        self._background: set[asyncio.Task[None]] = set()
        self._members: Memberships | None = None
        self._watchdog: Watchdog | None = None
        self._doors = doors
        self._cluster = doors.cluster(bootstrap, app.id, app.settings)
        self.admin = Admin(self._cluster)
        """Questions to the cluster."""
        self._session: TransactionSession | None = None
        self._slot: Slot | None = None
        self._starter: TaskStarter | None = None
        self._has_adopted = False
        app.on_worker_init.send()

    if not TYPE_CHECKING:  # checkers know what is there

        def __getattr__(self, name: str) -> Any:
            raise missing("Worker", name, f"{type(self).__name__!r} object")

    # -- the life of a worker -------------------------------------------------------------------

    async def on_startup_finished(self) -> None:
        """Called when everything is checked; to be overridden."""

    def stop(self) -> None:
        """Ask for a graceful stop: a last commit, then `run` returns (V4)."""
        self.stopping.set()

    @property
    def _membership(self) -> Membership | None:
        return None if self._members is None else self._members.current

    def warnings(self) -> list[str]:
        """What is wrong with this worker's health now."""
        return [
            *self._held_up(self.plan),
            *(() if self._watchdog is None else self._watchdog.warnings()),
        ]

    @property
    def membership(self) -> Membership | None:
        """The membership of now, for those who look at its tasks; None between two."""
        return self._membership

    @property
    def restore_progress(self) -> Progress:
        """How far the restores that run now are."""
        return Progress() if self._starter is None else self._starter.progress

    def copy(self, plan: TablePlan, number: int) -> Followed | None:
        """A table partition whose task runs elsewhere, if it is kept current here."""
        return None if self._starter is None else self._starter.copy(plan, number)

    @property
    def is_leader(self) -> bool:
        """Whether the task of the first partition runs here."""
        held = [] if self._membership is None else self._membership.tasks
        return self.plan is not None and self.plan.first_task in held

    @property
    def is_rebalancing(self) -> bool:
        """Whether it has no share yet, or tasks are on their way to it or away."""
        return self._membership is None or not self._membership.is_ready

    async def pause(self, seconds: float) -> None:
        """Sleep, unless the worker is to stop."""
        await self.stopping.pause(seconds)

    @property
    def tasks(self) -> list[str]:
        """The tasks that run here now, for people."""
        return [] if self._membership is None else [str(id) for id in self._membership.tasks]

    async def run(self, *, ready: Callable[[], None] | None = None) -> None:
        """Run until `stop`, or raise what made it impossible.

        `ready` is called when everything is checked and before the worker joins its group.
        """
        if self.settings.debug:
            asyncio.get_running_loop().set_debug(True)
        here, worker = HERE.set(self._readers), WORKER.set((self.app, self))
        try:
            async with self._served():
                await self._run(ready)
        finally:
            HERE.reset(here)
            WORKER.reset(worker)

    def _served(self) -> AbstractAsyncContextManager[object]:
        """What serves it while it runs. Nothing: `web.worker` is above, and has the one that is."""
        return nullcontext()

    async def _run(self, ready: Callable[[], None] | None) -> None:
        self.app.connect_to(self._bootstrap)
        for agent in self.app.agents.values():
            await agent.probe()
        settle_event_times(self.app)
        if not self.app.has_work:
            raise AppError(
                f"app {self.app.id!r} has no agents, timers, tasks or pages: nothing to run"
            )
        try:
            await self.stopping.unless(self._start())
            if self.plan is not None and self._members is not None and not self.wants_stop:
                self._watch()
                self._beside(self._look_around())
                if self.plan.purged:
                    self._beside(self._purge(self.plan.purged))
                for agent in self.app.channel_agents.values():
                    self._beside(agent.live(self.settings.retry_backoff))
                for chore in self.app.chores:
                    self._beside(run_chore(chore, self.app, lambda: self.is_leader))
                if ready is not None:
                    ready()
                await self.on_startup_finished()
                while not self.wants_stop:
                    if self.is_outgrown:
                        await self.stopping.unless(self._plan_anew())
                    else:
                        await self._members.live(self.plan)
        finally:
            await self._close()
        if self._failure is not None:
            raise self._failure

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run beside a block (`async with worker.running():`), which begins when everything is
        checked. At its end the worker is stopped, and has committed. What makes it impossible to
        go on ends the block and is raised; `stop` ends it, too.
        """
        ready = asyncio.Event()
        running = asyncio.create_task(self.run(ready=ready.set))
        checked = asyncio.create_task(ready.wait())
        await asyncio.wait((running, checked), return_when=asyncio.FIRST_COMPLETED)
        checked.cancel()
        if running.done():
            await running
        block = asyncio.current_task()
        assert block is not None
        is_over = is_cut = False

        def cut(_: asyncio.Task[None]) -> None:
            nonlocal is_cut
            if not is_over:
                is_cut = block.cancel()

        running.add_done_callback(cut)
        try:
            yield
        except asyncio.CancelledError:
            if not is_cut or block.uncancel():  # somebody else wants an end, too
                raise
        finally:
            is_over = True
            self.stop()
            await asyncio.wait((running,))
        await running

    def _readers(self, table: str) -> list[TableReader]:
        """The partitions of a table whose tasks run here, as they are committed."""
        tasks = () if self._membership is None else tuple(self._membership.tasks.values())
        return [
            TableReader([p for p, _ in t.tables], t.stores, t.id.number, self.wall_time_ms())
            for t in tasks
            if t.is_running and table in t.stores
        ]

    async def _start(self) -> None:
        """Everything that is needed before the worker joins its group."""
        address = self._address
        await connect(self._cluster, self.app, address)
        if address is not None:
            self._beside(follow(self._cluster, self.app, address))
        self._slot = self._doors.take_slot(self._data_dir, self.app.id)
        plan = await patiently(self._provide, address)
        starter = self._starter = TaskStarter(
            self.app.id,
            self._cluster,
            self.admin,
            self._slot,
            self.settings.processing_guarantee,
            self.meters,
            loses_topics=bool(patterns_of(self.app)),
            bootstraps=self._doors.bootstraps,
        )
        await patiently(partial(self._adopt, plan), address)
        self._beside(starter.follow())
        self._beside(starter.standing_by.follow())
        if self._exactly_once:
            self._session = TransactionSession(
                self._cluster,
                f"{self.app.id}-{self._slot.uuid}",
                timeout_ms=round(self.settings.transaction_timeout * 1000),
            )
            await patiently(self._session.init, address)
        noting = await succeed(self._slot, self._cluster, self.admin, self.app.id, self._session)
        self._members = Memberships(
            self,
            self._doors,
            self._cluster,
            self.admin,
            self._buffer,
            starter,
            self._session,
            self._checkpoint,
            noting,
        )
        self.plan = plan

    async def _endure(self, error: TransportError) -> None:
        assert self._members is not None, "it has joined"
        await self._members.endure(error)

    async def _adopt(self, plan: Plan) -> None:
        """See `Planned`. An app that waits as a whole has no tables yet."""
        if self._starter is not None and not plan.held_by and not self._has_adopted:
            await self._starter.adopt(plan)
            self._has_adopted = True

    def _purge(self, topics: Sequence[str]) -> Coroutine[Any, Any, None]:
        """Empty repartition topics behind the app, where this worker reads them."""

        def owned() -> list[TopicPartition]:
            return [] if self._membership is None else self._membership.partitions_of(topics)

        interval = self.settings.purge_interval
        return purge(self.app.id, self._cluster, self.admin, owned, interval=interval)

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this until the worker ends; its failure is the worker's."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    def _watch(self) -> None:
        codes = {
            getattr(agent.function, "__code__", None): agent.name
            for agent in self.app.agents.values()
        }
        known = {code: name for code, name in codes.items() if code is not None}
        if self._doors.has_watchdog:
            self._watchdog = Watchdog(
                known, self._open_units, self.settings.stall_warning, self.settings.session_timeout
            )
            self._watchdog.start()

    def _open_units(self) -> list[Busy]:
        membership = self._membership
        return self.onlookers.busy + [
            Busy(instance.label, instance.busy_unit, instance.busy_with)
            for task in (() if membership is None else tuple(membership.tasks.values()))
            for instance in task.stuck()
        ]

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(self.stopping.left_s(STOP_S, LEAST_S)) as limit:
                await self.app.on_before_shutdown.send_and_wait()
        except TimeoutError:
            if not limit.expired():
                raise
            log.warning("on_before_shutdown took too long: stopping without the rest of it")
        finally:
            await self._close_all()

    async def _close_all(self) -> None:
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        if self._watchdog is not None:
            self._watchdog.stop()
        try:
            if self._starter is not None:
                await self._starter.close()
        finally:
            if self._slot is not None:
                self._slot.release()
            try:
                if self._doors.has_app:
                    await self.app.close(self.stopping.left_s(STOP_S, LEAST_S))
                else:
                    await self.app.close_outboxes()
            finally:
                await self._cluster.close()
