"""V1: a broker's port can be had again after its death, however often its clients try it."""

from __future__ import annotations

import asyncio
import random
import socket

import pytest

from flowstream.broker.server.listener import Listener, PortTaken, bind
from flowstream.broker.server.ports import LOWEST, candidates, ephemeral_from
from tests.broker.server.serving import VERSIONS, RawClient, served, until


def test_V1_a_picked_port_is_none_that_an_outgoing_connection_may_be_given() -> None:
    with bind("127.0.0.1", 0) as listening:
        assert LOWEST <= listening.getsockname()[1] < ephemeral_from()


def test_the_systems_choice_comes_last() -> None:
    ports = list(candidates(random.Random(1), 32_768))
    assert ports[-1] == 0
    assert all(LOWEST <= port < 32_768 for port in ports[:-1])
    assert list(candidates(random.Random(1), 1_024)) == [0]


def test_a_taken_port_is_refused_with_the_remedy() -> None:
    with bind("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(PortTaken, match="--port"):
            bind("127.0.0.1", port)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no socket here serves IPv4 and IPv6")
async def test_X7_a_client_of_IPv4_has_its_own_address_on_a_listener_of_both_kinds() -> None:
    """Rules and quotas are about `10.0.0.5`, not about `::ffff:10.0.0.5`."""
    async with served() as both:
        listener = Listener(bind("::", 0), both.driver, both.listener._cores)
        for host in ("127.0.0.1", "::1"):
            client = RawClient(*await asyncio.open_connection(host, listener.port))
            await client.ask(18, 3, VERSIONS)
            assert [each.host for each in both.driver.connections.values()] == [host]
            await client.close()
            await until(lambda: not both.driver.connections)
        listener.close()
