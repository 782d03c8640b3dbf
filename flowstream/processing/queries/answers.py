"""The worker's side of a query: rows of the table partitions whose tasks run here, and of copies
where one may answer.

Shell: reads the stores, which hold committed data only (S1), between two turns of the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from flowstream.processing.errors import (
    AppError,
    Misdirected,
    QueryTimeout,
    TableUnavailable,
    TooStale,
)
from flowstream.processing.queries.asked import Changed, Found, Question, page
from flowstream.processing.queries.copied import CopiedAnswer
from flowstream.processing.queries.covering import LOOK_AGAIN_S, cover
from flowstream.processing.queries.reading import lag_of
from flowstream.processing.running.committed import Watch
from flowstream.processing.running.plan import TablePlan
from flowstream.processing.running.runtime import RunningTask
from flowstream.processing.tables.replicated import GlobalTable
from flowstream.processing.units.task import TaskId
from flowstream.state.store import StateStore
from flowstream.transport.types import TopicPartition

if TYPE_CHECKING:
    from flowstream.processing.group.membership import Membership
    from flowstream.processing.worker import Worker

HEARTBEAT_S = 5.0
PROMPT_MS = 1_000
"""A broker with nothing to give answers a fetch well within this."""


@dataclass(frozen=True, slots=True)
class Held:
    """A table partition that is read here."""

    membership: Membership
    plan: TablePlan
    task: RunningTask

    @property
    def changelog(self) -> tuple[str, int]:
        """Its changelog's topic and partition."""
        return self.plan.changelog, self.task.id.number

    @property
    def sources(self) -> list[TopicPartition]:
        """The topics that its task reads."""
        sources = self.task.task.sources
        return [TopicPartition(s.topic, s.partition) for s in sources if not s.is_inner]


