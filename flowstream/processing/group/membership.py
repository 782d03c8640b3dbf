"""One membership in the app's group: from joining until it must begin anew or the worker stops.

Shell: polls, feeds tasks, follows rebalances. Each task has its own state (S6): a rebalance stops
those that go, the others run on. The rules are in `task`, `epoch`, `commit` and `assignor`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

from flowstream.errors import FlowstreamError
from flowstream.processing.duties.lending import Lending
from flowstream.processing.environment.settings import Settings
from flowstream.processing.group.arriving import Arriving, nothing
from flowstream.processing.group.committer import Committer
from flowstream.processing.group.committing import Committing
from flowstream.processing.group.copies import Copies
from flowstream.processing.group.placing import decode_orders
from flowstream.processing.running.plan import Plan
from flowstream.processing.running.runtime import RunningTask, loop_ms
from flowstream.processing.stores.starting import Positions, TaskStarter
from flowstream.processing.units.task import TaskId, TaskState, share_room
from flowstream.transport.batches import RecordBuffer
from flowstream.transport.consumer import GroupConsumer
from flowstream.transport.types import ConsumerRecord, Generation, TopicPartition

log = logging.getLogger("flowstream.worker")

POLL_MS = 100
RESHARE_PAUSE_S = 1.0
FEED_SILENCE_MS = 10_000
"""A feed of tables that is asked, and gives nothing for so long, has ended: what is between the
last record and the end of the log may have been compacted away.
"""
PATIENCE_S = 3.0
"""After so long without a share the log says what the worker waits for."""
UNSHARED = (
    "a worker that was killed is waited for, %g s at most (session_timeout), and one that is busy"
    " until it has let its own go"
)
WAITS = "the workers of this app read different topics, as while another version is rolled out"
WAITS_NO_MORE = "the workers read the same topics now"


class TopicGrown(FlowstreamError):
    """A partition was assigned that the plan does not know: it must be made anew."""


class Membership:
    """The tasks a worker holds while it is a member."""

    def __init__(
        self,
        plan: Plan,
        around: Lending,
        buffer: RecordBuffer,
        committer: Committer,
        starter: TaskStarter,
        settings: Settings,
    ) -> None:
        self.tasks: dict[TaskId, RunningTask] = {}
        self._plan = plan
        self._around = around
        self._onlookers = around.onlookers
        self._starter = starter
        self._consumer: GroupConsumer | None = None
        self._partitions: frozenset[TopicPartition] = frozenset()
        self._committer = committer
        self._commits = Committing(
            self.tasks.values, around, buffer, committer, self._generation,
            interval=settings.commit_interval, every=settings.commit_every,
            sent=around.old_records.sent,
        )  # fmt: skip
        self._arriving = Arriving(self._positions, self._start, self._task_of)
        self._copies = Copies(plan, starter.standing_by, settings.probing_interval)
        self._poll_records = settings.max_poll_records
        self._queue_high = settings.max_buffered_records
        self._queue_low = max(1, settings.max_buffered_records // 4)
        self._failure: Exception | None = None
        self._is_over = False
        self._has_share = False
        self._reshare_pause_s = 0.0
        self.newest_ms: dict[TopicPartition, int] = {}
        """Time of the last record that was fetched."""
        self._rebalancing_since: float | None = None
        self._waits = ""
        """What the leader said last of what nobody reads."""
        # Held by whoever takes tasks away or brings them; polling goes on meanwhile.
        self._changing = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._loop.call_later(PATIENCE_S, self._say_what_is_waited_for)

    def attach(self, consumer: GroupConsumer) -> None:
        """The consumer whose listener this is."""
        self._consumer = consumer
        self._committer.carry(consumer.generation_after)

    @property
    def consumer(self) -> GroupConsumer:
        """The group consumer."""
        assert self._consumer is not None
        return self._consumer

    def _generation(self) -> Generation | None:
        return self.consumer.generation()

    @property
    def held(self) -> list[TaskId]:
        """Tasks that are owned here, running or on their way."""
        return sorted({self._task_of(tp) for tp in self._partitions})

    @property
    def is_ready(self) -> bool:
        """True while there is an assignment and every task of it runs."""
        is_settled = self._has_share and not self._arriving.is_busy and not self._changing.locked()
        return is_settled and not self._is_over

    @property
    def epoch_age_s(self) -> float:
        """How long the open epoch has been open."""
        return self._commits.age_s

    def partitions_of(self, topics: Sequence[str]) -> list[TopicPartition]:
        """The partitions of these topics that tasks here read."""
        counts = self._plan.sources
        return [
            TopicPartition(topic, id.number)
            for topic in topics
            for id in self.tasks
            if id.partitions == counts.get(topic)
        ]

    # -- polling --------------------------------------------------------------------------------

    async def run(self, wants_stop: Callable[[], bool]) -> None:
        """Poll until the worker wants to stop. Raises what makes this membership unusable."""
        while not wants_stop():
            if self._commits.is_held_up:
                await self._commits.relieved()
            else:
                found = await self.consumer.getmany(self._poll_records, self._poll_ms())
                for tp, records in found.items():
                    self._deliver(tp, records)
            # Instances that were woken run now, each over its whole queue.
            await asyncio.sleep(0)
            self._check()
            await self._tick()

    def _poll_ms(self) -> int:
        if any(task.fires_more for task in self.tasks.values()):
            return 0  # a million windows may close at once, and would wait for records between
        return max(0, min(POLL_MS, int(self._commits.left_s * 1000))) if self.tasks else POLL_MS

    def _deliver(self, tp: TopicPartition, records: list[ConsumerRecord]) -> None:
        task = self.tasks.get(self._task_of(tp))
        if task is None or not task.is_running:
            # Fetched before the partition was taken away: it is read again after the next seek.
            return
        self._around.counts.events += len(records)
        if self._onlookers.sensors:
            self._onlookers.received(tp, records, self.consumer.highwater(tp))
        self.newest_ms[tp] = records[-1].timestamp
        self._around.old_records.met(tp.topic, records[0].timestamp, self._around.wall_time_ms())
        task.feed(tp.topic, records)
        if task.queued(tp.topic) > self._queue_high:
            self.consumer.pause(tp)
            self._onlookers.clogged(tp)

    def _task_of(self, tp: TopicPartition) -> TaskId:
        return TaskId(self._plan.sources[tp.topic], tp.partition)

    def _resume(self, paused: Iterable[TopicPartition]) -> None:
        for tp in sorted(paused):
            task = self.tasks.get(self._task_of(tp))
            if task is None or not task.is_running or self._may_go_on(task, tp.topic):
                self.consumer.resume(tp)

    def _may_go_on(self, task: RunningTask, topic: str) -> bool:
        return task.queued(topic) < self._queue_low and not self._is_held(task, topic)

    def _is_held(self, task: RunningTask, topic: str) -> bool:
        """Whether events wait until what feeds their tables is read up to where it ended."""
        for feed, end in task.held.get(topic, {}).items():
            tp = TopicPartition(feed, task.id.number)
            if self.reached(task, tp) < end and not self._has_run_dry(task, tp):
                return True
        task.held.pop(topic, None)
        return False

    def _has_run_dry(self, task: RunningTask, tp: TopicPartition) -> bool:
        unanswered_ms = self.consumer.silence_ms(tp)
        if unanswered_ms is None or unanswered_ms >= FEED_SILENCE_MS or task.has_left(tp.topic):
            return False
        return loop_ms() - task.fed_ms[tp.topic] >= FEED_SILENCE_MS

    def reached(self, task: RunningTask, tp: TopicPartition) -> int:
        """Up to where a partition is processed; behind transaction markers if nothing is left."""
        position = next(s.position for s in task.task.sources if s.topic == tp.topic)
        end, ahead = self.consumer.highwater(tp), self.consumer.unfetched(tp)
        if end is None or ahead is None or task.has_left(tp.topic):
            return position
        return max(position, end - ahead)

    def _check(self) -> None:
        """Raise what went wrong beside this loop."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        if self._arriving.check():
            self._starter.restored()

    def _say_what_is_waited_for(self) -> None:
        if not (self._has_share or self._is_over):
            log.info("no partitions yet: %s", UNSHARED % self._around.settings.session_timeout)

    async def _tick(self) -> None:
        if paused := self.consumer.paused:
            self._resume(paused)
        share_room([running.task for running in self.tasks.values()])
        for task in self.tasks.values():
            task.tick()
        if self._changing.locked():
            return  # the commit on its way is the affair of whoever takes the tasks away
        if not self._commits.is_torn:
            await self._commits.tick()

    # -- rebalances -----------------------------------------------------------------------------

    async def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """Commit what is complete while these partitions are still owned, and let their tasks go.
        All others run on.
        """
        async with self._changing:
            self._rebalancing_since = self._loop.time()
            gone = {self._task_of(tp) for tp in partitions}
            self._partitions -= partitions
            limit_s = self._around.settings.rebalance_timeout / 2
            await self._let_go(gone, self._onlookers.revoked(partitions, limit_s))

    async def _let_go(self, tasks: Collection[TaskId], before: Awaitable[None]) -> None:
        """Commit what is complete and release tasks; the polling loop raises what fails."""
        try:
            await before
            await self._release(tasks, commit=True)
        except Exception as error:  # noqa: BLE001 - raised again by the polling loop
            self._failure = error
            self._commits.is_torn = True
            await self._release(tasks, commit=False)

    async def assigned(self, partitions: frozenset[TopicPartition], told: bytes = b"") -> None:
        """Begin to restore and start the tasks of these partitions, in the background. Those that
        have come, or gone, in part begin anew with all they have.
        """
        async with self._changing:
            if self._is_over:
                return
            self._has_share = True
            if self._rebalancing_since is None:
                self._rebalancing_since = self._loop.time()
            grown = {self._task_of(tp) for tp in partitions}.intersection(self.held)
            if grown:
                await self._let_go(grown, nothing())
            self._partitions |= partitions
            if partitions:
                names = ", ".join(f"{t}-{p}" for t, p in sorted(partitions))
                log.info("assigned: %s", names)
            here = {*self.tasks, *self._arriving.tasks}
            begun = [tp for tp in self._partitions if self._task_of(tp) not in here]
            self._arriving.begin(begun, self._onlookers.assigned(partitions), self._arrived)
            held = set(self.held)
        orders = decode_orders(told)
        if orders.waits != self._waits:
            log.info("%s", f"{WAITS}: {orders.waits}" if orders.waits else WAITS_NO_MORE)
            self._around.hurry.set()
            self._waits = orders.waits
        await self._copies.obey(orders, held, self.consumer.want_rebalance)
        if not orders.cover(self._plan.sources):
            # A static member that is back was answered with a share of before (KIP-345), or the
            # leader's broker is behind: what is new is nobody's until it is shared anew (G7).
            self._loop.call_later(self._reshare_pause_s, self.consumer.want_rebalance)
            self._reshare_pause_s = RESHARE_PAUSE_S
        await self._starter.keep_only(held)

    async def _arrived(self) -> None:
        await self._onlookers.at_work()
        since, self._rebalancing_since = self._rebalancing_since, None
        if since is not None:
            self._around.meters.rebalance_seconds.add(self._loop.time() - since)

    async def rewind(self, renew: Callable[[], Awaitable[None]]) -> None:
        """Drop everything uncommitted and begin again at the committed offsets.

        `renew` makes the transaction session usable again, after the drop.
        """
        async with self._changing:
            await self._release_all(commit=False)
            await renew()
            self._failure = None
            self._around.counts.aborts += 1
            self._arriving.begin(self._partitions)

    async def finish(self) -> None:
        """The last commit of a worker that stops."""
        async with self._changing:
            self._is_over = True
            await self._release_all(commit=True)

    async def abandon(self) -> None:
        """Let the tasks go without a commit, and take no more."""
        async with self._changing:
            self._is_over = True
            self._copies.stop()
            await self._release_all(commit=False)

    async def _release_all(self, *, commit: bool) -> None:
        await self._arriving.stop_all()
        await self._release(list(self.tasks), commit=commit)
        await self._commits.drop()

    async def _release(self, tasks: Collection[TaskId], *, commit: bool) -> None:
        await self._arriving.stop(tasks)
        leaving = {id: self.tasks[id] for id in sorted(tasks) if id in self.tasks}
        await asyncio.gather(*(task.stop() for task in leaving.values()))
        if commit and not self._commits.is_torn:
            await self._commits.finish()
        elif len(leaving) == len(self.tasks):
            await self._commits.drop()
        for id, task in leaving.items():
            self._around.meters.events.update(task.taken())
            self._around.committed.let_go(task.committed, task.changelogs)
            task.close()
            del self.tasks[id]
        for tp in [tp for tp in self.newest_ms if self._task_of(tp) in leaving]:
            del self.newest_ms[tp]

    async def _positions(self, partitions: Iterable[TopicPartition]) -> Positions:
        """Positions first (G2)."""
        if any(tp.partition >= self._plan.sources[tp.topic] for tp in partitions):
            raise TopicGrown(f"more partitions than planned: {sorted(partitions)}")
        return await self._starter.positions(partitions)

    async def _start(self, id: TaskId, positions: Positions) -> None:
        """Stores, then events."""
        task = RunningTask(id, self._plan, self._around)
        task.task.move(TaskState.RESTORING)
        stores = await self._starter.stores(id, task.table_plans, positions)
        loading = task.prepare(stores)
        try:
            for _ in loading:
                # A million rows take a second: the other tasks and the heartbeat go on meanwhile.
                await asyncio.sleep(0)
        finally:
            loading.close()  # a walk that is left keeps its store from being closed
        held = await self._starter.bootstraps(self._plan, id, positions)
        task.open(dict(positions), self._starter.replicated)
        task.held.update(held)
        self.tasks[id] = task
        self._around.committed.begin(positions)
        for topic, first in held.items():
            log.info("%s-%d waits: its tables are filled from %s", topic, id.number, [*first])
            self.consumer.pause(TopicPartition(topic, id.number))
        for tp, position in positions.items():
            self.consumer.seek(tp, position)
