"""A worker that has a copy and says nothing costs a question a moment, not all of its time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flowstream.processing.environment.settings import Settings
from flowstream.processing.errors import TableUnavailable
from flowstream.processing.queries import router
from flowstream.processing.queries.asked import Found, Question, encode
from flowstream.processing.queries.owners import Owner
from flowstream.processing.queries.router import Router
from flowstream.processing.units.task import TaskId
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import ConnectionLost

TIMEOUT_S = 20.0
ANSWER = Found(rows=[(b"k", b"1")], is_all=True, now_ms=-1, positions=[])


class NoOwner:
    """The routes of an app whose owner is gone, and whose copies are asked in this order."""

    def __init__(self, copies: Sequence[str]) -> None:
        self._copies = [Owner(f"m{n}", "host", address) for n, address in enumerate(copies)]
        self.silent: list[str | None] = []

    async def owner(self, id: TaskId, what: str) -> Owner:
        raise TableUnavailable(f"nobody owns {what}")

    def keepers(self, id: TaskId, *, is_global: bool) -> list[Owner]:
        return self._copies

    def forget(self) -> None:
        pass

    def is_silent(self, owner: Owner) -> bool:
        return owner.address in self.silent

    def said_nothing(self, owner: Owner) -> None:
        self.silent.append(owner.address)


@asynccontextmanager
async def worker(*, answers: bool) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A web server that answers, or takes questions and says nothing; its address, and what it was
    asked.
    """
    asked: list[bytes] = []
    is_over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n"))
        body = encode(ANSWER)
        if answers:
            head = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
            writer.write(head % len(body) + body)
            await writer.drain()
        else:
            await is_over.wait()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        try:
            yield "{}:{}".format(*server.sockets[0].getsockname()), asked
        finally:
            is_over.set()


async def test_V2_a_copy_that_says_nothing_does_not_keep_others_from_answering(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(router, "PATIENCE_S", 0.1)
    question = Question(table="t", partition=0, copy=True, stale_s=5.0, timeout_s=TIMEOUT_S)
    async with worker(answers=False) as (hung, asked), worker(answers=True) as (good, _):
        asking = Router("app", Settings, no_cluster)
        routes = NoOwner([hung, good])
        asking._routes = routes  # type: ignore[assignment]
        started = asyncio.get_running_loop().time()
        assert await asking.ask(TaskId(1, 0), question) == ANSWER
        assert asyncio.get_running_loop().time() - started < TIMEOUT_S / 2
        assert len(asked) == 1
        assert routes.silent == [hung]
        assert await asking.ask(TaskId(1, 0), question) == ANSWER
        assert len(asked) == 1, "it was asked first once more"
        await asking.close()


async def no_cluster() -> Any:
    raise AssertionError("nobody asks the cluster")


async def silent() -> Cluster:
    await asyncio.Event().wait()
    raise AssertionError


async def away() -> Cluster:
    raise ConnectionLost("no broker can be reached")


@pytest.mark.parametrize(
    ("cluster", "told"), [(silent, "does not tell the workers"), (away, "no broker can be")]
)
async def test_a_question_ends_in_time_when_the_cluster_is_silent_or_away(
    cluster: Callable[[], Awaitable[Cluster]], told: str
) -> None:
    asking = Router("app", Settings, cluster)
    question = Question(table="t", partition=0, timeout_s=0.1)
    async with asyncio.timeout(TIMEOUT_S):
        with pytest.raises(TableUnavailable, match=told):
            await asking.ask(TaskId(1, 0), question)
        with pytest.raises(TableUnavailable, match=told):
            await asking.partitions("app-t-changelog", "t", 0.1)
    await asking.close()


async def test_V2_what_the_cluster_said_counts_when_time_is_over_in_the_midst_of_the_next_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asking = Router("app", Settings, no_cluster)
    times = 0

    async def topic(name: str) -> None:
        nonlocal times
        times += 1
        if times > 1:
            await asyncio.Event().wait()

    monkeypatch.setattr(asking, "_topic", topic)
    monkeypatch.setattr(router, "PAUSE_S", 0.0)
    with pytest.raises(TableUnavailable, match="not on this cluster yet"):
        await asking.partitions("app-t-changelog", "t", 0.1)
    assert times == 2
    await asking.close()
