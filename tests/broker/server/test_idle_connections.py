"""Connections of which nothing is heard are closed (connections.max.idle.ms), those that wait or
speak are not (X3)."""

from __future__ import annotations

import socket

import pytest

from tests.broker.server.serving import VERSIONS, Served, create_topic, fetch_request, served, until


def swept(broker: Served, times: int) -> None:
    """As if so many intervals had passed."""
    for _ in range(times):
        broker.listener._sweep_timer.cancel()
        broker.listener._sweep()


async def test_X3_who_is_silent_for_too_long_is_let_go() -> None:
    async with served(connections_max_idle_ms="10000") as broker:
        silent, speaking, waiting = [await broker.client() for _ in range(3)]
        await create_topic(waiting)
        waiting.send(1, 11, fetch_request(0, wait_ms=60_000))
        await waiting.writer.drain()
        parked = broker.driver._node.cores.waiting
        await until(lambda: bool(parked._by_connection))
        await silent.ask(18, 3, VERSIONS)
        for _ in range(5):  # 12.5 seconds
            await speaking.ask(18, 3, VERSIONS)
            swept(broker, 1)
        assert await silent.is_closed()
        assert len(broker.driver.connections) == 2
        await speaking.ask(18, 3, VERSIONS)
        for client in (silent, speaking, waiting):
            await client.close()


@pytest.mark.parametrize("idle_ms", [100, 2_000, 600_000])
async def test_X3_a_bound_is_kept_to_a_fourth_or_to_the_shortest_look(idle_ms: int) -> None:
    async with served(connections_max_idle_ms=str(idle_ms)) as broker:
        client = await broker.client()
        await client.ask(18, 3, VERSIONS)
        step_s, sweeps = broker.listener._step_s, broker.listener._idle_sweeps
        assert sweeps is not None
        swept(broker, sweeps)
        await client.ask(18, 3, VERSIONS)
        (connection,) = broker.driver.connections.values()
        connection.idle_sweeps = 0
        swept(broker, sweeps + 1)
        assert await client.is_closed()
        # A look may come right after the last byte: the idle time is one step shorter, or not.
        assert step_s * sweeps * 1000 >= idle_ms
        assert step_s * (sweeps + 1) * 1000 <= max(1.25 * idle_ms, 500)
        await client.close()


async def test_X3_the_system_looks_after_peers_that_are_gone_without_a_word() -> None:
    """Who waits for an answer is not idle, and may wait for weeks; Kafka asks for this, too."""
    async with served() as broker:
        client = await broker.client()
        await until(lambda: bool(broker.driver.connections))
        (connection,) = broker.driver.connections.values()
        with socket.fromfd(connection._socket.fileno(), socket.AF_INET, socket.SOCK_STREAM) as own:
            assert own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        await client.close()


async def test_without_a_bound_nobody_is_let_go() -> None:
    async with served(connections_max_idle_ms="-1") as broker:
        client = await broker.client()
        await client.ask(18, 3, VERSIONS)
        swept(broker, 1_000)
        await client.ask(18, 3, VERSIONS)
        await client.close()
