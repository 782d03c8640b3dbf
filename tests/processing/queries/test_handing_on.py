"""A request that a worker hands on is done once, or told that it may have been."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest

from flowstream.processing.environment.settings import Settings
from flowstream.processing.errors import QueryError, TableUnavailable
from flowstream.processing.queries.owners import Owner
from flowstream.processing.queries.router import Router
from flowstream.processing.units.task import TaskId

TIMEOUT_S = 5.0


class OneOwner:
    """The routes of an app with one worker, which may be found at other addresses in turn."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = list(addresses)

    async def owner(self, id: TaskId, what: str) -> Owner:
        first = self._addresses[0]
        if len(self._addresses) > 1:
            del self._addresses[0]
        return Owner("m", "host", first)

    def forget(self) -> None:
        pass


@asynccontextmanager
async def worker(dies: int, *, keeps: bool = False) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A web server whose worker dies in so many requests, once it has read them; its address, and
    what it was asked. It `keeps` a connection until the next request comes on it.
    """
    asked: list[bytes] = []
    serving: list[Any] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        asked.append((await reader.readuntil(b"\r\n\r\n")).split()[0])
        if len(asked) > dies:
            kept = b"" if keeps else b"connection: close\r\n"
            writer.write(b"HTTP/1.1 200 OK\r\n" + kept + b"content-length: 4\r\n\r\ndone")
            await writer.drain()
            if keeps:
                with suppress(ConnectionError):
                    await reader.read(1)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield "{}:{}".format(*server.sockets[0].getsockname()), asked
        await asyncio.gather(*serving)


@asynccontextmanager
async def asking(*addresses: str) -> AsyncIterator[Router]:
    found = Router("app", Settings, no_cluster)
    found._routes = OneOwner(*addresses)  # type: ignore[assignment]
    yield found
    await found.close()


async def no_cluster() -> Any:
    raise AssertionError("nobody asks the cluster")


async def hand_on(router: Router, method: str) -> httpx.Response:
    return await router.forward(TaskId(1, 0), "key k", method, "/page", {}, b"", TIMEOUT_S)


async def test_S9_what_a_post_may_have_done_is_not_asked_for_again() -> None:
    async with worker(dies=1) as (address, asked), asking(address) as router:
        with pytest.raises(QueryError, match="after it was sent a POST, and may have done") as told:
            await hand_on(router, "POST")
        assert not isinstance(told.value, TableUnavailable), "that may be tried again"
        assert asked == [b"POST"]


async def test_what_changes_nothing_more_is_asked_for_again() -> None:
    async with worker(dies=1) as (address, asked), asking(address) as router:
        assert (await hand_on(router, "GET")).text == "done"
        assert asked == [b"GET", b"GET"]


async def test_a_post_that_reached_nobody_goes_to_whoever_is_next() -> None:
    async with worker(dies=0) as (gone, _):
        pass
    async with worker(dies=0) as (address, asked), asking(gone, address) as router:
        assert (await hand_on(router, "POST")).text == "done"
        assert asked == [b"POST"]


async def test_a_post_takes_no_connection_that_is_about_to_be_closed() -> None:
    async with worker(dies=0, keeps=True) as (address, asked), asking(address) as router:
        for _ in range(2):
            assert (await hand_on(router, "POST")).text == "done"
        assert asked == [b"POST"] * 2
