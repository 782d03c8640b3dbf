"""The network between workers and broker: slow, lossy, and cut off for a while on request.

A request that is under way arrives although nobody waits for it any more, as with TCP.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from flowstream.testing.memory_broker import MemoryBroker, MemoryCluster, Network
from flowstream.transport.errors import ConnectionLost
from flowstream.wire.api import ApiKey


class Faulty(Network):
    """Delays by `rng`; loses requests and answers while `loss` is above 0."""

    def __init__(self, broker: MemoryBroker, rng: random.Random, loss: float, slow: float) -> None:
        self.loss = loss
        self.slow = slow
        self.requests = 0
        self.lost = 0
        self._broker = broker
        self._rng = rng
        self._held: dict[MemoryCluster, float] = {}

    def hold(self, cluster: MemoryCluster, seconds: float) -> None:
        """Whatever this client sends from now on arrives that much later."""
        self._held[cluster] = self._broker.loop.time() + seconds

    def heal(self) -> None:
        """From now on nothing is lost or late."""
        self.loss = self.slow = 0.0
        self._held.clear()

    def send(
        self, cluster: MemoryCluster, key: ApiKey, version: int, body: object
    ) -> asyncio.Future[Any]:
        """Bring a request there, perhaps, and its answer back, perhaps."""
        self.requests += 1
        loop = self._broker.loop
        answer: asyncio.Future[Any] = loop.create_future()
        dice = self._rng.random()
        if dice < self.loss / 2:
            self._lose(answer)
            return answer
        at = max(loop.time() + self._pause(), self._held.get(cluster, 0.0))
        loop.call_at(at, self._deliver, cluster, key, version, body, answer, dice < self.loss)
        return answer

    def _pause(self) -> float:
        if self._rng.random() < self.slow:
            return self._rng.uniform(0.05, 1.5)
        return self._rng.uniform(0.0001, 0.004)

    def _lose(self, answer: asyncio.Future[Any]) -> None:
        """The connection breaks: soon, or it is silent until the client's patience is over."""
        self.lost += 1
        if self._rng.random() < 0.7:
            pause = self._rng.uniform(0.001, 0.05)
            self._broker.loop.call_later(pause, _break, answer)

    def _deliver(
        self, cluster: MemoryCluster, key: ApiKey, version: int, body: object,
        answer: asyncio.Future[Any], loses_answer: bool,
    ) -> None:  # fmt: skip
        if cluster.is_cut and self._rng.random() < 0.5:
            return
        found = cluster.broker.ask(cluster.client_id, key, version, body)
        if loses_answer:
            self._lose(answer)
            return
        answer.add_done_callback(lambda _: found.cancel())
        found.add_done_callback(lambda done: self._answered(done, answer))

    def _answered(self, done: asyncio.Future[Any], answer: asyncio.Future[Any]) -> None:
        if not done.cancelled() and not answer.done():
            self._broker.loop.call_later(self._pause(), _settle, done, answer)


def _settle(done: asyncio.Future[Any], answer: asyncio.Future[Any]) -> None:
    if answer.done():
        return
    error = done.exception()
    if error is None:
        answer.set_result(done.result())
    else:
        answer.set_exception(error)


def _break(answer: asyncio.Future[Any]) -> None:
    if not answer.done():
        answer.set_exception(ConnectionLost("the network lost it"))
