"""Web pages that an app declares: a path, what answers there, and whose table says which worker.

Declares only; a worker's web server serves them. Knows no HTTP library.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, TypeVar

import msgspec

from flowstream.processing.declaring import check_called, described
from flowstream.processing.environment.cross_origin import CrossOrigin, cross_origin
from flowstream.processing.errors import AppError
from flowstream.processing.events.topic import Topic
from flowstream.processing.instead import telling
from flowstream.processing.tables.showing import builtins
from flowstream.processing.tables.table import Table

P = TypeVar("P", bound="Callable[..., Any] | type[View]")
F = TypeVar("F", bound="Callable[..., Any]")

METHODS = ("get", "post", "put", "patch", "delete", "options")
RESERVED = ("/health", "/ready", "/metrics", "/tables", "/-")
"""What the worker's own web server answers."""
ROUTE = "__flowstream_route__"
_SEGMENT = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}|[^{}]+")


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """What a page answers; made by a `View`."""

    body: bytes
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


class View:
    """What answers at a page's path: a method per HTTP method, as `get(request, **match_info)`.

    A plain function is given one as its first argument (Faust calls it `self` or `web`).
    """

    methods: ClassVar[tuple[str, ...]] = METHODS

    def __init__(self, app: Any) -> None:
        self.app = app

    def json(
        self,
        value: Any,
        *,
        content_type: str | None = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> PageAnswer:
        """A value as JSON."""
        body = msgspec.json.encode(builtins(value), enc_hook=str)
        return _answer(body, content_type or "application/json", status, headers)

    def text(
        self,
        value: str,
        *,
        content_type: str | None = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> PageAnswer:
        """Plain text."""
        kind = content_type or "text/plain; charset=utf-8"
        return _answer(value.encode(), kind, status, headers)

    def html(
        self,
        value: str,
        *,
        content_type: str | None = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> PageAnswer:
        """A page for a browser; escape what is not yours (`html.escape`)."""
        return _answer(value.encode(), content_type or "text/html; charset=utf-8", status, headers)

    def bytes(
        self,
        value: bytes,
        *,
        content_type: str | None = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> PageAnswer:
        """Bytes as they are."""
        return _answer(value, content_type or "application/octet-stream", status, headers)

    def error(self, status: int, reason: str, **more: Any) -> PageAnswer:
        """What went wrong, as JSON."""
        return self.json({"error": reason, **more}, status=status)

    def notfound(self, reason: str = "Not Found", **more: Any) -> PageAnswer:
        """404."""
        return self.error(404, reason, **more)


def _answer(
    body: bytes, content_type: str, status: int, headers: Mapping[str, str] | None
) -> PageAnswer:
    return PageAnswer(body, status, content_type, dict(headers or {}))


@dataclass(frozen=True, slots=True)
class KeyRoute:
    """The key of a table or a topic that says which worker answers: out of the path, the query, or
    fixed. `kind`: the decorator that says so.
    """

    kind: Literal["table_route", "topic_route"]
    of: str
    match_info: str | None = None
    query_param: str | None = None
    exact_key: str | None = None

    @property
    def what(self) -> str:
        """What it goes by, for people."""
        return f"{self.kind.removesuffix('_route')} {self.of!r}"


@dataclass(frozen=True, slots=True)
class Page:
    """A path, and what answers there by HTTP method."""

    path: str
    name: str
    view: Callable[[Any], View]
    handlers: Mapping[str, Callable[..., Any]]
    """Called with a view, the request and what the path holds."""
    cross_origin: Mapping[str, CrossOrigin] = field(default_factory=dict)
    """What pages of other origins may do with it, beside what the app's settings say."""


class DeclaresPages:
    """The part of an app that has web pages."""

    tables: dict[str, Table[Any, Any]]
    topics: dict[str, Topic[Any, Any]]

    def __init__(self) -> None:
        super().__init__()
        self.pages: dict[str, Page] = {}

    @telling("App.page")
    def page(
        self,
        path: str,
        *,
        name: str | None = None,
        base: type[View] | None = None,
        cors_options: Mapping[str, Any] | None = None,
    ) -> Callable[[P], P]:
        """Answer at a path of the workers' web server (`web_port`): an async function
        `(view, request, **match_info)` for GET, or a `View` class with a method per HTTP method.

        `{word}` in the path is given on as `word`. A function gets a view of the class `base`.
        `cors_options`: by origin, what pages of others may do with it, beside the setting
        `web_cors_options`.
        """
        check_called(path, "its path", "@app.page('/orders')")
        matched = check_path(path)
        try:
            shared = cross_origin(cors_options or {})
        except ValueError as error:
            raise AppError(f"page {path!r}: cors_options: {error}") from None
        if path in self.pages:
            raise AppError(f"page {path!r} is declared twice")

        def declare(answers: P) -> P:
            page = replace(page_of(path, answers, name, base), cross_origin=shared)
            for method, handler in page.handlers.items():
                check_route(path, method, getattr(handler, ROUTE, None), matched)
                check_arguments(path, method, handler, matched)
            self.pages[path] = page
            return answers

        return declare

    @telling("App.table_route")
    def table_route(
        self,
        table: Any,
        *,
        match_info: str | None = None,
        query_param: str | None = None,
        exact_key: str | None = None,
        shard_param: str | None = None,
    ) -> Callable[[F], F]:
        """Have a page's function run on the worker that owns the key of a table, where it may read
        the table: the committed rows of the key's partition. Stands below `page`.

        The key is what `match_info` names in the path, `query_param` in the query, or `exact_key`.
        `shard_param` is an older name of `query_param`.
        """
        if shard_param is not None:
            if query_param is not None:
                raise AppError("table_route: shard_param is query_param: leave one out")
            query_param = shard_param
        name = getattr(table, "name", None)
        if name not in self.tables:
            raise AppError(f"table_route: {table!r} is no table of this app")
        return marking(KeyRoute("table_route", str(name), match_info, query_param, exact_key))

    @telling("App.topic_route")
    def topic_route(
        self,
        topic: Topic[Any, Any],
        *,
        match_info: str | None = None,
        query_param: str | None = None,
        exact_key: str | None = None,
    ) -> Callable[[F], F]:
        """Have a page's function run on the worker whose agents get the topic's events of a key,
        where it may read the tables of the key's partition. The rest is as for `table_route`.
        """
        name = getattr(topic, "name", None)
        if name is None or self.topics.get(name) is not topic:
            raise AppError(f"topic_route: {topic!r} is no topic of this app")
        return marking(KeyRoute("topic_route", name, match_info, query_param, exact_key))


def marking(route: KeyRoute) -> Callable[[F], F]:
    """Says of a page's function which worker runs it."""
    if sum(e is not None for e in (route.match_info, route.query_param, route.exact_key)) != 1:
        raise AppError(
            f"{route.kind}: say one of match_info= (a name in the path), query_param= and"
            " exact_key="
        )

    def mark(function: F) -> F:
        if not inspect.iscoroutinefunction(function):
            raise AppError(f"{route.kind} stands below page, on its async function")
        setattr(function, ROUTE, route)
        return function

    return mark


def _is_view(base: object) -> bool:
    return inspect.isclass(base) and issubclass(base, View)


def page_of(path: str, answers: Any, name: str | None, base: type[View] | None = None) -> Page:
    """A page by what answers there. AppError when that cannot."""
    if base is not None and not _is_view(base):
        raise AppError(f"page {path!r}: base={base!r} is no class of flowstream.View")
    if inspect.isclass(answers):
        if not issubclass(answers, View):
            raise AppError(f"page {path!r}: class {answers.__name__} is not a flowstream.View")
        handlers = {each: getattr(answers, each) for each in METHODS if hasattr(answers, each)}
        if not handlers:
            raise AppError(
                f"page {path!r}: class {answers.__name__} answers nothing: write"
                " `async def get(self, request)`"
            )
        if base is not None:
            raise AppError(f"page {path!r}: class {answers.__name__} is its own base: leave base=")
        view: Callable[[Any], View] = answers
    else:
        handlers, view = {"get": answers}, base or View
    for method, handler in handlers.items():
        if not inspect.iscoroutinefunction(handler):
            raise AppError(
                f"page {path!r}: {method} must be `async def`, with the view and the request as"
                " arguments"
            )
    return Page(path, name or str(answers.__name__), view, handlers)


def check_path(path: object) -> frozenset[str]:
    """The names in a path. AppError when it cannot be one."""
    if not isinstance(path, str):
        raise AppError(f"a page's path is a text, not {described(path)}")
    if not path.startswith("/") or "".join(m[0] for m in _SEGMENT.finditer(path)) != path:
        raise AppError(f"page {path!r}: a path begins with '/', and holds names as {{name}}")
    if any(path == each or path.startswith(f"{each}/") for each in RESERVED):
        raise AppError(f"page {path!r}: the worker itself answers at {', '.join(RESERVED)}")
    return frozenset(m[1] for m in _SEGMENT.finditer(path) if m[1])


def check_arguments(
    path: str, method: str, handler: Callable[..., Any], matched: frozenset[str]
) -> None:
    """AppError when what answers cannot be called with what the path holds."""
    try:
        inspect.signature(handler).bind(None, None, **dict.fromkeys(matched))
    except TypeError as error:
        given = ", ".join(("view", "request", *sorted(matched)))
        raise AppError(f"page {path!r}: {method} is called with ({given}): {error}") from None


def check_route(path: str, method: str, route: KeyRoute | None, matched: frozenset[str]) -> None:
    """AppError when a route looks for its key where the path has none."""
    if route is not None and route.match_info is not None and route.match_info not in matched:
        raise AppError(
            f"page {path!r}, {method}: {route.kind}(match_info={route.match_info!r}), but the path"
            f" holds {sorted(matched) or 'no names'}"
        )
