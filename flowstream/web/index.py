"""What is on a worker's web server, for whoever comes to its root: a page for people, JSON for
programs. An app's own page at "/" is in its place.

Pure but for the library's objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from flowstream.processing.app import App
from flowstream.processing.tables.showing import kind_of
from flowstream.web.answering import json


class Entry(NamedTuple):
    """A path, and what is there."""

    path: str
    what: str


def entries(app: App) -> Iterator[Entry]:
    """Everything that can be visited."""
    yield Entry("/health", "whether the worker lives")
    yield Entry("/ready", "whether it has its share of the work, and does it")
    yield Entry("/metrics", "for Prometheus")
    yield Entry("/tables", "the app's tables")
    for name, table in sorted(app.tables.items()):
        yield Entry(f"/tables/{name}", f"rows, {kind_of(table)}; /tables/{name}/KEY is one key's")
    for page in app.pages.values():
        yield Entry(page.path, f"page {page.name}")


def index(app: App, request: Request) -> Response:
    """The answer."""
    found = list(entries(app))
    if "text/html" not in request.headers.get("accept", ""):
        return json({"app": app.id, "paths": [each._asdict() for each in found]})
    lines = "\n".join(f"<li>{_link(each.path)} {escape(each.what)}</li>" for each in found)
    name = escape(app.id)
    return HTMLResponse(
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title></head>'
        f"<body>\n<h1>{name}</h1>\n<ul>\n{lines}\n</ul>\n</body></html>\n"
    )


def _link(path: str) -> str:
    shown = escape(path)
    return shown if "{" in path else f'<a href="{shown}">{shown}</a>'
