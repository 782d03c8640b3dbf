"""What closes a cluster's client closes every connection, those too that a request is making."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaError

from flowstream.transport.client import Connection
from flowstream.transport.cluster import Cluster
from flowstream.transport.connection import Security
from flowstream.transport.errors import ConnectionLost
from flowstream.transport.tokens import TokenFile
from tests.broker.server.secured import secured
from tests.broker.server.serving import Served, served, until
from tests.transport.test_logins import with_tokens


@dataclass
class Door:
    """Connections are made when it opens."""

    opened: asyncio.Event = field(default_factory=asyncio.Event)
    made: list[Connection] = field(default_factory=list)


@asynccontextmanager
async def under_way(
    monkeypatch: pytest.MonkeyPatch, broker: Served
) -> AsyncIterator[tuple[Cluster, Door, asyncio.Task[Any]]]:
    """A cluster whose request waits for a connection that is being made."""
    cluster = Cluster(f"127.0.0.1:{broker.listener.port}")
    await cluster.connect()
    door = Door()
    connect: Any = Connection.connect

    async def through_the_door(self: Connection) -> Any:
        door.made.append(self)
        await door.opened.wait()
        return await connect(self)

    with monkeypatch.context() as patched:
        patched.setattr(Connection, "connect", through_the_door)
        (node,) = cluster.nodes()
        asking = asyncio.create_task(cluster._connected()._get_conn(node, group="lane"))
        await until(lambda: bool(door.made))
        yield cluster, door, asking


async def test_a_connection_that_is_made_while_its_client_closes_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with served() as broker, under_way(monkeypatch, broker) as (cluster, door, asking):
        await cluster.close()
        door.opened.set()
        assert await asking is None
        (made,) = door.made
        assert made._writer is None
        assert not made.connected()


async def test_a_closed_client_makes_no_connection_and_lets_nobody_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with served() as broker, under_way(monkeypatch, broker) as (cluster, door, asking):
        door.opened.set()
        assert await asking is door.made[0]
        client = cluster._connected()
        (node,) = cluster.nodes()
        waiting = client.force_metadata_update()
        await cluster.close()
        assert await waiting is False, "of an update that was under way"
        assert await client.force_metadata_update() is False
        before = len(door.made)
        assert await client._get_conn(node, group="another") is None
        assert len(door.made) == before


async def test_a_request_whose_place_was_looked_up_before_a_move_goes_to_the_new_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with served() as broker, served() as successor:
        cluster = Cluster(f"127.0.0.1:{broker.listener.port}")
        await cluster.connect()
        locate = cluster._locate

        async def located_then_moved(to: Any) -> int:
            node = await locate(to)
            monkeypatch.setattr(cluster, "_locate", locate)
            await cluster.move(f"127.0.0.1:{successor.listener.port}")
            return node

        monkeypatch.setattr(cluster, "_locate", located_then_moved)
        found = await cluster.metadata(None)
        assert [each.port for each in found.brokers] == [successor.listener.port]
        await cluster.close()


async def test_what_a_request_waits_for_ends_with_its_client() -> None:
    async with served() as broker:
        cluster = Cluster(f"127.0.0.1:{broker.listener.port}")
        await cluster.connect()
        client = cluster._connected()
        await client.close()
        with pytest.raises(ConnectionLost):
            await cluster.metadata(None)
        await cluster.close()


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
async def test_a_login_that_is_given_up_leaves_no_connection_behind(
    tmp_path: Path, protocol: str
) -> None:
    """A verb's loop ends at once: there is no time for the broker's goodbye in TLS."""
    async with secured(tmp_path, **with_tokens(tmp_path)) as broker:
        tls = broker.context() if protocol == "SASL_SSL" else None
        how = Security(protocol, tls, "OAUTHBEARER", tokens=TokenFile(tmp_path / "none"))
        port = broker.server.ports[protocol]
        made = Connection("localhost", port, how, client_id="a", request_timeout_ms=5_000)
        with pytest.raises(KafkaError, match="cannot be read"):
            await made.connect()
        await asyncio.sleep(0)  # the transport hears that it is closed
        await asyncio.sleep(0)  # and tells what is above it
        assert made._closed_fut is not None
        assert made._closed_fut.done()
