"""Asking the owner of a table's partition, wherever it is: routes from the group, and HTTP.

Shell. A partition that moves while it is asked for is looked up again, until the question's time is
over; meanwhile whoever has a copy may answer, if the question allows that. The only importer of
httpx.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

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
from flowstream.processing.queries.owners import Owner, copies_of, owner_of, owners_of
from flowstream.processing.units.task import TaskId
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.types import GroupMember

ROWS_PATH = "/-/rows"
WATCH_PATH = "/-/watch"
MISDIRECTED = "x-flowstream-misdirected"
"""In the answer of a worker that a request was handed on to, and that is not the owner."""
PAUSE_S = 0.05
CONNECT_S = 1.0
PATIENCE_S = 1.0
"""So long an owner may be silent when others may answer."""
SILENCE_S = 15.0
"""A worker that watches for us and says nothing for so long is gone: it speaks every 5 s."""

Answer = AsyncGenerator[Found | Changed, None]


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
        self._owners: dict[TaskId, Owner] = {}
        self._copies: dict[TaskId, list[Owner]] = {}
        self._members: list[Owner] = []
        """Copies and members as they were known last: a group that rebalances tells nothing."""
        self._counts: dict[str, int] = {}
        self._client: httpx.AsyncClient | None = None

    async def partitions(self, changelog: str, table: str, timeout_s: float) -> int:
        """How many partitions a table has. TableUnavailable when no worker makes it in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while changelog not in self._counts:
            found = (await Admin(await self._cluster()).topics([changelog])).get(changelog)
            if found is not None:
                self._counts[changelog] = found.partitions
            elif loop.time() + PAUSE_S > deadline:
                raise TableUnavailable(
                    f"table {table!r} of app {self._app_id!r} is not on this cluster yet: start a"
                    " worker"
                )
            else:
                await asyncio.sleep(PAUSE_S)
        return self._counts[changelog]

    def _forget(self) -> None:
        """What was known of the app may be over."""
        self._owners = {}
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
        found: Found = await self._until_answered(
            id,
            question,
            lambda owner, left_s: self._post(
                owner, question, left_s, is_alone=not self._keepers(id, question, is_global)
            ),
            lambda: self._keepers(id, question, is_global),
        )
        return found

    def _keepers(self, id: TaskId, question: Question, is_global: bool) -> list[Owner]:
        if not question.copy:
            return []
        return self._members if is_global else self._copies.get(id, [])

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
        for keeper in keepers:
            try:
                return await self._post(keeper, question, max(0.001, deadline - clock()))
            except TooStale as error:
                refused = error
            except TableUnavailable:
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
        headers: Mapping[str, str],
        body: bytes,
        timeout_s: float,
    ) -> httpx.Response:
        """Hand a request on to the worker that runs a task; its answer. `what` it is of the task
        that is asked for, for errors.
        """

        async def hand_on(owner: Owner, left_s: float) -> httpx.Response:
            request = self._http().build_request(
                method,
                f"http://{owner.address}{path}",
                headers={**headers, **self._token()},
                content=body,
                timeout=left_s + 1.0,
            )
            response = await self._reached(owner, request)
            if MISDIRECTED in response.headers:
                raise decode_refused(response.content, response.status_code)
            return response

        question = Question(table="", partition=id.number, timeout_s=timeout_s)
        found: httpx.Response = await self._until_answered(id, question, hand_on, what=what)
        return found

    async def close(self) -> None:
        """Close connections; a later question opens others."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

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
        while True:
            try:
                owner = await self._owner(id, what)
                return await ask(owner, max(0.001, deadline - loop.time()))
            except (TableUnavailable, QueryTimeout) as error:
                if isinstance(error, QueryTimeout) and not keepers():
                    raise
                self._forget()
                refused: TableUnavailable | QueryTimeout = error
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
                raise type(refused)(tried)
            await asyncio.sleep(PAUSE_S)

    async def _owner(self, id: TaskId, what: str) -> Owner:
        if id not in self._owners:
            await self._look()
        owner = self._owners.get(id)
        if owner is None:
            raise TableUnavailable(f"no worker of app {self._app_id!r} owns {what} now")
        if owner.address is None:
            raise TableUnavailable(
                f"the worker that owns {what} ({owner.member} on {owner.host}) has no web server:"
                " start it with --web-port"
            )
        return owner

    async def _look(self) -> None:
        """Ask the group who is there."""
        members, counts = await members_of(await self._cluster(), self._app_id)
        self._owners = owners_of(members, counts)
        if self._owners:
            kept = copies_of(members).items()
            self._copies = {id: [k for k in each if k != self._owners.get(id)] for id, each in kept}
            self._members = [each for each in map(owner_of, members) if each.address is not None]

    async def _post(
        self, owner: Owner, question: Question, left_s: float, *, is_alone: bool = True
    ) -> Found:
        patience_s = left_s + 1.0
        if not is_alone:
            # Only with `after` has an owner a reason to wait, and then others may wait as well.
            left_s = left_s / 2 if question.after else PATIENCE_S
            patience_s = left_s
        response = await self._send(owner, ROWS_PATH, question, left_s, patience_s)
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
            headers=self._token(),
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
        self, owner: Owner, request: httpx.Request, *, stream: bool = False
    ) -> httpx.Response:
        try:
            return await self._http().send(request, stream=stream)
        except (httpx.HTTPError, OSError) as error:
            raise TableUnavailable(
                f"the worker at {owner.address} does not answer ({type(error).__name__})"
            ) from error

    def _token(self) -> dict[str, str]:
        token = self._settings().web_token
        return {} if token is None else {"authorization": f"Bearer {token}"}

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(trust_env=False)
        return self._client


async def owners(cluster: Cluster, app_id: str) -> dict[TaskId, Owner]:
    """The owner of each task of an app now; none of those that move."""
    return owners_of(*await members_of(cluster, app_id))


async def members_of(
    cluster: Cluster, app_id: str
) -> tuple[tuple[GroupMember, ...], Mapping[str, int]]:
    """The members of an app's group now, and the partitions of the topics that they read."""
    admin = Admin(cluster)
    group = await admin.group(app_id)
    topics = {tp.topic for member in group.members for tp in member.partitions}
    described = await admin.topics(sorted(topics)) if topics else {}
    return group.members, {name: topic.partitions for name, topic in described.items()}