class Answers:
    """Answers of one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._committed = worker.committed

    def holds(self, table: str, partition: int) -> bool:
        """Whether the task of a table partition runs here now."""
        try:
            self._held(table, partition)
        except TableUnavailable:
            return False
        return True

    def has_replica(self, table: str, partition: int) -> bool:
        """Whether this worker holds a partition of a global table, which it can answer for."""
        plan = self._copied(table, partition)
        return plan is not None and isinstance(plan.table, GlobalTable)

    def runs(self, id: TaskId) -> bool:
        """Whether a task runs here now."""
        membership = self._worker.membership
        task = None if membership is None else membership.tasks.get(id)
        if task is None or not task.is_running or membership is None:
            return False
        return not membership.consumer.may_be_replaced

    def stores(self, id: TaskId) -> tuple[list[TablePlan], Mapping[str, StateStore]]:
        """The tables of a task that runs here, and their stores: committed rows only."""
        membership = self._worker.membership
        if membership is None or not self.runs(id):
            raise Misdirected(f"task {id} does not run at this worker")
        task = membership.tasks[id]
        return [plan for plan, _ in task.tables], task.stores

    async def rows(self, question: Question) -> Found:
        """The rows that are asked for, once they cover what they must.

        Misdirected and TableUnavailable when they are elsewhere or not ready; QueryTimeout,
        TooStale, AppError as they say.
        """
        table, partition = question.table, question.partition
        if question.copy and not self.holds(table, partition):
            plan = self._copied(table, partition)
            if plan is not None:
                return await CopiedAnswer(self._worker, plan, question).rows()
        await self._ready(question)
        return self._page(self._held(question.table, question.partition), question)

    async def watch(self, question: Question) -> AsyncGenerator[Found | Changed, None]:
        """The rows that are asked for, then their committed changes, until the task goes away."""
        await self._ready(question)
        held = self._held(question.table, question.partition)
        # Between this and the page there is no await: no commit falls in between.
        watch = self._committed.watch(held.changelog, question.start, question.stop)
        try:
            yield self._page(held, question)
            async with aclosing(_changes(watch)) as changes:
                async for changed in changes:
                    if held.membership.consumer.may_be_replaced:
                        return  # whoever has the task now tells of changes
                    yield changed
        finally:
            self._committed.leave(held.changelog, watch)

    def _table(self, table: str) -> TablePlan | None:
        plan = self._worker.plan
        tables = () if plan is None else plan.tables
        return next((each for each in tables if each.table.name == table), None)

    def _copied(self, table: str, partition: int) -> TablePlan | None:
        """The table, if this worker has a copy of the partition."""
        plan = self._table(table)
        is_here = plan is not None and self._worker.copy(plan, partition) is not None
        return plan if is_here else None

    def _held(self, table: str, partition: int) -> Held:
        membership = self._worker.membership
        if membership is None or self._worker.plan is None:
            raise TableUnavailable("this worker has not joined its group, try again")
        found = self._table(table)
        if found is None:
            raise AppError(f"app {self._worker.app_id!r} has no table {table!r}")
        id = TaskId(found.partitions, partition)
        task = membership.tasks.get(id)
        if task is not None and task.is_running:
            if membership.consumer.may_be_replaced:
                raise TableUnavailable(
                    f"table {table!r}, partition {partition}: this worker has not heard from its"
                    " group for session_timeout, so it may be another's: try again"
                )
            return Held(membership, found, task)
        if id in membership.held:
            raise TableUnavailable(
                f"table {table!r}, partition {partition} is being restored here, try again"
            )
        raise Misdirected(f"table {table!r}, partition {partition} is not at this worker")

    def _page(self, held: Held, question: Question) -> Found:
        positions = [(*tp, self._committed.positions.get(tp, 0)) for tp in held.sources]
        store = held.task.stores[question.table]
        return page(store, held.plan.table, question, positions)

    # -- waiting for what must be in ------------------------------------------------------------

    async def _ready(self, question: Question) -> None:
        if not question.after and question.stale_s is None:
            return
        try:
            async with asyncio.timeout(question.timeout_s):
                if question.after:
                    sources = self._held(question.table, question.partition).sources
                    await cover(
                        self._worker,
                        question.after,
                        sources,
                        partial(self._until_covered, question),
                    )
                await self._fresh(question)
        except TimeoutError:
            raise QueryTimeout(
                f"table {question.table!r}, partition {question.partition} did not cover"
                f" {list(question.after)} within {question.timeout_s:g} s: the app is behind, or"
                " that record's agent does not move on"
            ) from None

    async def _until_covered(
        self, question: Question, wanted: Mapping[TopicPartition, int]
    ) -> None:
        while not self._is_covered(self._held(question.table, question.partition), wanted):
            await self._change()

    def _is_covered(self, held: Held, wanted: Mapping[TopicPartition, int]) -> bool:
        return all(self._reached(held, tp) >= at for tp, at in wanted.items())

    def _reached(self, held: Held, tp: TopicPartition) -> int:
        """The committed position; where everything fetched is committed, the fetch position: it is
        behind transaction markers, which no event ever reaches.
        """
        committed = self._committed.positions.get(tp, 0)
        source = next(s for s in held.task.task.sources if s.topic == tp.topic)
        if source.position != committed:
            return committed
        return held.membership.reached(held.task, tp)

    async def _change(self) -> None:
        """Wait for a commit; where there is nothing to commit, for the next fetch."""
        try:
            async with asyncio.timeout(LOOK_AGAIN_S):
                await self._committed.change()
        except TimeoutError:
            return

    async def _fresh(self, question: Question) -> None:
        """TooStale while input that is older than `stale_s` is not in."""
        if question.stale_s is None:
            return
        held = self._held(question.table, question.partition)
        behind = self._behind_s(held)
        if behind is None or behind > question.stale_s:
            told = "an unknown time" if behind is None else f"{behind:.3f} s"
            raise TooStale(
                f"table {question.table!r}, partition {question.partition} is {told} behind its"
                f" input, more than max_staleness={question.stale_s:g}"
            )

    def _behind_s(self, held: Held) -> float | None:
        """Age of the oldest input that is not in the store; None when nobody knows."""
        worst, now_ms = 0.0, self._worker.wall_time_ms()
        for tp in held.sources:
            seconds = lag_of(held.membership, held.task, tp, now_ms).seconds
            silence_ms = held.membership.consumer.silence_ms(tp)
            if seconds is None or silence_ms is None:
                return None
            if silence_ms > PROMPT_MS:
                # There may be anything behind the end that it knows: it may be cut off.
                seconds = max(seconds, silence_ms / 1000)
            source = next(s for s in held.task.task.sources if s.topic == tp.topic)
            if source.position != self._committed.positions.get(tp, 0):
                seconds = max(seconds, held.membership.epoch_age_s)
            worst = max(worst, seconds)
        return worst


async def _changes(watch: Watch) -> AsyncGenerator[Changed, None]:
    while True:
        rows: dict[bytes, Any] = {}
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                rows = dict(await watch.take())
        except TimeoutError:
            pass
        if watch.is_over:
            return
        yield Changed(list(rows.items()))
