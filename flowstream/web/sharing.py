"""What pages of other origins may do with an app's pages: CORS, by the library of the web server.

Shell. In front of the guard: a browser asks beforehand, without a token.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from flowstream.processing.app import App
from flowstream.processing.environment.cross_origin import cross_origin

LET_IN = "flowstream.let_in"
"""Says of a request that its page knows its origin."""


class Shared:
    """An application whose pages say to browsers which origins may use them, and how."""

    def __init__(self, inner: ASGIApp, app: App) -> None:
        self._inner = inner
        usual = cross_origin(app.settings.web_cors_options or {})
        self._pages = [
            (
                compile_path(page.path)[0],
                {
                    origin: CORSMiddleware(
                        inner,
                        allow_origins=[origin],
                        allow_methods=may.allow_methods or [each.upper() for each in page.handlers],
                        allow_headers=may.allow_headers,
                        allow_credentials=may.allow_credentials,
                        expose_headers=may.expose_headers,
                        max_age=may.max_age,
                    )
                    for origin, may in {**usual, **page.cross_origin}.items()
                },
            )
            for page in app.pages.values()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        inner = self._inner
        if scope["type"] == "http" and (origin := Headers(scope=scope).get("origin")):
            found = next((by for path, by in self._pages if path.match(scope["path"])), {})
            by = found.get(origin) or found.get("*")
            if by is not None:
                inner, scope = by, {**scope, LET_IN: True}
        await inner(scope, receive, send)
