"""Answers from a copy of a table partition whose task runs elsewhere, or nowhere now: that of a
standby, or a replica of a global table.

Shell. What a copy holds is known by the app's commits: rows and offsets commit together, so what
has read the stable offsets, and then the changelog to the end that it had by then, has the effects
of everything below those offsets (S4). So an answer is never behind one of the owner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from flowstream.processing.errors import Misdirected, QueryTimeout, TooStale
from flowstream.processing.queries.asked import Found, Question, page
from flowstream.processing.queries.covering import LOOK_AGAIN_S, cover
from flowstream.processing.running.plan import TablePlan
from flowstream.processing.stores.followed import Followed
from flowstream.transport.errors import OffsetOutOfRange
from flowstream.transport.types import TopicPartition

if TYPE_CHECKING:
    from flowstream.processing.worker import Worker

PROMPT_S = 1.0
"""Looking at the input and reading the rows is one moment if it takes no longer than this."""

Positions = Mapping[TopicPartition, int]


class CopiedAnswer:
    """The answer to one question."""

    def __init__(self, worker: Worker, plan: TablePlan, question: Question) -> None:
        self._worker = worker
        self._plan = plan
        self._question = question
        sources = {} if worker.plan is None else worker.plan.sources
        number, count = question.partition, plan.partitions
        self._sources = [TopicPartition(t, number) for t in sources if sources[t] == count]

    async def rows(self) -> Found:
        """The rows that are asked for, once they cover what they must."""
        question, copy = self._question, self._copy()
        done: Positions = {}
        try:
            async with asyncio.timeout(question.timeout_s):
                if question.after:
                    await cover(self._worker, question.after, self._sources, self._until_covered)
                if question.stale_s is not None:
                    copy, done = await self._fresh(question.stale_s)
                elif question.after:
                    copy = await self._caught_up()
        except TimeoutError:
            raise QueryTimeout(
                f"the copy of {self._what} did not cover {list(question.after)} within"
                f" {question.timeout_s:g} s: nobody has committed those records yet, or the"
                " changelog waits for a transaction"
            ) from None
        # Since the copy was found good there was no await: these are the rows that were meant.
        return page(copy.store, self._plan.table, question, [(*tp, at) for tp, at in done.items()])

    @property
    def _what(self) -> str:
        return f"table {self._question.table!r}, partition {self._question.partition}"

    def _copy(self) -> Followed:
        copy = self._worker.copy(self._plan, self._question.partition)
        if copy is None:
            raise Misdirected(f"{self._what} is not copied at this worker")
        return copy

    async def _until_covered(self, wanted: Positions) -> None:
        while True:
            self._copy()
            done = await self._done(wanted)
            waiting = [await self._waiting(tp, done[tp], end) for tp, end in wanted.items()]
            if all(each is None for each in waiting):
                return
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _fresh(self, bound_s: float) -> tuple[Followed, Positions]:
        """The copy, when no input is waiting that is older than the bound; TooStale else."""
        clock, admin = asyncio.get_running_loop().time, self._worker.admin
        while True:
            done, began = await self._done(self._sources), clock()
            ends = await admin.end_offsets(self._sources, committed=True)
            waiting = [await self._waiting(tp, done[tp], ends[tp]) for tp in self._sources]
            copy = await self._caught_up()
            took_s = clock() - began
            oldest_ms = min((ms for ms in waiting if ms is not None), default=None)
            behind_s = 0.0 if took_s <= PROMPT_S else took_s
            if oldest_ms is not None:
                behind_s = max(behind_s, (self._worker.wall_time_ms() - oldest_ms) / 1000)
            if behind_s <= bound_s:
                return copy, done
            if took_s <= PROMPT_S and await self._done(self._sources) == done:
                raise TooStale(
                    f"the copy of {self._what} is {behind_s:.3f} s behind its input, more than"
                    f" max_staleness={bound_s:g}"
                )

    async def _caught_up(self) -> Followed:
        """The copy, when it has all that is committed by now."""
        changelog = self._copy().changelog
        end = (await self._worker.admin.end_offsets([changelog]))[changelog]
        while True:
            copy = self._copy()
            if copy.holds(end):
                return copy
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _done(self, tps: Iterable[TopicPartition]) -> Positions:
        """What the app has committed of partitions, stable; their starts where it has nothing."""
        committed = await self._worker.admin.committed(self._worker.app_id, tps)
        new = [tp for tp, at in committed.items() if at is None]
        starts = await self._worker.admin.beginning_offsets(new) if new else {}
        return {tp: starts[tp] if at is None else at for tp, at in committed.items()}

    async def _waiting(self, tp: TopicPartition, start: int, end: int) -> int | None:
        """The time of the first record from `start` to before `end`; None when there is none."""
        try:
            found = await self._worker.admin.first_record(tp, start, end)
        except OffsetOutOfRange as error:
            raise TooStale(f"{self._what} is an unknown time behind its input: {error}") from error
        return None if found is None else found.timestamp
