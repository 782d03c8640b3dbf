"""Asking agents: requests and their replies, through a restart of either side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

import flowstream as fs
from flowstream.errors import WireError
from flowstream.processing.errors import AppError
from flowstream.processing.events.replies import CORRELATION, REPLY_TO, reply_to
from flowstream.transport.errors import RequestRefused
from flowstream.transport.reader import PartitionReader
from flowstream.transport.types import LogRecord
from flowstream.wire.api import ApiKey
from flowstream.wire.error_codes import ErrorCode
from tests.processing.conftest import Kit
from tests.transport.proxy import Fault, Proxy


class Sum(msgspec.Struct, frozen=True):
    """A request."""

    numbers: list[int]


def adding(kit: Kit, name: str, **how: Any) -> tuple[fs.App, fs.Agent[Sum], list[int]]:
    """An app whose agent answers with a sum."""
    app = kit.app(name)
    sums = app.topic(f"{name}-sums", key_type=str, value_type=Sum, partitions=2)
    seen: list[int] = []

    @app.agent(sums, **how)
    async def add(stream: fs.Stream[Sum]) -> AsyncIterator[int]:
        async for request in stream:
            seen.append(sum(request.numbers))
            if not request.numbers:
                raise ValueError("nothing to add")
            yield sum(request.numbers)

    return app, add, seen


@pytest.mark.parametrize(
    "api", [ApiKey.METADATA, ApiKey.CREATE_TOPICS, ApiKey.LIST_OFFSETS, ApiKey.INIT_PRODUCER_ID]
)
async def test_V1_the_first_request_waits_for_a_broker_that_is_away(
    kit: Kit, name: str, api: ApiKey
) -> None:
    app, _, _ = adding(kit, name)
    asking, add, _ = adding(kit, name)
    await kit.create(app)
    async with kit.running(app), Proxy(kit.address) as proxy:
        asking.connect_to(proxy.address)
        try:
            await asking.topic(f"{name}-other", value_type=int, partitions=1).send(value=1)
        except fs.FlowstreamError:
            pass  # only to be connected
        proxy.inject(api, Fault.LOSE_REQUEST, 2)
        assert await add.ask(Sum([1, 2]), key="a", timeout=20) == 3
        await asking.close()


@pytest.mark.parametrize(
    "error",
    [
        WireError("a batch that nobody can read"),
        RequestRefused("nobody can read", ErrorCode.TOPIC_AUTHORIZATION_FAILED),
    ],
)
async def test_V2_who_waits_for_a_reply_that_cannot_be_read_is_told(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch, error: fs.FlowstreamError
) -> None:
    """And who asks after that is answered."""
    app, add, _ = adding(kit, name)
    await kit.create(app)
    read, is_bad = PartitionReader.read, True

    async def bad_once(self: PartitionReader, timeout_ms: int = 500) -> list[LogRecord]:
        nonlocal is_bad
        found = await read(self, timeout_ms)
        if found and is_bad and self._tp.topic == app.replies:
            is_bad = False
            raise error
        return found

    monkeypatch.setattr(PartitionReader, "read", bad_once)
    async with kit.running(app):
        with pytest.raises(type(error), match="nobody can read"):
            await add.ask(Sum([1, 2]), key="a", timeout=20)
        assert await add.ask(Sum([3, 4]), key="a", timeout=20) == 7


async def test_T3_a_reply_comes_and_values_are_mapped_and_joined(kit: Kit, name: str) -> None:
    app, add, _ = adding(kit, name)
    await kit.create(app)
    async with kit.running(app):
        assert await add.ask(Sum([1, 2]), key="a") == 3
        assert await add.join([Sum([n]) for n in range(10)]) == list(range(10))
        assert await add.kvjoin([("a", Sum([4])), ("b", Sum([5]))]) == [4, 5]
        assert sorted([reply async for reply in add.map([Sum([1]), Sum([2])], key="k")]) == [1, 2]
        found = [reply async for reply in add.kvmap([("x", Sum([1])), ("y", Sum([2]))])]
        assert sorted(found) == [1, 2]  # Faust, too, gives the replies alone

        async def later() -> AsyncIterator[Sum]:
            yield Sum([3])
            yield Sum([4])

        assert await add.join(later(), "k") == [3, 4]
        told = await add.ask(Sum([8]), partition=1, timestamp=5.0, headers={"h": b"1"})
        assert told == 8
        await add.cast(Sum([7]), key="a")
        await app.close()
    assert await kit.values(app.replies) != []
    [asked] = [r for r in await kit.records(add.source_topic.name) if dict(r.headers).get("h")]
    assert (asked.timestamp, asked.value) == (5_000, b'{"numbers":[8]}')


async def test_waiting_for_replies_delays_no_request(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker answers a connection's requests in turn: those behind a fetch that waits, too."""
    app, add, _ = adding(kit, name)
    await kit.create(app)
    read = PartitionReader.read

    async def patient(reader: PartitionReader) -> list[LogRecord]:
        return await read(reader, 60_000)

    monkeypatch.setattr(PartitionReader, "read", patient)
    async with kit.running(app):
        for number in range(3):
            assert await add.ask(Sum([number]), key="a", timeout=20) == number
            async with asyncio.timeout(20):
                await add.cast(Sum([7]), key="a")
        await app.close()


