"""A broker that ends and comes back, perhaps at another address, as the embedded one does.

Shell: waits for it and moves the clients along. Knows no tasks and no transactions.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from flowstream.processing.app import App
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import BrokerUnreachable, ConnectionLost
from flowstream.transport.silence import told_of_silence

T = TypeVar("T")

log = logging.getLogger("flowstream.worker")

PATIENCE_S = 30.0
"""So long a worker waits at its start for a broker that is being restarted."""
PAUSE_S = 0.2
POLL_S = 0.1

Address = Callable[[], str]
"""Tells where the broker (HOST:PORT) is now, or was last."""


async def connect(cluster: Cluster, app: App, address: Address | None) -> None:
    """Connect to where the cluster is now; a broker that moves is waited for."""

    async def attempt() -> None:
        if address is not None:
            cluster.bootstrap = address()
            app.connect_to(cluster.bootstrap)
        with told_of_silence(cluster.bootstrap, log.warning):
            await cluster.connect()

    await patiently(attempt, address)


async def patiently(attempt: Callable[[], Awaitable[T]], address: Address | None) -> T:
    """Do what needs the broker, again and again for a while if it is one that comes back: one
    whose `address` is known to move, or one that answered and was lost.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + PATIENCE_S
    told, comes_back = False, address is not None
    while True:
        try:
            return await attempt()
        except (BrokerUnreachable, ConnectionLost) as error:
            comes_back = comes_back or isinstance(error, ConnectionLost)
            if not comes_back or clock() >= deadline:
                raise
            if not told:
                where = "" if address is None else f" at {address()}"
                log.warning("the broker does not answer%s: waiting for it (%s)", where, error)
                told = True
        await asyncio.sleep(PAUSE_S)


async def follow(cluster: Cluster, app: App, address: Address) -> None:
    """Move with the broker, until cancelled. A consumer that stays behind fails by itself."""
    while True:
        await asyncio.sleep(POLL_S)
        current = address()
        if current == cluster.bootstrap:
            continue
        try:
            await app.move_to(current)
            await cluster.move(current)
        except BrokerUnreachable as error:
            log.debug("%s: trying again", error)
        else:
            log.warning("the broker is at %s now: following", current)
