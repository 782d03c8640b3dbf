"""The integrated broker for worker tests, and workers that run inside a test."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import flowstream as fs
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.reader import PartitionReader
from flowstream.transport.types import LogRecord, NewTopic, TopicPartition

ROOT = Path(__file__).resolve().parent.parent.parent
DEADLINE_S = 30.0
RETENTION = "log.retention.ms=-1"
"""Events of 1970 stay although a test runs when the broker looks at retention."""


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of the integrated broker, in a process of its own.

    FLOWSTREAM_TEST_KAFKA=host:port runs the same tests on a Kafka that runs already.
    """
    running = os.environ.get("FLOWSTREAM_TEST_KAFKA")
    if running:
        yield running
        return
    directory = tmp_path_factory.mktemp("broker")
    command = [sys.executable, "-m", "flowstream", "broker", "--data", str(directory)]
    with subprocess.Popen(
        [*command, "--port", "0", "--durability", "os", "--set", RETENTION],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            words = process.stdout.readline().split()
            assert words[:1] == ["ready"], words
            yield words[1]
        finally:
            process.terminate()


@pytest.fixture
def name() -> str:
    """A name that no other test uses: apps and topics share one broker."""
    return f"t{uuid.uuid4().hex[:10]}"


class Kit:
    """Running workers and looking at topics from outside."""

    def __init__(self, address: str, directory: Path, cluster: Cluster) -> None:
        self.address = address
        self.directory = directory
        self.cluster = cluster
        self.admin = Admin(cluster)
        self.apps: list[fs.App] = []

    def app(self, name: str, **settings: Any) -> fs.App:
        """An app on this broker with its own data directory."""
        settings.setdefault("commit_interval", 0.02)
        settings.setdefault("data_dir", self.directory / name)
        self.apps.append(fs.App(name, broker=f"kafka://{self.address}", **settings))
        return self.apps[-1]

    async def create(self, app: fs.App) -> None:
        """Create the topics that the app declares, where they are missing."""
        existing = await self.admin.topics(None)
        missing = [topic for topic in app.topics.values() if topic.name not in existing]
        new = [NewTopic(topic.name, topic.partitions or 1, 1, topic.config) for topic in missing]
        if new:
            await self.admin.create_topics(new)

    @asynccontextmanager
    async def running(self, app: fs.App, **options: Any) -> AsyncIterator[fs.Worker]:
        """A worker for the length of a block, stopped gracefully after it."""
        worker = fs.Worker(app, self.address, **options)
        running = asyncio.create_task(worker.run())
        try:
            yield worker
            worker.stop()
            async with asyncio.timeout(DEADLINE_S):
                await running
        finally:
            if not running.done():
                running.cancel()
                await asyncio.wait((running,))

    async def run_until(
        self, app: fs.App, condition: Callable[[], Awaitable[bool]], **options: Any
    ) -> fs.Worker:
        """Run a worker until a condition holds outside."""
        async with self.running(app, **options) as worker:
            await self.until(condition)
        return worker

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Wait for something that other tasks bring about."""
        async with asyncio.timeout(DEADLINE_S):
            while not await condition():  # noqa: ASYNC110 - it is outside of this process
                await asyncio.sleep(0.02)

    async def sees(self, holds: Callable[[], bool]) -> None:
        """Wait for something that happens in this process."""

        async def condition() -> bool:
            return holds()

        await self.until(condition)

    async def records(self, topic: str) -> list[LogRecord]:
        """All committed records of a topic, partition by partition."""
        described = (await self.admin.topics([topic])).get(topic)
        if described is None:
            return []
        found: list[LogRecord] = []
        for number in range(described.partitions):
            tp = TopicPartition(topic, number)
            end = (await self.admin.end_offsets([tp], committed=True))[tp]
            reader = PartitionReader(self.cluster, tp, 0)
            while reader.position < end:
                found += await reader.read(100)
        return found

    async def values(self, topic: str) -> list[bytes | None]:
        """The values of `records`."""
        return [record.value for record in await self.records(topic)]

    def count(self, topic: str, least: int) -> Callable[[], Awaitable[bool]]:
        """A condition: the topic has that many committed records."""

        async def holds() -> bool:
            return len(await self.records(topic)) >= least

        return holds

    def committed(self, app: fs.App, topic: str, total: int) -> Callable[[], Awaitable[bool]]:
        """A condition: the app has committed that many offsets of a topic, over its partitions."""

        async def holds() -> bool:
            found = await self.admin.group_offsets(app.id)
            return sum(o for tp, o in found.items() if tp.topic == topic) >= total

        return holds


@pytest_asyncio.fixture
async def kit(address: str, tmp_path: Path) -> AsyncIterator[Kit]:
    """See Kit."""
    cluster = Cluster(address, client_id="test")
    await cluster.connect()
    kit = Kit(address, tmp_path, cluster)
    yield kit
    for app in kit.apps:
        await app.close()
    await cluster.close()
