"""Who asks: the requests of one process, and the replies that come to its topic.

Shell. Knows the topic of replies and who waits for one; it must not know agents.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from flowstream.clock import monotonic_ms
from flowstream.errors import WireError
from flowstream.processing.agents.sender import Sender, reply_topic
from flowstream.processing.errors import AppError
from flowstream.processing.events.replies import CORRELATION, ReplyTo, decode_reply, request_headers
from flowstream.processing.events.topic import (
    Outgoing,
)
from flowstream.processing.values.codecs import Codec
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
