"""The epochs of one membership: the open one, closed when it is time, and the one that commits.

Shell: gathers what the tasks completed and starts the committer. What a failure means is the
membership's affair.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection

from flowstream.processing.group.committer import Batches, Commit, Committer
from flowstream.processing.running.runtime import RunningTask
from flowstream.processing.running.surroundings import Surroundings
from flowstream.processing.units.epoch import Epoch, TableRows, is_full, should_close
from flowstream.transport.batches import RecordBuffer
from flowstream.transport.types import Generation, TopicPartition

log = logging.getLogger("flowstream.worker")

HELD_UP_LOOK_S = 0.2
OVERDUE_LOOK_S = 0.005


class Committing:
    """One epoch fills while the one before it commits."""

    def __init__(
        self,
        tasks: Callable[[], Collection[RunningTask]],
        around: Surroundings,
        buffer: RecordBuffer,
        committer: Committer,
        generation: Callable[[], Generation | None],
        *,
        interval: float,
        sent: Callable[[Batches, int], None],
        every: int | None = None,
    ) -> None:
        """`sent` is told what every epoch writes, and the time."""
        self.is_torn = False
        """A commit failed: what was closed with it must be done again before anything commits."""
        self.is_held_up = False
        """The open epoch is full and cannot close yet: there is no room for more events."""
        self._tasks = tasks
        self._around = around
        self._buffer = buffer
        self._committer = committer
        self._generation = generation
        self._interval = interval
        self._sent = sent
        self._every = every
        self._came_before = around.counts.events
        """As many records had come when the open epoch was opened."""
        self._epoch = 0
        self._opened_at = asyncio.get_running_loop().time()
        self._committing: asyncio.Task[Commit | None] | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def left_s(self) -> float:
        """Until the open epoch is to close, or to look again whether it can: who asks without a
        pause while a broker is slow, or gone, has a processor to itself.
        """
        left = self._opened_at + self._interval - self._loop.time()
        is_held_up = self._committing is not None and not self._committing.done()
        return max(left, OVERDUE_LOOK_S) if is_held_up else left

    @property
    def age_s(self) -> float:
        """How long the open epoch has been open."""
        return self._loop.time() - self._opened_at

    async def tick(self) -> None:
        """Begin a commit when it is time, and end one that is decided. Raises why one failed."""
        if self._committing is not None:
            if not self._committing.done():
                self.is_held_up = self._is_full()
                return
            self._committed()
        if self._tasks():
            dirty, size = self._sizes()
            came = self._around.counts.events - self._came_before
            is_due = self._every is not None and came >= self._every
            if is_due or should_close(
                age_s=self.age_s,
                interval_s=self._interval,
                dirty_keys=dirty,
                output_bytes=size,
            ):
                self._begin()

    async def relieved(self) -> None:
        """Wait until the open epoch may close, but not for long: a silent broker may hold it up,
        and a stop cannot wait for that (V4).
        """
        if self._committing is not None:
            await asyncio.wait((self._committing,), timeout=HELD_UP_LOOK_S)

    def _sizes(self) -> tuple[int, int]:
        # What was put into channels is in no buffer, and waits in memory for the commit, too.
        puts = len(self._around.onlookers.puts)
        return puts + sum(task.dirty for task in self._tasks()), self._buffer.size_bytes

    def _is_full(self) -> bool:
        dirty, size = self._sizes()
        return is_full(dirty_keys=dirty, output_bytes=size)

    def _begin(self) -> None:
        self._opened_at = self._loop.time()
        self._came_before = self._around.counts.events
        self._committing = self._loop.create_task(self._commit())

    async def _commit(self) -> Commit | None:
        commit = await self._committer.commit(self._close)
        if commit is not None:
            outputs = [
                (tp.topic, sum(batch.records for batch in group))
                for tp, group in commit.batches.items()
            ]
            self._around.meters.committed(self._loop.time() - self._opened_at, outputs)
            self._around.committed.advance(commit.epoch.offsets, commit.epoch.tables)
            # Now, and not when the next look is due: they measure how long it took, and what was
            # put into channels waits for it.
            self._around.counts.commits += 1
            self._around.onlookers.committed(commit.epoch.offsets)
        return commit

    def _committed(self) -> None:
        done, self._committing = self._committing, None
        self.is_held_up = False
        self.is_torn = True
        if done is not None:
            done.result()
        self.is_torn = False

    def _close(self) -> Commit | None:
        """The open epoch, ready for its transaction; None when nothing has completed."""
        offsets: dict[tuple[str, int], int] = {}
        tables: list[TableRows] = []
        for task in self._tasks():
            moved, rows = task.take_offsets(), task.take_rows()
            # A task that has rows has offsets, even if it came no farther: else whoever starts it
            # first would find the one without the other (G3). And it has all of them: topics that
            # are read by a pattern may be deleted, and their offsets with them.
            offsets.update(task.task.offsets() if rows else moved)
            tables += rows
        now = self._around.wall_time_ms()
        append = self._buffer.append
        for task in self._tasks():
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
            for task in self._tasks():
                offsets.update(task.task.offsets())
        self._epoch += 1
        batches = self._buffer.take()
        self._sent(batches, now)
        self._around.onlookers.closing()
        records = sum(batch.records for group in batches.values() for batch in group)
        epoch = Epoch(self._epoch, offsets, records, tables, self._generation())
        return Commit(epoch, batches)

    async def finish(self) -> None:
        """Wait for the commit on its way, then commit what has completed since."""
        if self._committing is not None:
            await asyncio.wait((self._committing,))
            self._committed()
        self._begin()
        assert self._committing is not None
        await asyncio.wait((self._committing,))
        self._committed()

    async def drop(self) -> None:
        """Forget what is open. A commit that is still on its way is cut off: its outcome is asked
        for afterwards.
        """
        committing, self._committing = self._committing, None
        self.is_held_up = False
        if committing is not None:
            committing.cancel()
            await asyncio.wait((committing,))
            if not committing.cancelled() and committing.exception() is not None:
                log.debug("dropped commit: %s", committing.exception())
        self._buffer.take()
        self._around.onlookers.dropped()
        self.is_torn = False
