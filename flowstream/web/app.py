"""The web application of one worker: routes, who may come in, and errors as JSON.

Shell: reads the worker in its own event loop. One visitor's fault is that visitor's alone (X4).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowstream.processing.environment.settings import Settings
from flowstream.processing.errors import Misdirected
from flowstream.processing.queries.asked import Refused, kind_of, status_of
from flowstream.processing.queries.reading import read
from flowstream.processing.queries.router import ASKED_APP, MISDIRECTED
from flowstream.processing.worker import Worker
from flowstream.web.answering import failed, json
from flowstream.web.exposition import CONTENT_TYPE, Exposition
from flowstream.web.guard import FORGED, PUBLIC, Refusal, is_forged, refusal
from flowstream.web.health import Verdict, health, readiness
from flowstream.web.index import index
from flowstream.web.sharing import LET_IN, Shared


class Watching:
    """`/health`, `/ready` and `/metrics`."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._exposition = Exposition()
        self._scraping = asyncio.Lock()

    def routes(self) -> list[BaseRoute]:
        """Where they are."""
        return [
            Route("/health", self._health),
            Route("/ready", self._ready),
            Route("/metrics", self._metrics),
        ]

    async def _health(self, request: Request) -> Response:
        return self._told(request, health(read(self._worker)))

    async def _ready(self, request: Request) -> Response:
        return self._told(request, readiness(read(self._worker)))

    def _told(self, request: Request, verdict: Verdict) -> Response:
        body: dict[str, object] = {"status": verdict.word}
        if refusal(self._worker.settings, request.headers) is None:
            body["reasons"] = verdict.reasons
        return json(body, 200 if verdict.is_good else 503)

    async def _metrics(self, request: Request) -> Response:
        del request
        async with self._scraping:
            reading = read(self._worker)
            text = await asyncio.to_thread(self._exposition.text, reading)
        return Response(text, media_type=CONTENT_TYPE)


class Guarded:
    """An app's web application that only those visit who may, and who mean it."""

    def __init__(self, inner: ASGIApp, app_id: str, settings: Settings) -> None:
        self._inner = inner
        self._app_id = app_id
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http" and scope["path"] not in PUBLIC:
            headers = Headers(scope=scope)
            refused = refusal(self._settings, headers)
            is_known = refused is not None or scope.get(LET_IN, False)
            if not is_known and is_forged(self._settings, scope["method"], headers):
                refused = Refusal(403, FORGED)
            if refused is not None:
                asks = {"WWW-Authenticate": "Bearer"} if refused.status == 401 else None
                await failed(refused.status, refused.reason, asks)(scope, receive, send)
                return
            if headers.get(ASKED_APP, self._app_id) != self._app_id:
                # A worker of that app was here, and was found by what its group knew of it last.
                error = Misdirected(f"this is a worker of app {self._app_id!r}, of no other")
                told = Refused(kind_of(error), str(error))
                await json(told, status_of(error), {MISDIRECTED: "1"})(scope, receive, send)
                return
        await self._inner(scope, receive, send)


class Sensed:
    """An application whose requests are told to the app's sensors."""

    def __init__(self, inner: ASGIApp, worker: Worker) -> None:
        self._inner = inner
        self._worker = worker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; one that is never answered counts as an error of the server."""
        sensors, status = self._worker.app.sensors, [500]
        if scope["type"] != "http" or not sensors:
            await self._inner(scope, receive, send)
            return

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
            await send(message)

        request, app = Request(scope), self._worker.app
        states = sensors.begun("on_web_request_start", app, request)
        try:
            await self._inner(scope, receive, noting)
        finally:
            for sensor, state in states.items():
                sensors.ended("on_web_request_end", {sensor: state}, app, request, status[0])


def application(worker: Worker, more: Sequence[BaseRoute] = ()) -> ASGIApp:
    """The worker's web application, with further routes."""

    async def root(request: Request) -> Response:
        return index(worker.app, request)

    # Behind the app's own pages, one of which may be there.
    routes = [*Watching(worker).routes(), *more, Route("/", root)]
    inner = Starlette(routes=routes, exception_handlers={HTTPException: _http_error})
    return Sensed(Shared(Guarded(inner, worker.app_id, worker.settings), worker.app), worker)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = None if error.headers is None else dict(error.headers)
    return failed(error.status_code, f"{request.url.path}: {error.detail}", headers)