async def test_a_request_waits_for_a_worker_and_survives_one(kit: Kit, name: str) -> None:
    app, add, seen = adding(kit, name)
    await kit.create(app)
    asking = asyncio.create_task(add.ask(Sum([1, 2, 3])))
    async with kit.running(adding(kit, name)[0]):
        assert await asking == 6
    asking = asyncio.create_task(add.ask(Sum([4])))
    async with kit.running(adding(kit, name)[0]):
        assert await asking == 4
    assert seen == []
    await app.close()


async def test_an_agent_that_fails_and_goes_on_tells_whoever_asked(kit: Kit, name: str) -> None:
    app, add, _ = adding(kit, name, on_error="skip")
    await kit.create(app)
    async with kit.running(app):
        with pytest.raises(fs.ReplyFailed, match="ValueError: nothing to add"):
            await add.ask(Sum([]))
        assert await add.ask(Sum([1])) == 1
        await app.close()


async def test_an_agent_that_yields_nothing_replies_with_nothing(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", value_type=str, partitions=1)

    @app.agent(words)
    async def listen(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    await kit.create(app)
    with pytest.raises(TimeoutError, match="does a worker"):
        await listen.ask("anybody?", timeout=0.01)
    async with kit.running(app):
        assert await listen.ask("hello") is None
        await app.close()


async def test_replies_have_a_type_and_strangers_get_none(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", value_type=str, partitions=1)

    @app.agent(words, reply_type=Sum)
    async def parse(stream: fs.Stream[str]) -> AsyncIterator[Sum]:
        async for word in stream:
            yield Sum([int(digit) for digit in word])

    await kit.create(app)
    async with kit.running(app):
        stranger = {"flowstream.reply-to": b"elsewhere/0", "flowstream.correlation": b"x"}
        await words.send(value="1", headers=stranger)
        await words.send(value="2", headers={"flowstream.reply-to": b"\xff", **stranger})
        assert await parse.ask("123") == Sum([1, 2, 3])
        await app.close()


async def test_V1_who_asks_an_agent_first_that_says_what_it_replies_disturbs_nobody(
    kit: Kit, name: str
) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", value_type=str, partitions=1)

    @app.agent(words, reply_type=str)
    async def shout(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            yield word.upper()

    await kit.create(app)
    async with kit.running(app) as worker:
        await words.send(value="a")
        await kit.until(kit.committed(app, words.name, 1))
        assert app.replies in await kit.admin.topics()
        assert await shout.ask("b") == "B"
        assert not worker.has_looked_for_replies


async def test_one_agent_asks_another(kit: Kit, name: str) -> None:
    app, add, _ = adding(kit, name)
    words = app.topic(f"{name}-words", value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=int, partitions=1)

    @app.agent(words, sink=[out])
    async def ask(stream: fs.Stream[str]) -> AsyncIterator[int]:
        async for word in stream:
            yield await add.ask(Sum([len(word), 1]))

    await kit.create(app)
    async with kit.running(app):
        await words.send(value="four")
        await kit.until(kit.count(out.name, 1))
    assert await kit.values(out.name) == [b"5"]


async def test_a_text_is_a_reply_without_a_declared_type(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", value_type=str, partitions=1)

    @app.agent(words)
    async def shout(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            yield word.upper()

    await kit.create(app)
    async with kit.running(app):
        assert await shout.join(["a", "12"]) == ["A", "12"]
        await app.close()


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("fails", [False, True])
async def test_the_first_one_who_asks_a_running_worker_gets_an_answer(
    kit: Kit, name: str, concurrency: int, fails: bool
) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", value_type=str, partitions=1)
    counts = app.Table("counts", default=int)

    @app.agent(words, on_error="skip", concurrency=concurrency)
    async def note(stream: fs.Stream[str]) -> None:
        async for word in stream:
            counts[word] += 1
            if fails and word == "b":
                raise ValueError("on purpose")

    @app.agent(app.topic(f"{name}-reads", value_type=str, partitions=1))
    async def read(stream: fs.Stream[str]) -> Any:
        async for word in stream:
            yield counts[word]

    await kit.create(app)
    async with kit.running(app) as worker:
        # The worker is there before anyone has ever asked, and so before the topic of replies.
        await words.send(value="a")
        await kit.until(kit.committed(app, words.name, 1))
        assert not worker.has_looked_for_replies
        if fails:
            with pytest.raises(fs.ReplyFailed, match="on purpose"):
                await note.ask("b", timeout=20)
        else:
            assert await note.ask("b", timeout=20) is None
        assert worker.has_looked_for_replies
        assert await note.ask("a", timeout=20) is None
        assert await read.join(["a", "b"]) == [2, 0 if fails else 1]


async def test_V1_all_who_ask_first_at_once_get_an_answer(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", key_type=str, value_type=str, partitions=8)

    @app.agent(words)
    async def shout(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            yield word.upper()

    await kit.create(app)
    async with kit.running(app) as worker:
        await words.send(key="a", value="a", partition=0)
        await kit.until(kit.committed(app, words.name, 1))
        assert not worker.has_looked_for_replies
        asked = (shout.ask(f"w{n}", partition=n, timeout=20) for n in range(8))
        assert await asyncio.gather(*asked) == [f"W{n}" for n in range(8)]


async def test_V1_who_asks_after_a_reply_that_had_no_topic_gets_an_answer(
    kit: Kit, name: str
) -> None:
    """A sender that names the topic of replies need not have made it."""
    app = kit.app(name)
    words = app.topic(f"{name}-words", value_type=str, partitions=1)

    @app.agent(words)
    async def shout(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            yield word.upper()

    await kit.create(app)
    async with kit.running(app):
        await shout.send(value="a", reply_to=app.replies, correlation_id="mine")
        await kit.until(kit.count(app.replies, 1))
        assert await shout.ask("b", timeout=20) == "B"
    first, _ = await kit.records(app.replies)
    assert dict(first.headers) == {"flowstream.correlation": b"mine"}


async def test_a_stranger_who_asks_does_not_have_the_plan_made_anew(kit: Kit, name: str) -> None:
    app, other = kit.app(name), kit.app(f"{name}-other")
    words = app.topic(f"{name}-words", value_type=str, partitions=1)

    @app.agent(words)
    async def note(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    @other.agent(other.topic(words.name, value_type=str))
    async def same(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    await kit.create(app)
    async with kit.running(app) as worker:
        asking = asyncio.create_task(same.ask("a", timeout=0.5))
        await kit.until(kit.committed(app, words.name, 1))
        assert not worker.has_looked_for_replies
        with pytest.raises(TimeoutError):
            await asking


@pytest.mark.parametrize(
    "target",
    [b"", b"replies", b"replies/", b"replies/-1", b"replies/x", b"replies/" + b"9" * 5_000],
)
def test_X4_an_address_that_is_none_asks_for_no_reply(target: bytes) -> None:
    """Anybody may write headers: none of them stops a worker."""
    assert reply_to([(REPLY_TO, target), (CORRELATION, b"x")]) is None


async def test_a_reply_goes_where_it_was_asked_to_go(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)

    @app.agent(words, reply_type=str)
    async def shout(stream: fs.Stream[str]) -> Any:
        async for word in stream:
            yield word.upper()

    await kit.create(app)
    async with kit.running(app):
        promise = await shout.ask_nowait("a", correlation_id="one")
        with pytest.raises(AppError, match="waits for its reply"):
            await shout.ask_nowait("a", correlation_id="one")
        assert await promise == "A"
        assert await shout.ask("b", reply_to=out, timeout=20) == "B"
        assert await shout.join(["c", "d"], reply_to=out) == ["C", "D"]
        assert [reply async for reply in shout.map(["e"], reply_to=out)] == ["E"]
        await shout.send(value="f", reply_to=out, correlation_id="mine", headers={"h": b"1"})
        # What no topic of the app is gets none.
        await shout.send(value="g", reply_to=app.changelog("counts"))
        await kit.until(kit.committed(app, words.name, 7))
        await kit.until(kit.count(out.name, 5))
        with pytest.raises(AppError, match="say reply_to="):
            await shout.send(value="h", correlation_id="mine")
    found = {record.value: dict(record.headers) for record in await kit.records(out.name)}
    assert found.keys() == {b"B", b"C", b"D", b"E", b"F"}
    assert found[b"F"] == {"flowstream.correlation": b"mine"}
    assert len(await kit.records(app.replies)) == 1
