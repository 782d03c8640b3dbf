"""Asking the owner of a table's partition, wherever it is: routes from the group, and HTTP.

Shell. A partition that moves while it is asked for is looked up again, until the question's time is
over; meanwhile whoever has a copy may answer, if the question allows that. The only importer of
httpx.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, TypeVar

import httpx
import msgspec

from flowstream.processing.environment.settings import Settings
from flowstream.processing.errors import QueryError, QueryTimeout, TableUnavailable, TooStale
from flowstream.processing.queries.answers import Answers
from flowstream.processing.queries.asked import (
    Changed,
    Found,
    Frames,
    Question,
    decode_changed,
    decode_found,
    decode_refused,
    encode,
)
from flowstream.processing.queries.owners import Owner
from flowstream.processing.queries.routes import Routes
from flowstream.processing.units.task import TaskId
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import BrokerUnreachable, ConnectionLost
from flowstream.transport.types import TopicDescription

ROWS_PATH = "/-/rows"
WATCH_PATH = "/-/watch"
MISDIRECTED = "x-flowstream-misdirected"
"""In the answer of a worker that a request was handed on to, and that is not the owner."""
ASKED_APP = "x-flowstream-app"
"""In a request: whose worker is asked. Another app's may have its address by now."""
PAUSE_S = 0.05
CONNECT_S = 1.0
PATIENCE_S = 1.0
"""So long an owner may be silent when others may answer."""
SILENCE_S = 15.0
"""A worker that watches for us and says nothing for so long is gone: it speaks every 5 s."""
REPEATABLE = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")
"""Requests that come to the same however often they are sent (RFC 9110, 9.2.2)."""
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

R = TypeVar("R")
Answer = AsyncGenerator[Found | Changed, None]


class Unreached(TableUnavailable):
    """A worker that says nothing."""


class Untold(TableUnavailable):
    """The time was over before the cluster had said anything."""


