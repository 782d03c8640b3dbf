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
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
)
from typing import Any, TypeAlias, TypeVar

from flowstream.clock import monotonic_ms
from flowstream.errors import WireError
from flowstream.processing.agents.sender import Sender, reply_topic
from flowstream.processing.declaring import check_forced
from flowstream.processing.errors import AppError
from flowstream.processing.events.current import CURRENT, Headers
from flowstream.processing.events.replies import CORRELATION, ReplyTo, decode_reply, request_headers
from flowstream.processing.events.topic import (
    Acknowledged,
    Outgoing,
    RecordMetadata,
    Serializer,
    Topic,
    header_pairs,
)
from flowstream.processing.values.codecs import Codec
from flowstream.processing.values.durations import Seconds, milliseconds
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import (
    ConnectionLost,
    OffsetOutOfRange,
    RequestRefused,
    TopicExists,
    TransportError,
)
from flowstream.transport.reader import PartitionReader
from flowstream.transport.types import TopicPartition

log = logging.getLogger("flowstream.app")

TIMEOUT_S, RETRY_PAUSE_S, REFUSED_PAUSE_S = 30.0, 0.2, 1.0
T = TypeVar("T")
Many = Iterable[T] | AsyncIterable[T]
LANE = "replies"
"""Waiting for replies delays no request."""
Reply = tuple[bytes | None, Any]
"""The value and the headers of a reply."""


class Asker:
    """The requests of one process that wait for their replies."""

    def __init__(self, topic: str, sender: Sender) -> None:
        self._topic = topic
        self._sender = sender
        self._target: TopicPartition | None = None
        self._opening = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[bytes, asyncio.Future[Reply]] = {}

    async def request(
        self, request: Outgoing, correlation: bytes | None = None
    ) -> asyncio.Future[Reply]:
        """Send a request; what it gives is done when its reply has come."""
        target = await self._open()
        named = correlation or uuid.uuid4().hex.encode()
        if named in self._waiting:
            raise AppError(f"a request with the correlation id {named!r} waits for its reply")
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[named] = reply
        reply.add_done_callback(lambda _: self._waiting.pop(named, None))
        headers = (*request.headers, *request_headers(ReplyTo(*target, named)))
        try:
            await self._sender.send(request._replace(headers=headers))
        except BaseException:
            reply.cancel()
            raise
        return reply

    async def ask(
        self,
        request: Outgoing,
        codec: Codec[Any],
        timeout_s: float,
        correlation: bytes | None = None,
    ) -> Any:
        """Send a request and wait for its reply. TimeoutError, or ReplyFailed."""
        try:
            async with asyncio.timeout(timeout_s):
                data, replied = await (await self.request(request, correlation))
        except TimeoutError:
            raise TimeoutError(
                f"no reply from topic {request.topic!r} within {timeout_s:g} s: does a worker of"
                " the app run?"
            ) from None
        return decode_reply(data, replied, codec)

    async def close(self) -> None:
        """Wait for nothing any more."""
        reading, self._reading = self._reading, None
        if reading and not reading.done() and reading.get_loop() is asyncio.get_running_loop():
            reading.cancel()
            await asyncio.wait((reading,))
        self._target = None

    async def _open(self) -> TopicPartition:
        reading = self._reading
        if reading and (reading.done() or reading.get_loop() is not asyncio.get_running_loop()):
            self._target, self._opening = None, asyncio.Lock()  # it ended, or its event loop did
        async with self._opening:
            deadline_ms = monotonic_ms() + round(TIMEOUT_S * 1000)
            while self._target is None:
                cluster = await self._sender.cluster()
                target = TopicPartition(self._topic, 0)
                try:
                    start = await self._start(Admin(cluster), target)
                except ConnectionLost as error:
                    if monotonic_ms() >= deadline_ms:
                        raise
                    log.debug("the topic of replies cannot be opened: %s", error)
                    await asyncio.sleep(RETRY_PAUSE_S)
                    continue
                self._reading = asyncio.create_task(self._read(cluster, target, start))
                self._target = target
            return self._target

    async def _start(self, admin: Admin, target: TopicPartition) -> int:
        """Where replies may be from now on: none to a request of ours can be before."""
        try:
            if self._sender.settings.topic_allow_declare:
                await admin.create_topics([reply_topic(self._topic, self._sender.settings)])
        except TopicExists:
            log.debug("topic %s is there", self._topic)
        return (await admin.end_offsets([target]))[target]

    async def _read(self, cluster: Cluster, target: TopicPartition, start: int) -> None:
        reader = PartitionReader(cluster, target, start, lane=LANE)
        while True:
            try:
                for record in await reader.read():
                    self._replied(record.headers, record.value)
            except OffsetOutOfRange:
                # Retention took what nobody here waited for.
                await asyncio.sleep(RETRY_PAUSE_S)
                at = await _offset(Admin(cluster).beginning_offsets, target)
                if at is not None:
                    reader = PartitionReader(cluster, target, at, lane=LANE)
            except WireError as error:
                log.warning("replies cannot be read: %s", error)
                await asyncio.sleep(RETRY_PAUSE_S)
                at = await _offset(Admin(cluster).end_offsets, target)
                if at is not None:
                    # It will not be read later either: who waits is told, and who asks from now on
                    # has a reply behind it.
                    self._tell(error)
                    reader = PartitionReader(cluster, target, at, lane=LANE)
            except RequestRefused as error:
                # Such as by an ACL: it may be mended, but who waits is to know what to mend.
                log.warning("replies cannot be read: %s", error)
                self._tell(error)
                await asyncio.sleep(REFUSED_PAUSE_S)
            except TransportError as error:
                log.debug("replies cannot be read: %s", error)
                await asyncio.sleep(RETRY_PAUSE_S)

    def _tell(self, error: Exception) -> None:
        """Whoever waits for a reply."""
        for waiting in [each for each in self._waiting.values() if not each.done()]:
            waiting.set_exception(error)

    def _replied(self, headers: Any, value: bytes | None) -> None:
        waiting = self._waiting.get(dict(headers).get(CORRELATION) or b"")
        if waiting is not None and not waiting.done():
            waiting.set_result((value, headers))


