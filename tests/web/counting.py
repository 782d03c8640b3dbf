"""An app that counts words, in one worker or several, each with a client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import flowstream as fs
from flowstream.processing.queries.routes import owners
from tests.processing.conftest import Kit
from tests.web.conftest import visited


class Words:
    """An app that counts words, in one process or several."""

    def __init__(self, kit: Kit, name: str, *, data: str = "a", **settings: Any) -> None:
        settings.setdefault("web_port", 0)
        self.app = kit.app(name, data_dir=kit.directory / data, **settings)
        self.topic = self.app.topic(f"{name}-in", key_type=str, value_type=str, partitions=4)
        self.counts = self.app.Table("counts", key_type=str, default=int)
        self.hold = asyncio.Event()
        self.hold.set()

        @self.app.agent(self.topic)
        async def count(stream: fs.Stream[str]) -> None:
            async for word in stream:
                self.counts[word] += 1
                await self.hold.wait()

    async def send(self, *words: str) -> list[fs.RecordMetadata]:
        """Send words; gives where they are."""
        return [await self.topic.send(key=word, value=word) for word in words]


async def settled(kit: Kit, app: fs.App, tasks: int, workers: int) -> None:
    """Wait until so many workers own so many tasks."""

    async def holds() -> bool:
        found = await owners(kit.cluster, app.id)
        return len(found) == tasks and len({o.member for o in found.values()}) == workers

    await kit.until(holds)


@asynccontextmanager
async def several(kit: Kit, apps: list[Words]) -> AsyncIterator[list[Any]]:
    """Workers of one app, side by side, with a client of each."""
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(visited(kit, words.app)) for words in apps]
        await settled(kit, apps[0].app, 4, len(apps))
        yield found


ALL = [f"w{number}" for number in range(12)]