class Router:
    """Questions of one app to whoever owns the answer."""

    def __init__(
        self,
        app_id: str,
        settings: Callable[[], Settings],
        cluster: Callable[[], Awaitable[Cluster]],
        local: Answers | None = None,
    ) -> None:
        """`local` are the answers of a worker in this process, which is asked without HTTP."""
        self._app_id = app_id
        self._settings = settings
        self._cluster = cluster
        self._local = local
        self._routes = Routes(app_id, cluster)
        self._counts: dict[str, int] = {}
        self._client: httpx.AsyncClient | None = None
        self._once: httpx.AsyncClient
        self._opened_in: asyncio.AbstractEventLoop | None = None
        """Where their connections belong."""

    async def partitions(self, changelog: str, table: str, timeout_s: float) -> int:
        """How many partitions a table has. TableUnavailable when no worker makes it in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        missing: TableUnavailable | None = None
        while changelog not in self._counts:
            try:
                found = await self._told(self._topic(changelog), deadline)
            except Untold as untold:
                raise missing or untold from None  # the last time, there was no time for an answer
            if found is not None:
                self._counts[changelog] = found.partitions
                break
            missing = TableUnavailable(
                f"table {table!r} of app {self._app_id!r} is not on this cluster yet: start a"
                " worker"
            )
            if loop.time() + PAUSE_S > deadline:
                raise missing
            await asyncio.sleep(PAUSE_S)
        return self._counts[changelog]

    async def _topic(self, name: str) -> TopicDescription | None:
        return (await Admin(await self._cluster()).topics([name])).get(name)

    async def _told(self, asked: Awaitable[R], deadline: float) -> R:
        """What the cluster says. TableUnavailable when it is silent, or away."""
        try:
            async with asyncio.timeout_at(deadline):
                return await asked
        except TimeoutError:
            raise Untold(
                f"the cluster does not tell the workers of app {self._app_id!r} in time"
            ) from None
        except (BrokerUnreachable, ConnectionLost) as error:
            raise TableUnavailable(str(error)) from error

    def _forget(self) -> None:
        """What was known of the app may be over."""
        self._routes.forget()
        self._counts.clear()

    async def ask(self, id: TaskId, question: Question, *, is_global: bool = False) -> Found:
        """The owner's answer, or that of a copy where the question allows it; TableUnavailable when
        nobody has one in the question's time. Of a global table every worker has a copy.
        """
        local = self._local
        if local is not None and (
            local.holds(question.table, id.number)
            or (question.copy and local.has_replica(question.table, id.number))
        ):
            try:
                return await local.rows(question)
            except TableUnavailable:
                pass  # it went away meanwhile: ask whoever has it now
        tries = 0

        def keepers() -> list[Owner]:
            return self._routes.keepers(id, is_global=is_global) if question.copy else []

        async def ask_owner(owner: Owner, left_s: float) -> Found:
            nonlocal tries
            tries += 1
            if not keepers():
                return await self._post(owner, question, left_s)
            return await self._ask_first(owner, question, left_s, is_first=tries == 1)

        found: Found = await self._until_answered(id, question, ask_owner, keepers)
        return found

    async def _ask_first(
        self, owner: Owner, question: Question, left_s: float, *, is_first: bool
    ) -> Found:
        """The answer of an owner, or a copy, where others may answer too: it gets little time, and
        none at first when it was silent a moment ago.
        """
        if is_first and self._routes.is_silent(owner):
            raise TableUnavailable(f"the worker at {owner.address} does not answer lately")
        # Only with `after` has an owner a reason to wait, and then others may wait as well.
        left_s = left_s / 2 if question.after else min(left_s, PATIENCE_S)
        try:
            response = await self._send(owner, ROWS_PATH, question, left_s, left_s)
        except Unreached:
            self._routes.said_nothing(owner)
            raise
        return decode_found(response.content)

    async def _ask_copies(
        self, keepers: Sequence[Owner], question: Question, deadline: float
    ) -> Found:
        """The answer of the first copy that has one, this worker's before others; TableUnavailable
        when none has, TooStale when that is why.
        """
        clock = asyncio.get_running_loop().time
        refused: TableUnavailable | TooStale = TableUnavailable("nobody has a copy")
        if self._local is not None:
            left_s = max(0.001, deadline - clock())
            try:
                return await self._local.rows(msgspec.structs.replace(question, timeout_s=left_s))
            except (TableUnavailable, TooStale) as error:
                refused = error
        for keeper in sorted(keepers, key=self._routes.is_silent):
            left_s = max(0.001, deadline - clock())
            try:
                return await self._ask_first(keeper, question, left_s, is_first=False)
            except TooStale as error:
                refused = error
            except (TableUnavailable, QueryTimeout):
                continue
        raise refused

    async def watch(self, id: TaskId, question: Question) -> Answer:
        """The owner's answer and what changes it, until the owner is another."""
        local = self._local
        if local is not None and local.holds(question.table, id.number):
            with suppress(TableUnavailable):
                async for each in local.watch(question):
                    yield each
            return
        stream = await self._until_answered(
            id, question, lambda owner, left_s: self._open(owner, question, left_s)
        )
        async with stream as response:
            frames, is_first = Frames(), True
            try:
                async for piece in response.aiter_bytes():
                    for frame in frames.feed(piece):
                        yield decode_found(frame) if is_first else decode_changed(frame)
                        is_first = False
            except httpx.HTTPError:
                pass  # the worker went away, and its tasks with it
            self._forget()

    async def forward(
        self,
        id: TaskId,
        what: str,
        method: str,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
        timeout_s: float,
    ) -> httpx.Response:
        """Hand a request on to the worker that runs a task; its answer. `what` it is of the task
        that is asked for, for errors. QueryError for one that may have done something and must not
        be sent again.
        """

        own = httpx.Headers(headers)
        own.update(self._own())

        async def hand_on(owner: Owner, left_s: float) -> httpx.Response:
            request = self._http().build_request(
                method,
                f"http://{owner.address}{path}",
                headers=own,
                content=body,
                timeout=left_s + 1.0,
            )
            try:
                response = await self._reached(owner, request, once=method not in REPEATABLE)
            except Unreached as error:
                if method in REPEATABLE or isinstance(error.__cause__, NEVER_SENT):
                    raise
                raise QueryError(
                    f"{error} after it was sent a {method}, and may have done what that asks for"
                ) from error
            if MISDIRECTED in response.headers:
                raise decode_refused(response.content, response.status_code)
            return response

        question = Question(table="", partition=id.number, timeout_s=timeout_s)
        found: httpx.Response = await self._until_answered(id, question, hand_on, what=what)
        return found

    async def close(self) -> None:
        """Close connections; a later question opens others."""
        client, self._client = self._client, None
        if client is not None and self._opened_in is asyncio.get_running_loop():
            await client.aclose()
            await self._once.aclose()

    async def _until_answered(
        self,
        id: TaskId,
        question: Question,
        ask: Callable[[Owner, float], Awaitable[Any]],
        keepers: Callable[[], Sequence[Owner]] = list,
        what: str | None = None,
    ) -> Any:
        what = what or f"table {question.table!r}, partition {id.number}"
        loop = asyncio.get_running_loop()
        deadline = loop.time() + question.timeout_s
        stale: TooStale | None = None
        refused: TableUnavailable | QueryTimeout | None = None
        while True:
            try:
                owner = await self._told(self._routes.owner(id, what), deadline)
                return await ask(owner, max(0.001, deadline - loop.time()))
            except (TableUnavailable, QueryTimeout) as error:
                if isinstance(error, QueryTimeout) and not keepers():
                    raise
                self._forget()
                if refused is None or not isinstance(error, Untold):
                    refused = error
            is_over = loop.time() + PAUSE_S > deadline
            if question.copy and not (is_over and stale is not None):
                try:
                    return await self._ask_copies(keepers(), question, deadline)
                except TooStale as error:
                    stale = error
                except TableUnavailable:
                    pass
            if is_over or loop.time() + PAUSE_S > deadline:
                tried = f"{refused} (tried for {question.timeout_s:g} s)"
                if stale is not None:
                    raise TooStale(f"{stale}; and its owner does not answer: {tried}")
                raise (QueryTimeout if isinstance(refused, QueryTimeout) else TableUnavailable)(
                    tried
                )
            await asyncio.sleep(PAUSE_S)

    async def _post(self, owner: Owner, question: Question, left_s: float) -> Found:
        response = await self._send(owner, ROWS_PATH, question, left_s, left_s + 1.0)
        return decode_found(response.content)

    async def _open(
        self, owner: Owner, question: Question, left_s: float
    ) -> AbstractAsyncContextManager[httpx.Response]:
        response = await self._send(owner, WATCH_PATH, question, left_s, SILENCE_S, stream=True)

        @asynccontextmanager
        async def closing() -> AsyncGenerator[httpx.Response, None]:
            try:
                yield response
            finally:
                await response.aclose()

        return closing()

    async def _send(
        self,
        owner: Owner,
        path: str,
        question: Question,
        left_s: float,
        patience_s: float,
        *,
        stream: bool = False,
    ) -> httpx.Response:
        request = self._http().build_request(
            "POST",
            f"http://{owner.address}{path}",
            content=encode(msgspec.structs.replace(question, timeout_s=left_s)),
            headers=self._own(),
            # The owner keeps to the question's time; this is for one that does not answer at all.
            timeout=httpx.Timeout(left_s + 1.0, read=patience_s, connect=CONNECT_S),
        )
        response = await self._reached(owner, request, stream=stream)
        if response.status_code == httpx.codes.OK:
            return response
        error_body = await response.aread()
        await response.aclose()
        if response.status_code in (401, 403):
            raise QueryError(
                f"the worker at {owner.address} let us not in: all processes of the app need the"
                " same web_token (FLOWSTREAM_WEB_TOKEN)"
            )
        raise decode_refused(error_body, response.status_code)

    async def _reached(
        self, owner: Owner, request: httpx.Request, *, stream: bool = False, once: bool = False
    ) -> httpx.Response:
        client = self._once if once else self._http()
        try:
            return await client.send(request, stream=stream)
        except (httpx.HTTPError, OSError) as error:
            raise Unreached(
                f"the worker at {owner.address} does not answer ({type(error).__name__})"
            ) from error

    def _own(self) -> dict[str, str]:
        token = self._settings().web_token
        bearing = {} if token is None else {"authorization": f"Bearer {token}"}
        return {ASKED_APP: self._app_id, **bearing}

    def _http(self) -> httpx.AsyncClient:
        here = asyncio.get_running_loop()
        if self._client is None or self._opened_in is not here:
            self._opened_in = here  # what is kept from another one, which is over, is of no use
            self._client = httpx.AsyncClient(trust_env=False)
            # A connection that was kept may be closed as a request is sent: was that read?
            kept = httpx.Limits(max_keepalive_connections=0)
            self._once = httpx.AsyncClient(trust_env=False, limits=kept)
        return self._client
