"""One membership in the app's group: from joining until it must begin anew or the worker stops.

Shell: polls, feeds tasks, starts commits, follows rebalances. Each task has its own state (S6);
the rules are in `task`, `epoch`, `commit` and `assignor`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from flowstream.errors import FlowstreamError
from flowstream.processing.committer import Commit, Committer
from flowstream.processing.doors import Consumer
from flowstream.processing.epoch import Epoch, TableRows, is_full, should_close
from flowstream.processing.plan import Plan
from flowstream.processing.runtime import QUEUE_HIGH, QUEUE_LOW, RunningTask
from flowstream.processing.starting import Positions, TaskStarter
from flowstream.processing.surroundings import Surroundings
from flowstream.processing.task import TaskId, TaskState
from flowstream.transport.batches import RecordBuffer
from flowstream.transport.types import ConsumerRecord, Generation, TopicPartition

log = logging.getLogger("flowstream.worker")

POLL_RECORDS = 500
POLL_MS = 100


class TopicGrown(FlowstreamError):
    """A partition was assigned that the plan does not know: it must be made anew."""


class Membership:
    """The tasks a worker holds while it is a member."""

    def __init__(
        self,
        plan: Plan,
        around: Surroundings,
        buffer: RecordBuffer,
        committer: Committer,
        starter: TaskStarter,
        *,
        commit_interval: float,
    ) -> None:
        self.tasks: dict[TaskId, RunningTask] = {}
        self._plan = plan
        self._around = around
        self._onlookers = around.onlookers
        self._buffer = buffer
        self._committer = committer
        self._starter = starter
        self._interval = commit_interval
        self._consumer: Consumer | None = None
        self._partitions: frozenset[TopicPartition] = frozenset()
        self._held: frozenset[TaskId] = frozenset()
        self._generation: Generation | None = None
        self._epoch = 0
        self._opened_at = 0.0
        self._committing: asyncio.Task[Commit | None] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._is_over = False
        # A commit failed: what was closed with it must be done again before anything else commits.
        self._is_torn = False
        self._paused: set[TopicPartition] = set()
        self.newest_ms: dict[TopicPartition, int] = {}
        """Time of the last record that was fetched."""
        self._rebalancing_since: float | None = None
        # Held by whoever takes tasks away or brings them; polling goes on meanwhile.
        self._changing = asyncio.Lock()
        self._loop = asyncio.get_running_loop()

    def attach(self, consumer: Consumer) -> None:
        """The consumer whose listener this is."""
        self._consumer = consumer

    @property
    def consumer(self) -> Consumer:
        """The group consumer."""
        assert self._consumer is not None
        return self._consumer

    @property
    def held(self) -> list[TaskId]:
        """Tasks of the current or, during a rebalance, of the last assignment."""
        return sorted(self._held)

    @property
    def is_ready(self) -> bool:
        """True while there is an assignment and every task of it runs."""
        is_starting = self._starting is not None and not self._starting.done()
        return not (self._generation is None or is_starting or self._changing.locked())

    def partitions_of(self, topics: Sequence[str]) -> list[TopicPartition]:
        """The partitions of these topics that tasks here read."""
        counts = self._plan.sources
        return [
            TopicPartition(topic, id.number)
            for topic in topics
            for id in self.tasks
            if id.partitions == counts[topic]
        ]

    # -- polling --------------------------------------------------------------------------------

    async def run(self, wants_stop: Callable[[], bool]) -> None:
        """Poll until the worker wants to stop. Raises what makes this membership unusable."""
        while not wants_stop():
            found = await self.consumer.getmany(POLL_RECORDS, self._poll_ms())
            for tp, records in found.items():
                self._deliver(tp, records)
            # Instances that were woken run now, each over its whole queue.
            await asyncio.sleep(0)
            self._check()
            await self._tick()

    def _poll_ms(self) -> int:
        left = self._opened_at + self._interval - self._loop.time()
        return max(0, min(POLL_MS, int(left * 1000))) if self.tasks else POLL_MS

    def _deliver(self, tp: TopicPartition, records: list[ConsumerRecord]) -> None:
        task = self.tasks.get(self._task_of(tp))
        if task is None or not task.is_running:
            # Fetched before the partition was taken away: it is read again after the next seek.
            return
        self._around.counts.events += len(records)
        if self._onlookers.sensors:
            self._onlookers.received(tp, records, self.consumer.highwater(tp))
        self.newest_ms[tp] = records[-1].timestamp
        task.feed(tp.topic, records)
        if task.queued(tp.topic) > QUEUE_HIGH:
            self._paused.add(tp)
            self.consumer.pause(tp)
            self._onlookers.clogged(tp)

    def _task_of(self, tp: TopicPartition) -> TaskId:
        return TaskId(self._plan.sources[tp.topic], tp.partition)

    def _resume(self) -> None:
        for tp in sorted(self._paused):
            task = self.tasks.get(self._task_of(tp))
            if task is None or not task.is_running or task.queued(tp.topic) < QUEUE_LOW:
                self._paused.discard(tp)
                self.consumer.resume(tp)

    def _check(self) -> None:
        """Raise what went wrong beside this loop."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        if self._starting is not None and self._starting.done():
            starting, self._starting = self._starting, None
            if not starting.cancelled():
                starting.result()

    async def _tick(self) -> None:
        if self._paused:
            self._resume()
        for task in self.tasks.values():
            task.tick()
        if self._changing.locked():
            return  # the commit on its way is the affair of whoever takes the tasks away
        if self._committing is not None:
            if not self._committing.done():
                if self._is_full():
                    await asyncio.wait((self._committing,))
                return
            self._committed()
        if self.tasks:
            age = self._loop.time() - self._opened_at
            dirty, size = self._sizes()
            if should_close(
                age_s=age, interval_s=self._interval, dirty_keys=dirty, output_bytes=size
            ):
                self._begin_commit()

    def _sizes(self) -> tuple[int, int]:
        return sum(task.dirty for task in self.tasks.values()), self._buffer.size_bytes

    def _is_full(self) -> bool:
        dirty, size = self._sizes()
        return is_full(dirty_keys=dirty, output_bytes=size)

    # -- committing -----------------------------------------------------------------------------

    def _begin_commit(self) -> None:
        self._opened_at = self._loop.time()
        self._committing = self._loop.create_task(self._commit())

    async def _commit(self) -> Commit | None:
        commit = await self._committer.commit(self._close)
        if commit is not None:
            outputs = [
                (tp.topic, sum(batch.records for batch in group))
                for tp, group in commit.batches.items()
            ]
            self._around.meters.committed(self._loop.time() - self._opened_at, outputs)
        return commit

    def _committed(self) -> None:
        done, self._committing = self._committing, None
        self._is_torn = True
        if done is not None and (commit := done.result()) is not None:
            self._around.counts.commits += 1
            self._onlookers.committed(commit.epoch.offsets)
        self._is_torn = False

    def _close(self) -> Commit | None:
        """The open epoch, ready for its transaction; None when nothing has completed."""
        offsets: dict[tuple[str, int], int] = {}
        tables: list[TableRows] = []
        for task in self.tasks.values():
            offsets.update(task.take_offsets())
            tables += task.take_rows()
        now = self._around.wall_time_ms()
        append = self._buffer.append
        for task in self.tasks.values():
            for output in task.take_marks():
                append(*output)
        for table in tables:
            assert table.changelog is not None
            target = TopicPartition(*table.changelog)
            for key, value in table.rows.items():
                append(target, key, value, now)
        if not offsets and not tables and not self._buffer:
            return None
        if not offsets:
            # Positions that did not move still make the group check who commits here (G4).
            for task in self.tasks.values():
                offsets.update(task.task.offsets())
        self._epoch += 1
        batches = self._buffer.take()
        self._onlookers.closing()
        records = sum(batch.records for group in batches.values() for batch in group)
        epoch = Epoch(self._epoch, offsets, records, tables, self._generation)
        return Commit(epoch, batches)

    async def _finish_commits(self) -> None:
        """Wait for the commit on its way, then commit what has completed since."""
        if self._committing is not None:
            await asyncio.wait((self._committing,))
            self._committed()
        self._begin_commit()
        assert self._committing is not None
        await asyncio.wait((self._committing,))
        self._committed()

    # -- rebalances -----------------------------------------------------------------------------

    async def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """Commit the completed prefix under the old generation and let the tasks go."""
        async with self._changing:
            self._rebalancing_since = self._loop.time()
            self._partitions = frozenset()
            try:
                await self._onlookers.revoked(partitions)
                await self._release(commit=True)
            except Exception as error:  # noqa: BLE001 - raised again by the polling loop
                self._failure = error
                await self._release(commit=False)

    async def assigned(self, partitions: frozenset[TopicPartition]) -> None:
        """Begin to restore and start the tasks of these partitions, in the background."""
        async with self._changing:
            await self._release(commit=False)
            if self._is_over:
                return
            self._generation = self.consumer.generation()
            self._partitions = partitions
            self._held = frozenset(self._task_of(tp) for tp in partitions)
            if self._rebalancing_since is None:
                self._rebalancing_since = self._loop.time()
            names = ", ".join(f"{t}-{p}" for t, p in sorted(partitions))
            log.info("assigned: %s", names or "nothing")
            self._starting = self._loop.create_task(self._begin(partitions))

    async def _begin(self, partitions: frozenset[TopicPartition]) -> None:
        """The first start of an assignment, which is told."""
        await self._onlookers.assigned(partitions)
        await self._start(partitions)
        await self._onlookers.at_work()

    async def rewind(self, renew: Callable[[], Awaitable[None]]) -> None:
        """Drop everything uncommitted and begin again at the committed offsets.

        `renew` makes the transaction session usable again, after the drop.
        """
        async with self._changing:
            await self._release(commit=False)
            await renew()
            self._around.counts.aborts += 1
            self._starting = self._loop.create_task(self._start(self._partitions))

    async def finish(self) -> None:
        """The last commit of a worker that stops."""
        async with self._changing:
            self._is_over = True
            await self._release(commit=True)

    async def abandon(self) -> None:
        """Let the tasks go without a commit, and take no more."""
        async with self._changing:
            self._is_over = True
            await self._release(commit=False)

    async def _release(self, *, commit: bool) -> None:
        starting, self._starting = self._starting, None
        if starting is not None:
            starting.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait((starting,))
            if not starting.cancelled() and starting.exception() is not None:
                log.info("start was interrupted: %s", starting.exception())
        await asyncio.gather(*(task.stop() for task in self.tasks.values()))
        if commit and not self._is_torn:
            await self._finish_commits()
        await self._drop_commit()
        for task in self.tasks.values():
            self._around.meters.events.update(task.taken())
            task.close()
        self.tasks.clear()
        self.newest_ms.clear()
        self._buffer.take()
        self._onlookers.dropped()
        self._paused.clear()
        self._is_torn = False

    async def _drop_commit(self) -> None:
        """A commit that is still on its way is cut off: its outcome is asked for afterwards."""
        committing, self._committing = self._committing, None
        if committing is not None:
            committing.cancel()
            await asyncio.wait((committing,))
            if not committing.cancelled() and committing.exception() is not None:
                log.debug("dropped commit: %s", committing.exception())

    async def _start(self, partitions: frozenset[TopicPartition]) -> None:
        """Positions first (G2), then stores, then events; each task when it is ready."""
        if any(tp.partition >= self._plan.sources[tp.topic] for tp in partitions):
            raise TopicGrown(f"more partitions than planned: {sorted(partitions)}")
        positions = await self._starter.positions(partitions)
        self._starter.keep_only({self._task_of(tp) for tp in partitions})
        by_task: dict[TaskId, dict[TopicPartition, int]] = {}
        for tp, position in positions.items():
            by_task.setdefault(self._task_of(tp), {})[tp] = position
        failed: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for id, part in sorted(by_task.items()):
                    group.create_task(self._start_task(id, part))
        except ExceptionGroup as errors:
            failed = first_of(errors)
        if failed is not None:
            raise failed
        self._starter.restored()
        since, self._rebalancing_since = self._rebalancing_since, None
        if since is not None:
            self._around.meters.rebalance_seconds.add(self._loop.time() - since)

    async def _start_task(self, id: TaskId, positions: Positions) -> None:
        task = RunningTask(id, self._plan, self._around)
        task.task.move(TaskState.RESTORING)
        stores = await self._starter.stores(id, task.table_plans, positions)
        task.open(stores, dict(positions), self._starter.replicated)
        self.tasks[id] = task
        for tp, position in positions.items():
            self.consumer.seek(tp, position)


def first_of(errors: BaseExceptionGroup[Exception]) -> Exception:
    """One exception of a group, the first that is none itself."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, Exception)
    return error
