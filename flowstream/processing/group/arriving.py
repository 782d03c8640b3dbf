"""Tasks that are on their way to run here: positions, stores, then events; each by itself, so that
one may be taken away while another restores (S6).

Shell.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable

from flowstream.processing.stores.starting import Positions
from flowstream.processing.units.task import TaskId
from flowstream.transport.types import TopicPartition

log = logging.getLogger("flowstream.worker")


async def nothing() -> None:
    """Neither before nor after."""


class Arriving:
    """Starts of tasks, in the background."""

    def __init__(
        self,
        positions: Callable[[Iterable[TopicPartition]], Awaitable[Positions]],
        start: Callable[[TaskId, Positions], Awaitable[None]],
        task_of: Callable[[TopicPartition], TaskId],
    ) -> None:
        self._positions = positions
        self._start = start
        self._task_of = task_of
        self._starts: dict[TaskId, asyncio.Task[None]] = {}
        self._groups: set[asyncio.Task[None]] = set()

    @property
    def is_busy(self) -> bool:
        """Whether a task is on its way."""
        return any(not start.done() for start in self._starts.values())

    @property
    def tasks(self) -> list[TaskId]:
        """Those on their way, and those that arrived a moment ago or failed to."""
        return list(self._starts)

    def begin(
        self,
        partitions: Collection[TopicPartition],
        before: Awaitable[None] | None = None,
        after: Callable[[], Awaitable[None]] = nothing,
    ) -> None:
        """Start the tasks of these partitions, which are all of each task's; do something before,
        and something after the last of them runs.
        """
        by_task: dict[TaskId, list[TopicPartition]] = {}
        for tp in sorted(partitions):
            by_task.setdefault(self._task_of(tp), []).append(tp)
        asking = asyncio.ensure_future(self._ask(sorted(partitions), before))
        starts = []
        for id, part in sorted(by_task.items()):
            assert id not in self._starts, id
            self._starts[id] = asyncio.create_task(self._arrive(id, part, asking))
            starts.append(self._starts[id])
        self._groups.add(asyncio.create_task(self._complete(asking, starts, after)))

    async def _ask(
        self, partitions: list[TopicPartition], before: Awaitable[None] | None
    ) -> Positions:
        if before is not None:
            await before
        return await self._positions(partitions) if partitions else {}

    async def _arrive(
        self, id: TaskId, partitions: list[TopicPartition], asking: asyncio.Future[Positions]
    ) -> None:
        found = await asyncio.shield(asking)
        await self._start(id, {tp: found[tp] for tp in partitions})

    async def _complete(
        self,
        asking: asyncio.Future[Positions],
        starts: list[asyncio.Task[None]],
        after: Callable[[], Awaitable[None]],
    ) -> None:
        try:
            await asking
        finally:
            asking.cancel()
        if starts:
            await asyncio.wait(starts)
        if all(not start.cancelled() and start.exception() is None for start in starts):
            await after()

    def check(self) -> bool:
        """Raise why a start failed. True when the last one that was on its way has arrived."""
        if not self._groups and not self._starts:
            return False
        for id, start in list(self._starts.items()):
            if start.done():
                del self._starts[id]
                if not start.cancelled():
                    start.result()
        for group in [group for group in self._groups if group.done()]:
            self._groups.discard(group)
            if not group.cancelled():
                group.result()
        return not self._groups

    async def stop(self, tasks: Collection[TaskId]) -> None:
        """Let these tasks not arrive, where they are still on their way."""
        await _cancelled([self._starts.pop(id) for id in tasks if id in self._starts])

    async def stop_all(self) -> None:
        """Let none arrive."""
        starts, groups = list(self._starts.values()), list(self._groups)
        self._starts.clear()
        self._groups.clear()
        await _cancelled([*groups, *starts])


async def _cancelled(work: list[asyncio.Task[None]]) -> None:
    for each in work:
        each.cancel()
    if work:
        await asyncio.wait(work)
    for each in work:
        if not each.cancelled() and each.exception() is not None:
            log.info("start was interrupted: %s", each.exception())
