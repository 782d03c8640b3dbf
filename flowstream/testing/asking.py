"""`app.query(table)` in a test context: the workers there are asked, on their loop.

Shell. Outside of that loop everything stands still, so that a test asks of what is settled.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from typing import Any, TypeVar

from flowstream.processing.app import App
from flowstream.processing.errors import Misdirected, QueryTimeout, TableUnavailable
from flowstream.processing.queries.answers import Answers
from flowstream.processing.queries.asked import Changed, Found, Question
from flowstream.processing.queries.router import PAUSE_S, Answer, Router
from flowstream.processing.units.task import TaskId
from flowstream.testing.lives import Life
from flowstream.testing.virtual import VirtualLoop
from flowstream.transport.cluster import Cluster

T = TypeVar("T")


class ContextRouter(Router):
    """Questions to the workers of a context; none goes over a network."""

    def __init__(
        self, app: App, cluster: Cluster, loop: VirtualLoop, lives: Sequence[Life]
    ) -> None:
        async def here() -> Cluster:
            return cluster

        super().__init__(app.id, lambda: app.settings, here)
        self._loop = loop
        self._lives = lives

    async def partitions(self, changelog: str, table: str, timeout_s: float) -> int:
        """See `Router.partitions`."""
        return await self._there(super().partitions(changelog, table, timeout_s))

    async def ask(self, id: TaskId, question: Question, *, is_global: bool = False) -> Found:
        """See `Router.ask`."""
        return await self._there(self._asked(id, question, is_global=is_global))

    async def watch(self, id: TaskId, question: Question) -> Answer:
        """See `Router.watch`. A test that waits for a change that nothing makes is told."""
        answers = await self._there(self._begun(question, id))
        is_inside = asyncio.get_running_loop() is self._loop
        try:
            while True:
                found = await self._there(_next(answers))
                if found is None:
                    return
                if not is_inside and isinstance(found, Changed) and not found.rows:
                    raise QueryTimeout(
                        f"nothing changes what is watched of table {question.table!r}: while a test"
                        " waits nothing happens but what is due; send something first"
                    )
                yield found
        finally:
            await self._there(_end(answers))

    async def _begun(self, question: Question, id: TaskId) -> AsyncGenerator[Found | Changed, None]:
        # Who may have been replaced is a matter of time: of that of the context.
        return self._answers(question, id, is_global=False).watch(question)

    async def _there(self, work: Coroutine[Any, Any, T]) -> T:
        if asyncio.get_running_loop() is self._loop:
            return await work
        return self._loop.run(work)

    async def _asked(self, id: TaskId, question: Question, *, is_global: bool) -> Found:
        deadline = self._loop.time() + question.timeout_s
        while True:
            try:
                return await self._answers(question, id, is_global=is_global).rows(question)
            except TableUnavailable as error:
                if self._loop.time() + PAUSE_S > deadline:
                    raise TableUnavailable(
                        f"{error} (tried for {question.timeout_s:g} s of virtual time)"
                    ) from None
            await asyncio.sleep(PAUSE_S)

    def _answers(self, question: Question, id: TaskId, *, is_global: bool) -> Answers:
        """Those of the worker that owns the task; of a global table anybody's."""
        found = [Answers(life.worker) for life in self._lives]
        for answers in found:
            if answers.holds(question.table, id.number):
                return answers
        for answers in found if is_global else ():
            if answers.has_replica(question.table, id.number):
                return answers
        raise Misdirected(
            f"no worker of app {self._app_id!r} owns table {question.table!r}, partition"
            f" {id.number} now"
        )


async def _next(answers: AsyncGenerator[Found | Changed, None]) -> Found | Changed | None:
    return await anext(answers, None)


async def _end(answers: AsyncGenerator[Found | Changed, None]) -> None:
    await answers.aclose()
