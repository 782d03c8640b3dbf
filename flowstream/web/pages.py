"""An app's own pages on a worker's web server; those of a table's key run where that key is.

Shell: finds the worker, hands the request on or gives the page what is committed here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from flowstream.processing.declarations.pages import ROUTE, KeyRoute, Page, PageAnswer
from flowstream.processing.duties.matching import matched, read_by_name
from flowstream.processing.errors import (
    AppError,
    AppExited,
    Misdirected,
    QueryError,
    TableUnavailable,
)
from flowstream.processing.events.current import READING
from flowstream.processing.queries.answers import Answers
from flowstream.processing.queries.asked import RETRY_AFTER, Refused, kind_of, status_of
from flowstream.processing.queries.router import MISDIRECTED, Router
from flowstream.processing.running.reader import TableReader
from flowstream.processing.tables.showing import parse_key, parsed
from flowstream.processing.units.task import TaskId
from flowstream.processing.worker import Worker
from flowstream.state.store import StoreError
from flowstream.web.answering import failed, json
from flowstream.web.guard import ROUTED
from flowstream.wire.hashing import partition_for_key

log = logging.getLogger("flowstream.web")

BODY_BYTES = 1 << 20
TIMEOUT_S = 5.0
NOT_HANDED_ON = frozenset(
    ("connection", "content-length", "expect", "host", "keep-alive", "te", "trailer",
     "transfer-encoding", "upgrade", ROUTED)
)  # fmt: skip
NOT_HANDED_BACK = NOT_HANDED_ON | {"content-encoding", "date", "server"}


class PageRequest(Request):
    """A request with Faust's names, which are those of aiohttp."""

    @property
    def match_info(self) -> Mapping[str, str]:
        """What the path holds."""
        return self.path_params

    @property
    def query(self) -> Mapping[str, str]:
        """What the query holds."""
        return self.query_params

    async def read(self) -> bytes:
        """The body."""
        return await self.body()

    async def text(self) -> str:
        """The body as text."""
        return (await self.body()).decode()


class Pages:
    """The pages of a worker's app."""

    def __init__(self, worker: Worker, answers: Answers, router: Router) -> None:
        self._worker = worker
        self._answers = answers
        self._router = router

    def routes(self) -> list[BaseRoute]:
        """Where they are. AppError for a route by a topic that nobody reads."""
        app = self._worker.app
        read = read_by_name(app) | matched(app, app.topics)
        for page in app.pages.values():
            for handler in page.handlers.values():
                route = getattr(handler, ROUTE, None)
                if route is not None and route.kind == "topic_route" and route.of not in read:
                    raise AppError(
                        f"page {page.path!r}: topic_route goes to whoever reads topic"
                        f" {route.of!r}, and no agent does"
                    )
        return [
            Route(page.path, self._handler(page), methods=[m.upper() for m in page.handlers],
                  name=page.name)
            for page in self._worker.app.pages.values()
        ]  # fmt: skip

    def _handler(self, page: Page) -> Any:
        async def answer(request: Request) -> Response:
            asked = PageRequest(request.scope, request.receive)
            handler = page.handlers[_method(page, request.method)]
            route = getattr(handler, ROUTE, None)
            try:
                if route is None:
                    return await self._run(page, handler, asked)
                return await self._routed(page, handler, asked, route)
            except (QueryError, AppError) as error:
                status = status_of(error)
                return json(Refused(kind_of(error), str(error)), status, _again(status))
            except SystemExit as asked:
                self._worker.fail(AppExited(f"page {page.path}", asked))
                return failed(503, f"page {page.path} has ended the worker")
            except Exception as error:  # the outermost line of user code
                log.exception("page %s failed", page.path)
                del error
                return failed(500, f"page {page.path} failed: the worker's log says why")

        return answer

    async def _run(self, page: Page, handler: Any, request: PageRequest) -> Response:
        view = page.view(self._worker.app)
        found = await handler(view, request, **request.match_info)
        if not isinstance(found, PageAnswer):
            raise TypeError(
                f"page {page.path} returned {type(found).__name__}: return view.json(...),"
                " view.text(...) or view.html(...)"
            )
        return Response(found.body, found.status, dict(found.headers), found.content_type)

    async def _routed(
        self, page: Page, handler: Any, request: PageRequest, route: KeyRoute
    ) -> Response:
        id = await self._task_of(route, _key(route, request))
        if self._answers.runs(id):
            return await self._here(page, handler, request, id)
        what = f"{route.what}, partition {id.number}"
        if ROUTED in request.headers:
            error = Misdirected(f"{what} is not at this worker")
            refused = Refused(kind_of(error), str(error))
            return json(refused, status_of(error), {MISDIRECTED: "1"})
        return await self._there(request, what, id)

    async def _task_of(self, route: KeyRoute, text: str) -> TaskId:
        """The task that has a key."""
        app, plan = self._worker.app, self._worker.plan
        if route.kind == "table_route":
            table = app.tables[route.of]
            data = table.key_codec.encode(parse_key(table, text))
            count = await self._router.partitions(app.changelog(route.of), route.of, TIMEOUT_S)
        elif plan is None:
            raise TableUnavailable("this worker has not joined its group, try again")
        else:
            topic = app.topics[route.of]
            data = topic.key_codec.encode(parsed(topic.key_codec, text, route.what))
            if route.of not in plan.sources:
                raise TableUnavailable(f"topic {route.of!r} is not there yet, try again")
            count = plan.sources[route.of]
        return TaskId(count, partition_for_key(data, count))

    async def _here(self, page: Page, handler: Any, request: PageRequest, id: TaskId) -> Response:
        plans, stores = self._answers.stores(id)
        reader = TableReader(plans, stores, id.number, self._worker.wall_time_ms())
        token = READING.set(reader)
        try:
            return await self._run(page, handler, request)
        except StoreError as error:
            # The task went away while the page awaited something.
            return json(Refused("unavailable", str(error)), 503, RETRY_AFTER)
        finally:
            READING.reset(token)

    async def _there(self, request: PageRequest, what: str, id: TaskId) -> Response:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > BODY_BYTES:
                return failed(413, f"a request that is handed on has {BODY_BYTES} bytes at most")
        headers = [
            (k, v) for k, v in request.headers.raw if k.decode("latin-1") not in NOT_HANDED_ON
        ]
        found = await self._router.forward(
            id, what, request.method, _target(request), [*headers, (ROUTED.encode(), b"1")],
            bytes(body), TIMEOUT_S,
        )  # fmt: skip
        answer = Response(found.content, found.status_code)
        for name, value in found.headers.multi_items():
            if name.lower() not in NOT_HANDED_BACK:
                answer.headers.append(name, value)
        return answer


def _target(request: Request) -> str:
    """Path and query as they came: a path that was decoded and is encoded anew is another key's,
    where that has a percent sign.
    """
    path: bytes = request.scope["raw_path"]
    query: bytes = request.scope["query_string"]
    return (path + b"?" + query if query else path).decode("ascii").replace("#", "%23")


def _method(page: Page, asked: str) -> str:
    method = asked.lower()
    return "get" if method == "head" and "get" in page.handlers else method


def _key(route: KeyRoute, request: PageRequest) -> str:
    if route.exact_key is not None:
        return route.exact_key
    if route.match_info is not None:
        return request.match_info[route.match_info]
    assert route.query_param is not None
    found = request.query.get(route.query_param)
    if found is None:
        raise AppError(f"say ?{route.query_param}=: it is the key of {route.what}")
    return found


def _again(status: int) -> dict[str, str] | None:
    return RETRY_AFTER if status == 503 else None