async def _offset(
    of: Callable[[list[TopicPartition]], Awaitable[dict[TopicPartition, int]]], tp: TopicPartition
) -> int | None:
    """What an admin tells of one partition; None when it cannot now."""
    try:
        return (await of([tp]))[tp]
    except TransportError as error:
        log.debug("replies cannot be found: %s", error)
        return None


class Promise:
    """A reply that will come; await it. ReplyFailed when the agent failed and went on."""

    def __init__(self, reply: asyncio.Future[Reply], codec: Codec[Any]) -> None:
        self._reply = reply
        self._codec = codec

    def __await__(self) -> Generator[Any, None, Any]:
        data, headers = yield from self._reply.__await__()
        return decode_reply(data, headers, self._codec)


ReplyTopic: TypeAlias = "Topic[Any, Any] | Askable | str"


def name_of(reply_to: ReplyTopic) -> str:
    """The topic that replies go to."""
    topic = reply_to.source_topic if isinstance(reply_to, Askable) else reply_to
    return topic if isinstance(topic, str) else topic.name


class Askable:
    """The part of an agent that others talk to."""

    name: str
    reply_codec: Codec[Any]
    asker: Callable[[str | None], Asker] | None = None
    """Who has the requests whose replies go to a topic (None: the app's own); set when the agent is
    declared.
    """

    @property
    @abstractmethod
    def source_topic(self) -> Topic[Any, Any]:
        """The topic that the agent reads."""

    def send(
        self,
        *,
        key: Any = None,
        value: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: Headers = (),
        key_serializer: Serializer | None = None,
        value_serializer: Serializer | None = None,
        reply_to: ReplyTopic | None = None,
        correlation_id: str | None = None,
        callback: Acknowledged | None = None,
        force: bool = False,
    ) -> Coroutine[Any, Any, RecordMetadata]:
        """Send a record to the agent's topic: see `Topic.send`.

        `reply_to`: a declared topic (or an agent's) of the agent's app, whose partition 0 gets what
        the agent yields first, with `correlation_id` in its headers.
        """
        if reply_to is not None:
            to = ReplyTo(name_of(reply_to), 0, (correlation_id or uuid.uuid4().hex).encode())
            headers = (*header_pairs(headers), *request_headers(to))
        elif correlation_id is not None:
            raise AppError("correlation_id= is of a reply: say reply_to=, or `ask`")
        return self.source_topic.send(
            key=key, value=value, partition=partition, timestamp=timestamp, headers=headers,
            key_serializer=key_serializer, value_serializer=value_serializer, callback=callback,
            force=force,
        )  # fmt: skip

    def cast(
        self,
        value: Any = None,
        *,
        key: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: Headers = (),
    ) -> Coroutine[Any, Any, object]:
        """Send a value to the agent, and wait for nothing but that it is stored."""
        return self.send(
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
        reply_to: ReplyTopic | None = None,
        correlation_id: str | None = None,
    ) -> Any:
        """Send a value to the agent, and wait for what it yields first (None when it yields
        nothing). TimeoutError after `timeout`; ReplyFailed when the agent failed and went on.

        The request is sent at once, also inside another agent: it stays when that one's event
        is processed again. `reply_to`: another topic for the reply, declared by the agent's app.
        """
        asker = self._asker(reply_to)
        request = self.source_topic.outgoing(key, value, partition, timestamp, headers)
        named = None if correlation_id is None else correlation_id.encode()
        return await asker.ask(request, self.reply_codec, milliseconds(timeout) / 1000, named)

    async def ask_nowait(
        self,
        value: Any = None,
        *,
        key: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: Headers = (),
        reply_to: ReplyTopic | None = None,
        correlation_id: str | None = None,
        force: bool = True,
    ) -> Promise:
        """As `ask`, but returns once the request is stored: await what it gives for the reply,
        whenever it comes. `force` is how it always is: at once.
        """
        check_forced(force)
        asker, named = self._asker(reply_to), (correlation_id or "").encode()
        request = self.source_topic.outgoing(key, value, partition, timestamp, headers)
        return Promise(await asker.request(request, named), self.reply_codec)

    def _asker(self, reply_to: ReplyTopic | None) -> Asker:
        current = CURRENT.get()
        if current is not None and current.shares_source:
            raise AppError(
                f"{current.label} shares its topic with another agent: what waits in it holds up"
                f" the other one, and {self.name!r} may wait for that. Ask from an agent that is"
                " alone on its topic"
            )
        if self.asker is None:
            raise AppError(f"agent {self.name!r} belongs to no app: it cannot be asked")
        return self.asker(None if reply_to is None else name_of(reply_to))

    async def map(
        self,
        values: Many[Any],
        key: Any = None,
        timeout: Seconds = TIMEOUT_S,
        reply_to: ReplyTopic | None = None,
    ) -> AsyncIterator[Any]:
        """Ask for every value at once; replies as they come."""
        items = [(key, value) for value in await listed(values)]
        async for reply in self.kvmap(items, timeout=timeout, reply_to=reply_to):
            yield reply

    async def kvmap(
        self,
        items: Many[tuple[Any, Any]],
        *,
        timeout: Seconds = TIMEOUT_S,
        reply_to: ReplyTopic | None = None,
    ) -> AsyncIterator[Any]:
        """Ask for every (key, value) at once; replies as they come."""
        asked = [
            asyncio.ensure_future(self.ask(value, key=key, timeout=timeout, reply_to=reply_to))
            for key, value in await listed(items)
        ]
        try:
            for done in asyncio.as_completed(asked):
                yield await done
        finally:
            for each in asked:
                each.cancel()
            if asked:
                await asyncio.wait(asked)

    async def join(
        self,
        values: Many[Any],
        key: Any = None,
        timeout: Seconds = TIMEOUT_S,
        reply_to: ReplyTopic | None = None,
    ) -> list[Any]:
        """Ask for every value at once; all replies, in the order of the values."""
        items = [(key, value) for value in await listed(values)]
        return await self.kvjoin(items, timeout=timeout, reply_to=reply_to)

    async def kvjoin(
        self,
        items: Many[tuple[Any, Any]],
        *,
        timeout: Seconds = TIMEOUT_S,
        reply_to: ReplyTopic | None = None,
    ) -> list[Any]:
        """Ask for every (key, value) at once; all replies, in the order of the items."""
        asked: list[Awaitable[Any]] = [
            self.ask(value, key=key, timeout=timeout, reply_to=reply_to)
            for key, value in await listed(items)
        ]
        return list(await asyncio.gather(*asked))


async def listed(values: Many[T]) -> list[T]:
    """All of them: they are asked for at once."""
    return [each async for each in values] if isinstance(values, AsyncIterable) else list(values)
