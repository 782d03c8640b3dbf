"""The integrated broker without a process around it: its own node on a disk in memory, at virtual
time, and clients that hand it requests without a socket.

Shell. The node is production's, so offsets, transactions, groups and fencing are what they are
there. Knows no app and no worker.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from flowstream.broker.config import BrokerConfig
from flowstream.broker.doors import Operation
from flowstream.broker.effects import Close, Effect, Notice, Reply, Write
from flowstream.broker.events import Disconnected, Durable, Event, Request, Tick
from flowstream.broker.handlers import ROUTES
from flowstream.broker.node import Node
from flowstream.broker.opening import open_cores
from flowstream.broker.storage.memory import MemoryStorage
from flowstream.broker.types import ConnectionId, Instant, ReplyTo
from flowstream.errors import WireError
from flowstream.testing.virtual import VirtualLoop
from flowstream.transport.cluster import (
    DEFAULT_LANE,
    Build,
    Cluster,
    Coordinator,
    Destination,
    Leader,
)
from flowstream.transport.errors import ConnectionLost, TransportError, UnsupportedByBroker
from flowstream.wire.api import API, ApiKey
from flowstream.wire.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)

log = logging.getLogger("flowstream.testing")

HOST = "memory"
NODE = 0
SETTINGS: Mapping[str, str] = {
    "group.initial.rebalance.delay.ms": "0",
    "group.max.session.timeout.ms": "2147483647",
    "log.message.timestamp.after.max.ms": "9223372036854775807",
    "log.retention.ms": "-1",
    "log.cleaner.enable": "false",
    "log.retention.check.interval.ms": "2147483647",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.num.partitions": "1",
}
"""As a new broker, but small, and with nothing that time alone would change."""


class MemoryBroker:
    """One broker node that answers in the same turn of the loop."""

    def __init__(
        self, loop: VirtualLoop, rng: random.Random, settings: Mapping[str, str] | None = None
    ) -> None:
        self.loop = loop
        self.rng = rng
        self.arrivals: dict[tuple[str, int, int | None], int] = {}
        """By topic, partition and offset: the order in which records are to be read, where a test
        says so.
        """
        self._storage = MemoryStorage()
        self._waiting: dict[ConnectionId, asyncio.Future[Any]] = {}
        self._last = 0
        self._tick: asyncio.TimerHandle | None = None
        self._tick_at: int | None = None
        config = BrokerConfig.of({**SETTINGS, **(settings or {})})
        opened = open_cores(self._storage, self._perform, config, rng, self._now(), host=HOST)
        self.node = Node(opened.cores)
        self._carry_out(self.node.start(self._now()))
        self._end_turn()

    def ask(self, client_id: str, key: int, version: int, body: object) -> asyncio.Future[Any]:
        """Hand in a request; its answer, once there is one. Cancelled, nobody waits any more."""
        self._last += 1
        connection = ConnectionId(self._last)
        answer: asyncio.Future[Any] = self.loop.create_future()
        self._waiting[connection] = answer
        to = ReplyTo(connection, self._last, key, version)
        self._handle(Request(to, client_id, HOST, body))
        if not answer.done():
            answer.add_done_callback(lambda _: self._done(connection))
        return answer

    def _done(self, connection: ConnectionId) -> None:
        if self._waiting.pop(connection, None) is not None:
            self._handle(Disconnected(connection))

    def _now(self) -> Instant:
        return Instant(self.loop.now_ms)

    def _handle(self, event: Event) -> None:
        try:
            self._carry_out(self.node.handle(event, self._now()))
        except WireError as error:
            if not isinstance(event, Request):
                raise
            self._lose(event.to.connection, f"malformed request: {error}")
        self._end_turn()

    def _perform(self, operations: Sequence[Operation]) -> None:
        self._storage.perform(operations)

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Write):
                self._perform(effect.operations)
            elif isinstance(effect, Reply):
                waiting = self._waiting.pop(effect.to.connection, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(effect.body)
            elif isinstance(effect, Close):
                self._lose(effect.connection, effect.reason)
            elif isinstance(effect, Notice):
                log.warning("%s", effect.text)

    def _lose(self, connection: ConnectionId, reason: str) -> None:
        waiting = self._waiting.pop(connection, None)
        if waiting is not None and not waiting.done():
            waiting.set_exception(ConnectionLost(reason))

    def _end_turn(self) -> None:
        while (group := self.node.close_group()) is not None:
            self._carry_out(self.node.handle(Durable(group), self._now()))
        deadline = self.node.deadline()
        if deadline is None or (self._tick_at is not None and self._tick_at <= deadline):
            return
        if self._tick is not None:
            self._tick.cancel()
        self._tick_at = deadline
        at = max(self.loop.time(), (deadline - self.loop.start_ms) / 1000)
        self._tick = self.loop.call_at(at, self._tock)

    def _tock(self) -> None:
        self._tick = self._tick_at = None
        self._handle(Tick())


class Network:
    """Between clients and the broker. This one loses nothing and takes no time."""

    def send(
        self, cluster: MemoryCluster, key: ApiKey, version: int, body: object
    ) -> asyncio.Future[Any]:
        """Bring a request to the broker; its answer, once that is back."""
        return cluster.broker.ask(cluster.client_id, key, version, body)


class MemoryCluster(Cluster):
    """A client of the broker in memory. Once `cut`, nothing of it reaches the broker any more, as
    with a process that was killed.
    """

    def __init__(self, broker: MemoryBroker, network: Network, client_id: str) -> None:
        super().__init__(f"{HOST}:1", client_id=client_id)
        self.broker = broker
        self.is_cut = False
        self._network = network
        self._lanes: dict[Hashable, set[asyncio.Future[Any]]] = {}

    async def connect(self) -> None:
        """Learn the broker's features."""
        await self.refresh_features()

    async def move(self, bootstrap: str) -> None:
        """There is one place only."""
        del bootstrap

    async def close(self) -> None:
        """Nothing is open."""

    def nodes(self) -> list[int]:
        """The one broker."""
        return [NODE]

    def cut(self) -> None:
        """Its process is gone."""
        self.is_cut = True
        for lane in list(self._lanes):
            self.drop_lane(lane)

    def drop_lane(self, lane: Hashable) -> None:
        """Requests of this lane that are under way get ConnectionLost."""
        for answer in list(self._lanes.pop(lane, ())):
            _lose(answer, "the connection was closed")

    async def request(
        self,
        to: Destination,
        key: ApiKey,
        build: Build,
        *,
        min_version: int = 0,
        max_version: int | None = None,
        timeout_ms: int | None = None,
        lane: Hashable = DEFAULT_LANE,
    ) -> Any:
        """One request, one answer; ConnectionLost when none came."""
        if asyncio.get_running_loop() is not self.broker.loop:
            raise TransportError(
                "this app is in a test context: what talks to its broker runs on the context's"
                " loop. Call context.run(...) with the coroutine"
            )
        await self._find(to)
        version = _version(key, min_version, max_version)
        body = build(version)
        await asyncio.sleep(0)
        if self.is_cut:
            raise ConnectionLost("the client was cut off")
        answer = self._network.send(self, key, version, _as_arrived(body))
        try:
            if not answer.done():
                await self._answered(answer, (timeout_ms or self.request_timeout_ms) / 1000, lane)
            return answer.result()
        except ConnectionLost:
            self.forget(to)
            raise

    async def _answered(
        self, answer: asyncio.Future[Any], timeout_s: float, lane: Hashable
    ) -> None:
        under_way = self._lanes.setdefault(lane, set())
        under_way.add(answer)
        timer = self.broker.loop.call_later(timeout_s, _lose, answer, "no answer in time")
        try:
            await answer
        finally:
            timer.cancel()
            under_way.discard(answer)

    async def _find(self, to: Destination) -> None:
        if isinstance(to, Coordinator):
            if to not in self._coordinators:
                self._coordinators[to] = await self._find_coordinator(to)
        elif isinstance(to, Leader):
            await self.leader(to.tp)


def _version(key: ApiKey, min_version: int, max_version: int | None) -> int:
    known = API[key].max_version if max_version is None else max_version
    version = min(known, ROUTES[key].newest)
    if version < max(min_version, ROUTES[key].oldest):
        raise UnsupportedByBroker(f"{key.name}: no common version")
    return version


def _as_arrived(body: object) -> object:
    """A request as the broker gets it: record batches in a buffer of its own."""
    if not isinstance(body, ProduceRequest):
        return body
    return ProduceRequest(
        transactional_id=body.transactional_id,
        acks=body.acks,
        timeout_ms=body.timeout_ms,
        topic_data=tuple(_in_own_buffer(topic) for topic in body.topic_data),
    )


def _in_own_buffer(topic: TopicProduceData) -> TopicProduceData:
    return TopicProduceData(
        name=topic.name,
        topic_id=topic.topic_id,
        partition_data=tuple(
            PartitionProduceData(
                index=part.index, records=memoryview(bytearray(part.records or b""))
            )
            for part in topic.partition_data
        ),
    )


def _lose(answer: asyncio.Future[Any], reason: str) -> None:
    if not answer.done():
        answer.set_exception(ConnectionLost(reason))
