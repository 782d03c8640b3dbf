"""The listening socket: accepts clients up to the bounds, and looks after idle connections. It must
not know requests.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import random
import socket
from collections import Counter
from math import ceil
from typing import TYPE_CHECKING

from flowstream.broker.addresses import spelled
from flowstream.broker.cores import Cores
from flowstream.broker.quotas import CONNECT
from flowstream.broker.security.listeners import ListenerSpec
from flowstream.broker.server.connection import Connection
from flowstream.broker.server.driver import Driver
from flowstream.broker.server.ports import candidates, ephemeral_from, written
from flowstream.broker.storage.disk import open_connections
from flowstream.broker.types import LOCAL, ConnectionId, Session
from flowstream.errors import FlowstreamError
from flowstream.sparing import SparingLog

if TYPE_CHECKING:
    from flowstream.broker.server.tls import TlsContext

log = logging.getLogger("flowstream.broker")

BACKLOG = 512
ACCEPTS_PER_TURN = 64
SWEEP_SECONDS = 5.0
RETRY_SECONDS = 0.5
QUIET_SECONDS = 1.0
"""Between two lines about connections that were refused."""
LEAST_SWEEP_SECONDS = 0.25
LOGIN_SECONDS = 30.0
"""In this time a client must have shaken hands and logged in (X3)."""


class ListenError(FlowstreamError):
    """The address cannot be bound; the message says which and what to do."""


class PortTaken(ListenError):
    """Somebody else listens there, or holds the port for an outgoing connection."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket on `host:port`; port 0 picks a free one. Raises ListenError."""
    if port:
        return _bind(host, port)
    for candidate in candidates(random.SystemRandom(), ephemeral_from()):
        try:
            return _bind(host, candidate)
        except PortTaken:
            continue
    raise ListenError(f"no free port on {host}")


