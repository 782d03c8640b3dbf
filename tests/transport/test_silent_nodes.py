"""A node that swallows what is sent to it keeps nobody from the others (V1, V2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flowstream.transport.client import Connection
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import ConnectionLost
from flowstream.wire.api import ApiKey
from flowstream.wire.messages import metadata
from flowstream.wire.messages.api_versions import ApiVersionsRequest
from tests.transport.fake_broker import FakeBroker

SILENT, ANSWERING = 0, 1
SILENT_PORT = 1


class Pair(FakeBroker):
    """Tells of a node beside itself, before it."""

    def metadata(self, request: Any, code: int) -> Any:
        answer = super().metadata(request, code)
        other = metadata.MetadataResponseBroker(node_id=SILENT, host="127.0.0.1", port=SILENT_PORT)
        return metadata.MetadataResponse(
            brokers=(other, *answer.brokers), controller_id=1, topics=answer.topics
        )

    def _answer(self, request: Any) -> Any:
        if request.key != ApiKey.METADATA:
            return super()._answer(request)
        self.requests.append(request)
        return self.metadata(request, 0)


class Swallowing:
    """Connections to the silent node are begun, and fail no sooner than the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tries: list[asyncio.Future[None]] = []
        connect: Any = Connection.connect

        async def connected(made: Connection) -> Any:
            if made.port != SILENT_PORT:
                return await connect(made)
            self.tries.append(asyncio.get_running_loop().create_future())
            return await self.tries[-1]

        monkeypatch.setattr(Connection, "connect", connected)

    def give_up(self) -> None:
        """Those that were begun fail."""
        for each in self.tries:
            if not each.done():
                each.set_exception(TimeoutError())
        self.tries.clear()


@asynccontextmanager
async def pair(
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[tuple[Cluster, Swallowing]]:
    async with Pair({"t": 1}) as broker:
        cluster = Cluster(broker.address)
        swallowing = Swallowing(monkeypatch)
        connecting = asyncio.create_task(cluster.connect())
        while not connecting.done():
            swallowing.give_up()
            await asyncio.sleep(0)
        await connecting
        assert cluster.nodes() == [SILENT, ANSWERING]
        yield cluster, swallowing
        await cluster.close()


async def until_begun() -> None:
    """Somebody makes a connection to the silent node, and more of them wait for it."""
    for _ in range(20):
        await asyncio.sleep(0)


async def ask(cluster: Cluster, node: int | None, lane: str = "a") -> Any:
    request = ApiVersionsRequest(client_software_name="a", client_software_version="1")
    return await cluster.request(node, ApiKey.API_VERSIONS, lambda _: request, lane=lane)


async def test_V2_a_node_that_swallows_connections_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One lock was held for half a minute, by whoever wanted a connection to it."""
    async with pair(monkeypatch) as (cluster, swallowing), asyncio.timeout(10):
        silent = [asyncio.create_task(ask(cluster, SILENT)) for _ in range(3)]
        await until_begun()
        await ask(cluster, ANSWERING, "another")
        await ask(cluster, None)
        swallowing.give_up()
        for each in silent:  # all wait for one try, and not for one after the other
            with pytest.raises(ConnectionLost, match="node 0 cannot be reached"):
                await each


async def test_V2_who_gives_up_waiting_ends_nobody_elses_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with pair(monkeypatch) as (cluster, swallowing), asyncio.timeout(10):
        first, second = (asyncio.create_task(ask(cluster, SILENT)) for _ in range(2))
        await until_begun()
        first.cancel()
        await asyncio.wait((first,))
        assert first.cancelled()
        assert not second.done()
        swallowing.give_up()
        with pytest.raises(ConnectionLost):
            await second
