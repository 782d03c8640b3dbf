"""Asking an agent: requests that want a reply, from anywhere that has the app.

Shell. A request is a record of the agent's topic, sent at once; its reply is a record of the topic
`<app>-replies`, in the transaction that passes the request. So a reply comes once however often the
agent's side dies, and one that nobody waits for any more is nothing.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from abc import abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, TypeVar

from flowstream.processing.codecs import Codec
from flowstream.processing.current import CURRENT, Headers
from flowstream.processing.errors import AppError
from flowstream.processing.replies import CORRELATION, ReplyTo, decode_reply, request_headers
from flowstream.processing.sender import Sender
from flowstream.processing.topic import Outgoing, RecordMetadata, Serializer, Topic
from flowstream.processing.windowed_tables import Seconds, milliseconds
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import OffsetOutOfRange, TopicExists, TransportError
from flowstream.transport.reader import PartitionReader
from flowstream.transport.types import NewTopic, TopicPartition

log = logging.getLogger("flowstream.app")

REPLY_CONFIG = {"retention.ms": "3600000"}
TIMEOUT_S = 30.0
T = TypeVar("T")
Many = Iterable[T] | AsyncIterable[T]
RETRY_PAUSE_S = 0.2


class Asker:
    """The requests of one process that wait for their replies."""

    def __init__(self, topic: str, sender: Sender) -> None:
        self._topic = topic
        self._sender = sender
        self._target: TopicPartition | None = None
        self._opening = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[bytes, asyncio.Future[tuple[bytes | None, Any]]] = {}

    async def ask(self, request: Outgoing, codec: Codec[Any], timeout_s: float) -> Any:
        """Send a request and wait for its reply. TimeoutError, or ReplyFailed."""
        target = await self._open()
        correlation = uuid.uuid4().hex.encode()
        reply = asyncio.get_running_loop().create_future()
        self._waiting[correlation] = reply
        to = ReplyTo(target.topic, target.partition, correlation)
        try:
            async with asyncio.timeout(timeout_s):
                headers = (*request.headers, *request_headers(to))
                await self._sender.send(request._replace(headers=headers))
                data, replied = await reply
        except TimeoutError:
            raise TimeoutError(
                f"no reply from topic {request.topic!r} within {timeout_s:g} s: does a worker of"
                " the app run?"
            ) from None
        finally:
            del self._waiting[correlation]
        return decode_reply(data, replied, codec)

    async def close(self) -> None:
        """Wait for nothing any more."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            await asyncio.wait((reading,))
        self._target = None

    async def _open(self) -> TopicPartition:
        async with self._opening:
            if self._target is None:
                cluster = await self._sender.cluster()
                admin = Admin(cluster)
                try:
                    await admin.create_topics([NewTopic(self._topic, 1, -1, REPLY_CONFIG)])
                except TopicExists:
                    log.debug("topic %s is there", self._topic)
                target = TopicPartition(self._topic, 0)
                # From here on: no reply to a request of ours can be before.
                start = (await admin.end_offsets([target]))[target]
                self._reading = asyncio.create_task(self._read(cluster, target, start))
                self._target = target
            return self._target

    async def _read(self, cluster: Cluster, target: TopicPartition, start: int) -> None:
        reader = PartitionReader(cluster, target, start)
        while True:
            try:
                for record in await reader.read():
                    self._replied(record.headers, record.value)
            except OffsetOutOfRange:
                # Retention took what nobody here waited for.
                await asyncio.sleep(RETRY_PAUSE_S)
                reader = await self._from_start(cluster, target, reader)
            except TransportError as error:
                log.debug("replies cannot be read: %s", error)
                await asyncio.sleep(RETRY_PAUSE_S)

    async def _from_start(
        self, cluster: Cluster, target: TopicPartition, before: PartitionReader
    ) -> PartitionReader:
        try:
            start = (await Admin(cluster).beginning_offsets([target]))[target]
        except TransportError as error:
            log.debug("replies cannot be found: %s", error)
            return before
        return PartitionReader(cluster, target, start)

    def _replied(self, headers: Any, value: bytes | None) -> None:
        waiting = self._waiting.get(dict(headers).get(CORRELATION) or b"")
        if waiting is not None and not waiting.done():
            waiting.set_result((value, headers))


