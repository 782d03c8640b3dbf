"""Sending outside of agents: a plain idempotent producer, connected on the first send.

Shell. Knows where the app's broker is, and goes along with one that a worker owns; nothing of
agents.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from pathlib import Path

from flowstream.clock import wall_ms
from flowstream.errors import FlowstreamError
from flowstream.processing.agents.onlookers import Onlookers
from flowstream.processing.environment.doors import DOORS, Doors
from flowstream.processing.environment.settings import Settings, bootstrap_of
from flowstream.processing.errors import AppError, SettingsError
from flowstream.processing.events.topic import Acknowledged, Outgoing, RecordMetadata
from flowstream.processing.watching.tracing import sending
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import TopicExists, UnknownTopic
from flowstream.transport.producer import IdempotentProducer
from flowstream.transport.types import NewTopic, TopicPartition

log = logging.getLogger("flowstream.app")

EMBEDDED = "embedded://"
POLL_S = 0.2
"""Between two looks at where the broker of a worker is."""


def reply_topic(name: str, settings: Settings) -> NewTopic:
    """The topic of replies, as it is made."""
    kept_ms = round(settings.reply_expires * 1000)
    return NewTopic(name, 1, settings.replication_factor, {"retention.ms": str(kept_ms)})


async def call_back(callback: Acknowledged | None, sent: RecordMetadata) -> None:
    """Tell who wants to know where a record went, as Faust does: by a future that has it."""
    if callback is None:
        return
    future: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
    future.set_result(sent)
    told = callback(future)
    if inspect.isawaitable(told):
        await told


class Sender:
    """One lazily made producer of an app."""

    def __init__(
        self, app_id: str, settings: Settings, onlookers: Onlookers, doors: Doors = DOORS
    ) -> None:
        self._app_id = app_id
        self._onlookers = onlookers
        self.settings = settings
        self._bootstrap: str | None = None
        self._doors = doors
        self._cluster: Cluster | None = None
        self._producer: IdempotentProducer | None = None
        self._opening = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        """Where the connection belongs."""
        self._following: asyncio.Task[None] | None = None

    def connect_to(self, bootstrap: str) -> None:
        """Use this address from the next connection on."""
        self._bootstrap = bootstrap

    async def move(self, bootstrap: str) -> None:
        """The cluster is at another address now; BrokerUnreachable when nothing answers there."""
        self._bootstrap = bootstrap
        if self._cluster is not None:
            await self._cluster.move(bootstrap)

    async def send(self, record: Outgoing) -> RecordMetadata:
        """Send one record and wait for its acknowledgement."""
        producer = await self._connected()
        to = (
            record.topic
            if record.partition is None
            else TopicPartition(record.topic, record.partition)
        )
        at = wall_ms() if record.timestamp_ms is None else record.timestamp_ms
        look = self._onlookers
        headers = look.headed(
            record.topic, record.key, record.value, record.partition, at, record.headers
        )
        states = look.sending(record.topic, record.key, record.value)
        try:
            with sending(record.topic, headers) as carrying:
                sent = await producer.send(
                    to, key=record.key, value=record.value, timestamp_ms=at, headers=carrying
                )
        except Exception as error:
            look.not_sent(states, error)
            if isinstance(error, UnknownTopic) and record.partition is None:
                raise UnknownTopic(
                    f"there is no topic {record.topic!r} yet: a worker of the app makes those that"
                    " it declares, so start one first (`flowstream worker -A MODULE`), or make it"
                    " with `await topic.declare()`"
                ) from None
            raise
        found = RecordMetadata(sent.topic, sent.partition, sent.offset)
        look.sent(states, found)
        return found

    async def declare(self, topic: NewTopic) -> None:
        """Create a topic if it is missing, and wait until it can be written."""
        admin = Admin(await self.cluster())
        # Who may write a topic may not create it: one that is there is not asked for.
        if topic.name in await admin.topics([topic.name]):
            return
        try:
            await admin.create_topics([topic])
            log.info("created topic %s", topic.name)
        except TopicExists:
            log.debug("topic %s was created by another", topic.name)

    async def cluster(self) -> Cluster:
        """The connected cluster."""
        await self._connected()
        assert self._cluster is not None
        return self._cluster

    async def close(self, within_s: float | None = None) -> None:
        """Wait for what was sent, no longer than that, and close the connection; a later send opens
        another.
        """
        if self._loop is not None and self._loop.is_closed():
            self._come_here()
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.close(within_s)
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            await asyncio.wait((following,))
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            await cluster.close()
        if not self._is_open:
            self._loop = None  # the next one may be of another event loop

    @property
    def _is_open(self) -> bool:
        return self._cluster is not None or self._opening.locked()

    async def _connected(self) -> IdempotentProducer:
        self._come_here()
        async with self._opening:
            if self._producer is None:
                cluster = self._doors.cluster(
                    self._address(), f"{self._app_id}-sender", self.settings
                )
                await cluster.connect()
                self._cluster = cluster
                self._producer = IdempotentProducer(cluster)
                if self._moves:
                    self._following = asyncio.create_task(self._follow(cluster))
            return self._producer

    def _come_here(self) -> None:
        """A connection ends with its event loop, as that of an `asyncio.run` that is over: what is
        left of it is of no use to another one. AppError while it runs: it cannot serve two.
        """
        here, before = asyncio.get_running_loop(), self._loop
        if here is before:
            return
        if before is not None and not before.is_closed():
            raise AppError(
                f"app {self._app_id!r} sends from two event loops at a time: send from the one that"
                " sent first, as by asyncio.run_coroutine_threadsafe (in a test context:"
                " context.run(...) with the coroutine), or let each have an App"
            )
        self._loop, self._opening = here, asyncio.Lock()
        self._producer = self._cluster = self._following = None

    @property
    def _moves(self) -> bool:
        """Whether the broker may come back at another address that nobody will tell of."""
        return self._bootstrap is None and bootstrap_of(self.settings.broker or EMBEDDED) is None

    async def _follow(self, cluster: Cluster) -> None:
        """Go where the broker of a worker goes, until cancelled or a worker does it."""
        while self._moves:
            await asyncio.sleep(POLL_S)
            try:
                current = self._address()
                if current != cluster.bootstrap and self._moves:
                    await cluster.move(current)
                    log.warning("the broker is at %s now: following", current)
            except (FlowstreamError, OSError) as error:
                log.debug("%s: looking again", error)

    def _address(self) -> str:
        if self._bootstrap is not None:
            return self._bootstrap
        broker = self.settings.broker or EMBEDDED
        found = bootstrap_of(broker)
        if found is not None:
            return found
        directory = Path(broker.removeprefix(EMBEDDED) or self.settings.data_dir)
        try:
            return (directory / "broker.address").read_text(encoding="ascii").strip()
        except FileNotFoundError:
            raise SettingsError(
                f"no broker is running in {directory}: start a worker there first, or name one"
                " with App(broker='kafka://HOST:PORT')"
            ) from None
