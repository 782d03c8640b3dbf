"""A worker's web server: uvicorn in the worker's own event loop, for the length of a block.

Shell. A loop that is blocked answers nobody: that is what `/health` is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from flowstream.errors import FlowstreamError
from flowstream.processing.environment.settings import Settings
from flowstream.processing.errors import SettingsError
from flowstream.processing.queries.asked import RETRY_AFTER
from flowstream.processing.worker import Worker
from flowstream.web.answering import failed
from flowstream.web.app import application
from flowstream.web.guard import PUBLIC, check_binding
from flowstream.web.tables import Tables

log = logging.getLogger("flowstream.web")

MOST_VISITS = 256
"""Requests at a time; who comes then is answered 503 (X3), but for whoever asks whether the worker
lives: a probe that is turned away would have it killed.
"""
SPARE_VISITS = 64
"""Connections for such questions, and for those that are to hear the 503."""
GOODBYE_S = 1


class WebUnavailable(FlowstreamError):
    """The web server cannot listen where it should."""


@contextlib.asynccontextmanager
async def serving(worker: Worker) -> AsyncIterator[str | None]:
    """Serve a worker by its app's settings for the length of a block; gives HOST:PORT.

    None, and nothing is served, when `web_port` is None. Enter it before `worker.run()`: the
    worker tells its group where it can be visited.
    """
    settings = worker.settings
    if settings.web_port is None:
        yield None
        return
    check_binding(settings)
    tables = Tables(worker)
    server = _server(application(worker, [*tables.routes(), *tables.pages().routes()]))
    listening = bound(settings)
    try:
        address = advertised(settings, listening)
    except SettingsError:
        listening.close()
        raise
    worker.web_address = address
    running = asyncio.create_task(server.serve(sockets=[listening]), name="flowstream-web")
    log.info("health and metrics at http://%s/", address)
    try:
        yield address
    finally:
        worker.web_address = None
        server.should_exit = True
        await asyncio.wait((running,))
        await tables.close()
        listening.close()
        if not running.cancelled() and (error := running.exception()) is not None:
            log.warning("the web server ended badly: %r", error)


def bound(settings: Settings) -> socket.socket:
    """A socket that listens where the settings say."""
    host, port = settings.web_host, settings.web_port or 0
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, target = found[0]
        listening = socket.create_server(target[:2], family=family, backlog=128)
        # For the connections that are accepted: asyncio sets it where a socket's protocol is named,
        # and without it the second part of an answer waits 40 ms for the first's acknowledgement.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise WebUnavailable(
            f"the web server cannot listen at {host}:{port} ({error.strerror or error}): choose"
            " another web_port (0: any that is free)"
        ) from error
    listening.setblocking(False)
    return listening


def advertised(settings: Settings, listening: socket.socket) -> str:
    """HOST:PORT under which others reach the server."""
    host, port = listening.getsockname()[:2]
    if settings.web_advertised is not None:
        name, colon, given = settings.web_advertised.rpartition(":")
        if not colon or settings.web_advertised.endswith("]"):
            return f"{settings.web_advertised}:{port}"
        if not given.isdigit() or not name:
            raise SettingsError(
                f"web_advertised={settings.web_advertised!r} is not HOST or HOST:PORT"
            )
        return settings.web_advertised
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Server(uvicorn.Server):
    """Signals are the worker's affair."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Bounded:
    """An application that so many visit at a time."""

    def __init__(self, inner: ASGIApp, most: int) -> None:
        self._inner = inner
        self._most = most
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in PUBLIC:
            await self._inner(scope, receive, send)
            return
        if self._inside >= self._most:
            told = f"{self._most} visitors are here already"
            await failed(503, told, RETRY_AFTER)(scope, receive, send)
            return
        self._inside += 1
        try:
            await self._inner(scope, receive, send)
        finally:
            self._inside -= 1


def _server(application: ASGIApp) -> _Server:
    config = uvicorn.Config(
        _Bounded(application, MOST_VISITS),
        http="h11",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_VISITS + SPARE_VISITS,
        timeout_graceful_shutdown=GOODBYE_S,
    )
    return _Server(config)
