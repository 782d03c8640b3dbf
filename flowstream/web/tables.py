"""An app's tables over HTTP, on any of its workers: `GET /tables/...` for people and programs, and
what other processes of the app ask the owner of a partition.

Shell. Answers hold committed rows only.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from flowstream.errors import FlowstreamError
from flowstream.processing.errors import AppError, QueryError
from flowstream.processing.events.topic import RecordMetadata
from flowstream.processing.queries.answers import Answers
from flowstream.processing.queries.asked import (
    QUESTION_BYTES,
    RETRY_AFTER,
    Changed,
    Found,
    Question,
    Refused,
    decode_question,
    encode,
    framed,
    kind_of,
    status_of,
)
from flowstream.processing.queries.query import TIMEOUT_S, Query
from flowstream.processing.queries.router import ROWS_PATH, WATCH_PATH, Router
from flowstream.processing.tables.replicated import GlobalTable
from flowstream.processing.tables.showing import builtins, parse_key, parse_prefix
from flowstream.processing.tables.showing import kind_of as kind_of_table
from flowstream.processing.worker import Worker
from flowstream.transport.errors import TransportError
from flowstream.web.answering import failed, json
from flowstream.web.pages import Pages

MOST_ROWS = 10_000
MOST_TIMEOUT_S = 60.0
KEEP_ALIVE_S = 10.0
CONDITIONS = ("after", "max_staleness", "timeout")
ROWS = ("start", "stop", "prefix", "reverse", "limit")
NUMBER = re.compile("[0-9]{1,18}")

Handler = Callable[[Request], Awaitable[Response]]


class Tables:
    """The tables of a worker's app."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._answers = Answers(worker)
        app = worker.app
        self._router = Router(app.id, lambda: app.settings, app.cluster, self._answers)

    def routes(self) -> list[BaseRoute]:
        """Where they are."""
        return [
            Route("/tables", self._list),
            Route("/tables/{name}", _told(self._rows)),
            Route("/tables/{name}/{key:path}", _told(self._get)),
            Route(ROWS_PATH, _told(self._answer), methods=["POST"]),
            Route(WATCH_PATH, _told(self._answer_for_long), methods=["POST"]),
        ]

    def pages(self) -> Pages:
        """The app's pages, which ask as these tables do."""
        return Pages(self._worker, self._answers, self._router)

    async def close(self) -> None:
        """Close connections to other workers."""
        await self._router.close()

    def query(self, name: str) -> Query[Any, Any]:
        """A table's query, which asks this worker first."""
        app = self._worker.app
        if name not in app.tables:
            raise LookupError(f"app {app.id!r} has no table {name!r}")
        return Query(app.tables[name], app.changelog(name), self._router)

    async def _list(self, request: Request) -> Response:
        del request
        found = sorted(self._worker.app.tables.items())
        return json({"tables": [{"name": n, "kind": kind_of_table(t)} for n, t in found]})

    async def _get(self, request: Request) -> Response:
        name, text = request.path_params["name"], request.path_params["key"]
        query = self.query(name)
        key = parse_key(self._worker.app.tables[name], text)
        if _flag(request.query_params, "watch"):
            asked = _known(request, "watch", "timeout")
            changes = query.watch(key, timeout=_seconds(asked, "timeout", TIMEOUT_S))
            first = await anext(changes)  # an error is an answer, not a stream
            return StreamingResponse(_events(first, changes), media_type="text/event-stream",
                                     headers={"Cache-Control": "no-store"})  # fmt: skip
        value = await query.get(key, **_conditions(_known(request, "watch", *CONDITIONS)))
        if value is None:
            return failed(404, f"table {name!r} has no key {text!r}{await self._elsewhere(name)}")
        return json({"key": builtins(key), "value": plain(value)})

    async def _elsewhere(self, name: str) -> str:
        """Where a key's rows may be that are not where it was looked for."""
        app = self._worker.app
        if isinstance(app.tables[name], GlobalTable):
            return ""
        count = await self._router.partitions(app.changelog(name), name, TIMEOUT_S)
        if count == 1:
            return ""
        return (
            f" in the partition (of {count}) where events of that key are: what an agent keeps"
            " under another key than its event's is in the event's partition, and `flowstream"
            f" tables get {name} KEY` looks in all of them"
        )

    async def _rows(self, request: Request) -> Response:
        name, asked = request.path_params["name"], _known(request, *CONDITIONS, *ROWS)
        query, table = self.query(name), self._worker.app.tables[name]
        limit = int(_number(asked, "limit", 100))
        if not 1 <= limit <= MOST_ROWS:
            raise AppError(f"limit must be 1 to {MOST_ROWS}")
        bounds = {
            bound: parse_key(table, asked[bound]) for bound in ("start", "stop") if bound in asked
        }
        prefix = parse_prefix(table, asked["prefix"]) if "prefix" in asked else None
        rows = await query.range(
            **bounds, prefix=prefix, reverse=_flag(asked, "reverse"), limit=limit,
            **_conditions(asked),
        )  # fmt: skip
        return json({"rows": [{"key": builtins(k), "value": plain(v)} for k, v in rows]})

    async def _answer(self, request: Request) -> Response:
        found = await self._answers.rows(await _asked(request))
        return Response(encode(found), media_type="application/msgpack")

    async def _answer_for_long(self, request: Request) -> Response:
        answers = self._answers.watch(await _asked(request))
        first = await anext(answers)
        return StreamingResponse(_frames(first, answers), media_type="application/octet-stream")


