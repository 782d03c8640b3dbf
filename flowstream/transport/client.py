"""aiokafka's client and connection, with logins that are made anew before they end (KIP-368).

A connection whose login is about to end gets a successor: what comes goes over that, what is under
way is answered by the old one first. Knows no message but those of a login and of the first look.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Hashable
from typing import Any, TypeVar

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    StaleMetadata,
)
from aiokafka.protocol.metadata import MetadataRequest

from flowstream.clock import monotonic_ms
from flowstream.transport.connection import Security, call, pick_version
from flowstream.transport.errors import LoginRefused, NoToken, TransportError
from flowstream.transport.login import log_in, renew_after, steps_of
from flowstream.wire.api import ApiKey

log = logging.getLogger("aiokafka")

R = TypeVar("R")

RETRY_MS = 5_000
"""Between two tries of a login that is to take the place of one that still holds."""


class Connection(AIOKafkaConnection):
    """A connection that knows when its login should be made anew."""

    def __init__(self, host: str, port: int, security: Security, **options: Any) -> None:
        parent: Any = super()
        parent.__init__(host, port, **security.arguments(), **options)
        self._security = security
        self._renew_at_ms: int | None = None
        self._ends_at_ms: int | None = None

    @property
    def is_due(self) -> bool:
        """Whether the login should be made anew."""
        return self._renew_at_ms is not None and monotonic_ms() >= self._renew_at_ms

    @property
    def is_usable(self) -> bool:
        """Whether a request will be heard: the broker cuts off who goes on after its login."""
        over = self._ends_at_ms is not None and monotonic_ms() >= self._ends_at_ms
        return bool(self.connected()) and not over

    def try_again_later(self) -> None:
        """The login is being made anew; should that fail, not at once again."""
        self._renew_at_ms = monotonic_ms() + RETRY_MS

    def close(
        self, reason: CloseReason | None = None, exc: BaseException | None = None
    ) -> asyncio.Future[None]:
        """Give the connection up; the future is done when it is closed. Only who shuts down says
        goodbye first: in TLS a broker that is silent could hold that up for half a minute.
        """
        writer = self._writer
        parent: Any = super()
        closed: asyncio.Future[None] = parent.close(reason=reason, exc=exc)
        if writer is not None and reason is not CloseReason.SHUTDOWN:
            writer.transport.abort()
        return closed

    def send(self, request: Any, expect_response: bool = True) -> Any:
        """Send a request; the future has its answer. Who looks makes nothing: a topic that is
        deleted while it is read would be there again, empty, by the next look at its partitions.
        """
        if isinstance(request, MetadataRequest):
            request._allow_auto_topic_creation = False
        parent: Any = super()
        return parent.send(request, expect_response=expect_response)

    def answers(self) -> list[asyncio.Future[Any]]:
        """What is under way."""
        return [waiting for *_, waiting in self._requests if not waiting.done()]

    async def _do_sasl_handshake(self) -> None:
        """aiokafka calls it on a connection that was just made."""
        began_ms = monotonic_ms()
        mechanism = self._security.sasl_mechanism
        try:
            steps = steps_of(self, mechanism, self._security.tokens)
            lifetime_ms = await log_in(self._ask, mechanism, steps)
        except (LoginRefused, NoToken) as error:
            raise SaslAuthenticationFailed(str(error)) from error
        except TransportError as error:
            raise KafkaConnectionError(str(error)) from error
        if lifetime_ms > 0:
            self._renew_at_ms = began_ms + renew_after(lifetime_ms)
            self._ends_at_ms = began_ms + lifetime_ms

    async def _ask(self, key: ApiKey, lowest: int, highest: int, message: object) -> Any:
        version = pick_version(self, key, lowest, highest)
        return await call(self, key, version, message, self._request_timeout)


class Client(AIOKafkaClient):
    """aiokafka's client over such connections. `bootstrap` tells why it failed."""

    def __init__(
        self,
        bootstrap: str,
        *,
        client_id: str,
        security: Security,
        request_timeout_ms: int,
        max_idle_ms: int = 540_000,
    ) -> None:
        parent: Any = super()
        parent.__init__(
            bootstrap_servers=bootstrap,
            client_id=client_id,
            request_timeout_ms=request_timeout_ms,
            connections_max_idle_ms=max_idle_ms,
            **security.arguments(),
        )
        self._security = security
        self._renewing: set[asyncio.Task[Any]] = set()
        self._making: dict[tuple[Any, Hashable], asyncio.Task[Connection | None]] = {}
        self._retired: set[Connection] = set()
        self._closed = False

    async def bootstrap(self) -> None:
        """Learn the cluster's nodes from the first address that answers. Raises KafkaError."""
        reason: object = "no address"
        for host, port, _ in self.hosts:
            try:
                connection = await self._open(host, port)
                try:
                    found = await connection.send(MetadataRequest([]))
                except BaseException:
                    await connection.close()
                    raise
            except (OSError, KafkaError, TimeoutError) as error:
                log.error("Unable to connect to %s:%s: %s", host, port, error)
                # aiokafka's errors put their names and numbers before what they say.
                reason = error.args[0] if isinstance(error, KafkaError) and error.args else error
                continue
            self.cluster.update_metadata(found)
            if self.cluster.brokers():
                await connection.close()
            else:  # a cluster without nodes yet: aiokafka asks here again
                self._conns["bootstrap", ConnectionGroup.DEFAULT] = connection
            break
        else:
            raise KafkaConnectionError(str(reason))
        if self._sync_task is None:
            self._sync_task = asyncio.create_task(self._md_synchronizer())

    async def close(self) -> None:
        """Close every connection: those too that are being replaced, and at once those that a
        request still under way is making.
        """
        self._closed = True
        for task in self._renewing:
            task.cancel()
        if self._renewing:
            await asyncio.wait(self._renewing)
        while self._retired:
            await self._retired.pop().close(reason=CloseReason.SHUTDOWN)
        parent: Any = super()
        await parent.close()
        if self._md_update_fut is not None and not self._md_update_fut.done():
            self._md_update_fut.set_result(False)  # nobody is left to do it

    def force_metadata_update(self) -> asyncio.Future[bool]:
        """Learn the cluster's nodes anew; the future says whether that went well."""
        if self._closed:
            never = asyncio.get_running_loop().create_future()
            never.set_result(False)
            return never
        parent: Any = super()
        updating: asyncio.Future[bool] = parent.force_metadata_update()
        return updating

    async def _get_conn(
        self,
        node_id: Any,
        *,
        group: Hashable = ConnectionGroup.DEFAULT,
        no_hint: bool = False,
    ) -> Connection | None:
        name = (node_id, group)
        found = self._usable(name)
        if found is not None or self._closed:
            return found
        making = self._making.get(name)
        if making is None:
            making = self._making[name] = self._begin(self._make(name))
            making.add_done_callback(lambda _: self._making.pop(name, None))
        # All who want this one wait for the one try, and nobody for that of another node.
        await asyncio.wait((making,))
        return None if making.cancelled() else making.result()

    def is_connected(self, node_id: int) -> bool:
        """Whether a request to a node need not wait for a connection."""
        found: Connection | None = self._conns.get((node_id, ConnectionGroup.DEFAULT))
        return found is not None and found.is_usable

    async def _make(self, name: tuple[Any, Hashable]) -> Connection | None:
        try:
            made = await self._open_node(name[0])
        except (OSError, TimeoutError, KafkaError) as error:
            log.error("Unable to connect to node %s: %s", name[0], error)
            self.force_metadata_update()  # the node may have moved
            return None
        return await self._take_over(name, made)

    def _usable(self, name: tuple[Any, Hashable]) -> Connection | None:
        found: Connection | None = self._conns.get(name)
        if found is None or not found.is_usable:
            return None
        if found.is_due:
            found.try_again_later()
            self._begin(self._renew(name, found))
        return found

    async def _renew(self, name: tuple[Any, Hashable], old: Connection) -> None:
        """Put a connection with a fresh login in the place of `old`, which may be used until then.
        When there is none to be had `old` stays, and it is tried again.
        """
        try:
            made = await self._open_node(name[0])
        except (OSError, TimeoutError, KafkaError) as error:
            log.error("Unable to log in anew to node %s: %s", name[0], error)
            return
        if self._conns.get(name) is old:
            await self._take_over(name, made)
        else:
            await made.close(reason=CloseReason.SHUTDOWN)

    async def _take_over(self, name: tuple[Any, Hashable], made: Connection) -> Connection | None:
        """Use `made` from now on; what is under way on the one before is answered first. None when
        the client was closed meanwhile.
        """
        if self._closed:
            await made.close(reason=CloseReason.SHUTDOWN)
            return None
        old = self._conns.get(name)
        self._conns[name] = made
        if old is not None:
            self._retired.add(old)
            self._begin(self._close_when_answered(old))
        return made

    async def _close_when_answered(self, old: Connection) -> None:
        while waiting := old.answers():
            await asyncio.wait(waiting)
        self._retired.discard(old)
        await old.close(reason=CloseReason.SHUTDOWN)

    def _begin(self, work: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
        task = asyncio.create_task(work)
        self._renewing.add(task)
        task.add_done_callback(self._renewing.discard)
        return task

    async def _open_node(self, node: Any) -> Connection:
        broker = self.cluster.broker_metadata(node)
        if broker is None:
            raise StaleMetadata(f"Broker id {node} not in current metadata")
        return await self._open(broker.host, broker.port, self._on_connection_closed)

    async def _open(self, host: str, port: int, on_close: Any = None) -> Connection:
        made = Connection(
            host,
            port,
            self._security,
            client_id=self._client_id,
            request_timeout_ms=self._request_timeout_ms,
            max_idle_ms=self._connections_max_idle_ms,
            on_close=on_close,
        )
        await made.connect()
        return made