def _bind(host: str, port: int) -> socket.socket:
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = infos[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ListenError(f"cannot resolve {host!r}: {error}") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            message = f"port {port} on {host} is taken: choose another with --port, 0 picks one"
            raise PortTaken(message) from error
        raise ListenError(f"cannot listen on {written(host, port)}: {error}") from error
    return listening


class ConnectionIds:
    """Numbers for the connections of all listeners of one driver."""

    def __init__(self) -> None:
        self._last = 0

    def take(self) -> ConnectionId:
        """The next one."""
        self._last += 1
        return ConnectionId(self._last)


class Listener:
    """Accepts connections for a driver until it is closed. Several listeners of one driver share
    their `ids`; without `tls`, which is `tls_context` of its `spec`, it is plain.
    """

    def __init__(
        self,
        listening: socket.socket,
        driver: Driver,
        cores: Cores,
        spec: ListenerSpec | None = None,
        ids: ConnectionIds | None = None,
        tls: TlsContext | None = None,
    ) -> None:
        self._listening = listening
        self._session = LOCAL
        self._sasl = False
        self._tls = tls
        if spec is not None:
            self._session = Session(listener=spec.name, protocol=spec.protocol)
            self._sasl = spec.sasl
        self._ids = ids or ConnectionIds()
        self._most = open_connections()
        self._driver = driver
        self._cores = cores
        self._loop = asyncio.get_running_loop()
        idle_s = cores.config.connections_max_idle_ms / 1000
        self._step_s = sweep_step(idle_s)
        self._idle_sweeps = None if idle_s < 0 else max(1, ceil(idle_s / self._step_s))
        self._login_sweeps = ceil(LOGIN_SECONDS / self._step_s)
        self._sweep_timer = self._loop.call_later(self._step_s, self._sweep)
        self._accepting = False
        self._refusals = SparingLog(log, QUIET_SECONDS)
        self._listen()

    @property
    def port(self) -> int:
        """The port that clients connect to."""
        port: int = self._listening.getsockname()[1]
        return port

    @property
    def tls(self) -> bool:
        """Whether bytes are encrypted."""
        return self._tls is not None

    def reload(self) -> None:
        """Load the certificates now."""
        if self._tls is not None:
            self._tls.reload()

    def close(self) -> None:
        """Accept nobody any more."""
        self._sweep_timer.cancel()
        self._refusals.flush()
        if self._tls is not None:
            self._tls.failures.flush()
        if self._accepting:
            self._loop.remove_reader(self._listening.fileno())
        self._accepting = False
        self._listening.close()

    def _listen(self) -> None:
        if self._listening.fileno() >= 0:
            self._accepting = True
            self._loop.add_reader(self._listening.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                client, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # Out of file descriptors or memory: go on with the clients that are there, look
                # again soon.
                log.warning("cannot accept a connection: %s", error)
                self._loop.remove_reader(self._listening.fileno())
                self._accepting = False
                self._loop.call_later(RETRY_SECONDS, self._listen)
                return
            self._connected(client, spelled(str(address[0])))

    def _connected(self, client: socket.socket, host: str) -> None:
        connections = self._driver.connections
        if self._driver.failed is not None:
            client.close()  # nothing would be answered
            return
        config = self._cores.config  # it may change while we run
        counters = self._driver.counters
        if len(connections) >= min(config.max_connections, self._most):
            limit = "max.connections" if self._most > config.max_connections else "ulimit -n"
            self._refuse(client, host, f"{limit} leaves no room beside {len(connections)} others")
            return
        if self._too_many_from(host):
            self._refuse(client, host, "max.connections.per.ip")
            return
        quotas = self._cores.quotas
        if CONNECT in quotas.limited and not quotas.admits(host, self._driver.now()):
            self._refuse(client, host, "connection_creation_rate")
            return
        if counters is not None:
            counters.accepted += 1
        id = self._ids.take()
        try:
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connections[id] = self._connection(id, client, host)
        except OSError as error:
            client.close()  # gone already
            log.debug("connection from %s: %s", host, error)

    def _connection(self, id: ConnectionId, client: socket.socket, host: str) -> Connection:
        largest, logged_in = self._cores.config.socket_request_max_bytes, not self._sasl
        if self._tls is None:
            return Connection(
                id,
                client,
                host,
                self._driver,
                self._loop,
                largest,
                self._session,
                logged_in=logged_in,
            )
        from flowstream.broker.server.tls import TlsConnection, TlsSocket

        return TlsConnection(
            id,
            TlsSocket(client, self._tls.current()),
            host,
            self._driver,
            self._loop,
            largest,
            self._session,
            logged_in=logged_in,
            rules=self._tls.rules,
            failures=self._tls.failures,
        )

    def _refuse(self, client: socket.socket, host: str, limit: str) -> None:
        """Who is refused comes again at once: the log has a line a second, not one each (X4)."""
        client.close()
        if self._driver.counters is not None:
            self._driver.counters.refused += 1
        line = f"connection from {host} refused: {limit}"
        self._refusals.warn(line, self._driver.now() / 1000, self._loop.call_later)

    def _too_many_from(self, host: str) -> bool:
        config = self._cores.config
        allowed = config.max_connections_per_ip
        if allowed >= config.max_connections:
            return False
        return Counter(c.host for c in self._driver.connections.values())[host] >= allowed

    def _sweep(self) -> None:
        self._sweep_timer = self._loop.call_later(self._step_s, self._sweep)
        for connection in list(self._driver.connections.values()):
            if connection.session.listener != self._session.listener:
                continue
            connection.sweep()
            if self._idle_sweeps is not None and connection.idle_sweeps > self._idle_sweeps:
                connection.close("idle for longer than connections.max.idle.ms")
            elif not connection.established and connection.sweeps > self._login_sweeps:
                connection.close("no login in time")


def sweep_step(idle_s: float) -> float:
    """Seconds from one look at all connections to the next, so that `connections.max.idle.ms` is
    kept to a fourth.

    >>> sweep_step(600), sweep_step(10), sweep_step(0.1), sweep_step(-0.001)
    (5.0, 2.5, 0.25, 5.0)
    """
    if idle_s < 0:
        return SWEEP_SECONDS
    return max(LEAST_SWEEP_SECONDS, min(SWEEP_SECONDS, idle_s / 4))


def tls_context(spec: ListenerSpec, rules: str) -> TlsContext | None:
    """The TLS settings of a listener, None for a plain one. The module is imported only where it is
    needed: start-up time counts. Raises TlsError.
    """
    if not spec.tls:
        return None
    from flowstream.broker.server.tls import TlsContext

    return TlsContext(spec, rules)
