"""Asking an agent: requests that want a reply, from anywhere that has the app.

Shell; who waits for replies is in `asker`. A request is a record of the agent's topic, sent at
once; its reply is a record of the topic `<app>-replies`, in the transaction that passes the
request. So a reply comes once however often the agent's side dies, and one that nobody waits for
any more is nothing.
"""

from __future__ import annotations

import asyncio
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

from flowstream.processing.agents.asker import TIMEOUT_S, Asker, Reply
from flowstream.processing.declaring import check_forced
from flowstream.processing.errors import AppError
from flowstream.processing.events.current import CURRENT, Headers
from flowstream.processing.events.replies import ReplyTo, decode_reply, request_headers
from flowstream.processing.events.topic import (
    Acknowledged,
    RecordMetadata,
    Serializer,
    Topic,
    header_pairs,
)
from flowstream.processing.values.codecs import Codec
from flowstream.processing.values.durations import Seconds, milliseconds

T = TypeVar("T")
Many = Iterable[T] | AsyncIterable[T]


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
        nothing). TimeoutError after `timeout` seconds; ReplyFailed when the agent failed and went
        on.

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
