"""Who owns what is asked of the cluster once, however many want to know."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flowstream.processing.errors import TableUnavailable
from flowstream.processing.queries import routes as module
from flowstream.processing.queries.routes import Routes
from flowstream.processing.units.task import TaskId

MANY = 100


class Coordinator:
    """Knows of no member, and says so when it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = asyncio.Event()

    async def members_of(self, cluster: Any, app_id: str) -> Any:
        self.asked += 1
        await self.answers.wait()
        return (), {}


async def nowhere() -> Any:
    return None


def ask(routes: Routes, number: int) -> asyncio.Task[Any]:
    return asyncio.create_task(routes.owner(TaskId(MANY, number), "it"))


def test_X3_all_who_look_for_owners_look_once(monkeypatch: pytest.MonkeyPatch) -> None:
    routes = Routes("app", nowhere)

    async def look() -> None:
        coordinator = Coordinator()
        monkeypatch.setattr(module, "members_of", coordinator.members_of)
        asking = [ask(routes, number) for number in range(MANY)]
        await asyncio.sleep(0)
        asking[0].cancel()
        await asyncio.wait(asking[:1])
        coordinator.answers.set()
        found = await asyncio.gather(*asking[1:], return_exceptions=True)
        assert all(isinstance(error, TableUnavailable) for error in found)
        assert coordinator.asked == 2, "whoever gave up, and one for all others"
        with pytest.raises(TableUnavailable):
            await ask(routes, 0)
        assert coordinator.asked == 3

    for _ in range(2):
        asyncio.run(look())
