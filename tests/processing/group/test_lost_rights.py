"""Rights that are taken from a worker's user while it runs, on a broker that has them (V1, V2)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import flowstream as fs
from flowstream.transport import refusals
from flowstream.transport.access import AccessAdmin, AccessFilter, AccessRule
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.connection import Security
from flowstream.transport.producer import IdempotentProducer
from flowstream.transport.reader import PartitionReader
from flowstream.transport.types import NewTopic, TopicPartition
from flowstream.wire.acl_codes import Operation, Permission, ResourceType
from tests.broker.server.secured import USERS, Secured, secured

APP, USER = "shop", "User:alice"
INPUT, OUTPUT = "shop-in", "shop-out"
RESOURCES = {
    "group": (ResourceType.GROUP, APP, "GROUP_AUTHORIZATION_FAILED"),
    "input": (ResourceType.TOPIC, INPUT, f"{INPUT}.*TOPIC_AUTHORIZATION_FAILED"),
    "output": (ResourceType.TOPIC, OUTPUT, f"{OUTPUT}.*TOPIC_AUTHORIZATION_FAILED"),
    "transactions": (
        ResourceType.TRANSACTIONAL_ID, "*", "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    ),
}  # fmt: skip
TAKEN = pytest.mark.parametrize("taken", RESOURCES)


@dataclass
class Scene:
    """A broker, its administrator, and a worker whose user has all rights."""

    cluster: Cluster
    access: AccessAdmin
    running: asyncio.Task[None]

    async def take_away(self, resource: ResourceType, name: str) -> None:
        assert await self.access.remove_rules(AccessFilter(resource, name, USER)) == 1

    async def send(self, value: str) -> None:
        """An event, of the administrator's."""
        producer = IdempotentProducer(self.cluster)
        await producer.send(TopicPartition(INPUT, 0), b"k", value.encode(), 1, [])
        await producer.close()

    async def results(self, count: int) -> list[bytes | None]:
        """Those of all events, once there are so many."""
        reader = PartitionReader(self.cluster, TopicPartition(OUTPUT, 0), 0)
        found: list[bytes | None] = []
        async with asyncio.timeout(30):
            while len(found) < count:
                found += [record.value for record in await reader.read()]
        return found


@contextlib.asynccontextmanager
async def scene(directory: Path) -> AsyncIterator[Scene]:
    async with secured(directory) as broker, administered(broker) as cluster:
        await Admin(cluster).create_topics([NewTopic(INPUT, 1), NewTopic(OUTPUT, 1)])
        address = f"localhost:{broker.server.ports['SASL_PLAINTEXT']}"
        app = fs.App(
            APP, broker=f"kafka+sasl_plaintext://{address}", data_dir=directory / "app",
            commit_interval=0.02,
            broker_credentials=fs.SASLCredentials(username="alice", password=USERS["alice"]),
        )  # fmt: skip
        words = app.topic(INPUT, key_type=str, value_type=str, partitions=1)
        out = app.topic(OUTPUT, key_type=str, value_type=str, partitions=1)

        @app.agent(words, sink=[out])
        async def double(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for word in stream:
                yield word + word

        access = AccessAdmin(cluster)
        await access.add_rules(
            [
                AccessRule(kind, name, USER, Operation.ALL, Permission.ALLOW)
                for kind, name, _ in RESOURCES.values()
            ]
        )
        worker = fs.Worker(app, address)
        yield Scene(cluster, access, asyncio.create_task(worker.run()))
        worker.stop()


@contextlib.asynccontextmanager
async def administered(broker: Secured) -> AsyncIterator[Cluster]:
    how = Security(
        "SASL_PLAINTEXT", sasl_mechanism="PLAIN", sasl_username="admin",
        sasl_password=USERS["admin"],
    )  # fmt: skip
    cluster = Cluster(f"localhost:{broker.server.ports['SASL_PLAINTEXT']}", security=how)
    await cluster.connect()
    yield cluster
    await cluster.close()


@TAKEN
async def test_V2_a_worker_whose_rights_are_gone_ends_and_says_which(
    tmp_path: Path, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "FIRST_PAUSE_S", 0.02)
    kind, name, told = RESOURCES[taken]
    async with scene(tmp_path) as found:
        await found.send("a")
        assert await found.results(1) == [b"aa"]
        await found.take_away(kind, name)
        await found.send("b")
        with pytest.raises(fs.FlowstreamError, match=told):
            await asyncio.wait_for(found.running, 30)


@TAKEN
async def test_V1_S9_a_worker_whose_rights_come_back_goes_on(
    tmp_path: Path, taken: str, caplog: pytest.LogCaptureFixture
) -> None:
    kind, name, _ = RESOURCES[taken]
    async with scene(tmp_path) as found:
        await found.send("a")
        assert await found.results(1) == [b"aa"]
        await found.take_away(kind, name)
        await found.send("b")
        async with asyncio.timeout(10):
            while "AUTHORIZATION_FAILED" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await found.access.add_rules(
            [AccessRule(kind, name, USER, Operation.ALL, Permission.ALLOW)]
        )
        assert await found.results(2) == [b"aa", b"bb"]
        assert not found.running.done()