def _told(handler: Handler) -> Handler:
    """A handler whose errors are answers: what to do about them, and whether to come again."""

    async def told(request: Request) -> Response:
        try:
            return await handler(request)
        except LookupError as error:
            return failed(404, str(error.args[0]))
        except (QueryError, AppError) as error:
            status = status_of(error)
            headers = RETRY_AFTER if status == 503 else None
            return json(Refused(kind_of(error), str(error)), status, headers)
        except TransportError as error:
            return json(Refused("unavailable", str(error)), 503, RETRY_AFTER)
        except FlowstreamError as error:
            return json(Refused("failed", str(error)), 500)

    return told


async def _asked(request: Request) -> Question:
    question = decode_question(await _body(request))
    return msgspec.structs.replace(question, timeout_s=min(question.timeout_s, MOST_TIMEOUT_S))


async def _body(request: Request) -> bytes:
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > QUESTION_BYTES:
            raise AppError(f"a question has {QUESTION_BYTES} bytes at most")
    return bytes(data)


async def _frames(
    first: Found | Changed, rest: AsyncGenerator[Found | Changed, None]
) -> AsyncIterator[bytes]:
    async with aclosing(rest):
        yield framed(encode(first))
        async for each in rest:
            yield framed(encode(each))


async def _events(first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """Server-sent events: a value each, and a comment now and then, which finds out who is gone."""
    yield _event(first)
    upcoming = asyncio.ensure_future(_next(rest))
    try:
        while True:
            done, _ = await asyncio.wait((upcoming,), timeout=KEEP_ALIVE_S)
            if not done:
                yield b": here\n\n"
                continue
            try:
                value = upcoming.result()
            except (StopAsyncIteration, QueryError) as error:
                yield b"event: end\ndata: " + msgspec.json.encode(str(error)) + b"\n\n"
                return
            yield _event(value)
            upcoming = asyncio.ensure_future(_next(rest))
    finally:
        upcoming.cancel()
        await asyncio.wait((upcoming,))
        close = getattr(rest, "aclose", None)
        if close is not None:
            await close()


async def _next(values: AsyncIterator[Any]) -> Any:
    return await anext(values)


def _event(value: Any) -> bytes:
    return b"data: " + msgspec.json.encode(plain(value), enc_hook=str) + b"\n\n"


def plain(value: Any) -> Any:
    """A value as JSON has it: of a set its members in order, of windows a value by start."""
    if isinstance(value, set | frozenset):
        return sorted((builtins(each) for each in value), key=repr)
    return builtins(value)


# -- what a URL says -----------------------------------------------------------------------------


def _known(request: Request, *names: str) -> QueryParams:
    """What is asked for; a word that means nothing here is a mistake, perhaps a bound misspelt."""
    asked = request.query_params
    for name in asked:
        if name not in names:
            raise AppError(f"{name!r:.80} means nothing here: {', '.join(names)} do")
    return asked


def _conditions(asked: QueryParams) -> dict[str, Any]:
    return {
        "after": [_record(text) for text in asked.getlist("after")] or None,
        "max_staleness": _number(asked, "max_staleness", None),
        "timeout": _seconds(asked, "timeout", TIMEOUT_S),
    }


def _record(text: str) -> RecordMetadata:
    topic, partition, offset = (["", "", "", *text.rsplit(":", 2)])[-3:]
    if not topic or NUMBER.fullmatch(partition) is None or NUMBER.fullmatch(offset) is None:
        raise AppError(f"after={text!r} is not TOPIC:PARTITION:OFFSET")
    return RecordMetadata(topic, int(partition), int(offset))


def _flag(asked: QueryParams, name: str) -> bool:
    text = asked.get(name, "false")
    if text not in ("true", "false", "1", "0"):
        raise AppError(f"{name}={text!r} is neither true nor false")
    return text in ("true", "1")


def _number(asked: QueryParams, name: str, default: float | None) -> Any:
    text = asked.get(name)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise AppError(f"{name}={text!r} is not a number from 0 on")
    return number


def _seconds(asked: QueryParams, name: str, default: float) -> float:
    return min(float(_number(asked, name, default)), MOST_TIMEOUT_S)