class Askable:
    """The part of an agent that others talk to."""

    name: str
    reply_codec: Codec[Any]
    asker: Callable[[], Asker] | None = None
    """The app's, set when the agent is declared."""

    @property
    @abstractmethod
    def source_topic(self) -> Topic[Any, Any]:
        """The topic that the agent reads."""

    async def send(
        self,
        *,
        key: Any = None,
        value: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: Headers = (),
        key_serializer: Serializer | None = None,
        value_serializer: Serializer | None = None,
    ) -> RecordMetadata:
        """Send a record to the agent's topic: see `Topic.send`."""
        return await self.source_topic.send(
            key=key, value=value, partition=partition, timestamp=timestamp, headers=headers,
            key_serializer=key_serializer, value_serializer=value_serializer,
        )  # fmt: skip

    async def cast(
        self,
        value: Any = None,
        *,
        key: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: Headers = (),
    ) -> None:
        """Send a value to the agent, and wait for nothing but that it is stored."""
        await self.send(
            key=key, value=value, partition=partition, timestamp=timestamp, headers=headers
        )

    async def ask(
        self,
        value: Any = None,
        *,
        key: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: Headers = (),
        timeout: Seconds = TIMEOUT_S,
    ) -> Any:
        """Send a value to the agent, and wait for what it yields first (None when it yields
        nothing). TimeoutError after `timeout`; ReplyFailed when the agent failed and went on.

        The request is sent at once, also inside another agent: it stays when that one's event
        is processed again.
        """
        current = CURRENT.get()
        if current is not None and current.shares_source:
            raise AppError(
                f"{current.label} shares its topic with another agent: what waits in it holds up"
                f" the other one, and {self.name!r} may wait for that. Ask from an agent that is"
                " alone on its topic"
            )
        if self.asker is None:
            raise AppError(f"agent {self.name!r} belongs to no app: it cannot be asked")
        request = self.source_topic.outgoing(key, value, partition, timestamp, headers)
        return await self.asker().ask(request, self.reply_codec, milliseconds(timeout) / 1000)

    async def map(
        self, values: Many[Any], key: Any = None, timeout: Seconds = TIMEOUT_S
    ) -> AsyncIterator[Any]:
        """Ask for every value at once; replies as they come."""
        items = [(key, value) for value in await listed(values)]
        async for _, reply in self.kvmap(items, timeout=timeout):
            yield reply

    async def kvmap(
        self, items: Many[tuple[Any, Any]], *, timeout: Seconds = TIMEOUT_S
    ) -> AsyncIterator[tuple[Any, Any]]:
        """Ask for every (key, value) at once; (key, reply) as they come."""

        async def one(key: Any, value: Any) -> tuple[Any, Any]:
            return key, await self.ask(value, key=key, timeout=timeout)

        asked = [asyncio.ensure_future(one(key, value)) for key, value in await listed(items)]
        try:
            for done in asyncio.as_completed(asked):
                yield await done
        finally:
            for each in asked:
                each.cancel()
            if asked:
                await asyncio.wait(asked)

    async def join(
        self, values: Many[Any], key: Any = None, timeout: Seconds = TIMEOUT_S
    ) -> list[Any]:
        """Ask for every value at once; all replies, in the order of the values."""
        items = [(key, value) for value in await listed(values)]
        return await self.kvjoin(items, timeout=timeout)

    async def kvjoin(
        self, items: Many[tuple[Any, Any]], *, timeout: Seconds = TIMEOUT_S
    ) -> list[Any]:
        """Ask for every (key, value) at once; all replies, in the order of the items."""
        asked: list[Awaitable[Any]] = [
            self.ask(value, key=key, timeout=timeout) for key, value in await listed(items)
        ]
        return list(await asyncio.gather(*asked))


async def listed(values: Many[T]) -> list[T]:
    """All of them: they are asked for at once."""
    if isinstance(values, AsyncIterable):
        return [value async for value in values]
    return list(values)
