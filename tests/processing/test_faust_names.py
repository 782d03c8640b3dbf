"""Names that Faust's users know, each meaning what it means there, inside the event's unit."""

from __future__ import annotations

from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.errors import AppError
from tests.processing.conftest import Kit


async def test_S9_what_a_failed_event_sent_in_any_way_is_not_there(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", key_type=str, value_type=str, partitions=1)
    failed: list[str] = []

    def note(word: str) -> None:
        sent = out.send_soon(key="soon", value=word)
        assert sent == (out.name, 0, None)

    @app.agent(words, on_error="retry")
    async def send(stream: fs.Stream[str]) -> None:
        async for event in stream.events():
            note(event.value)
            await event.send(out)
            await event.send(out, None, event.value.upper(), timestamp=2.0, headers=())
            await app.send(out, "app", event.value)
            await app.send(out.name, key="name", value=event.value)
            await app.send(catch, "agent", event.value)
            await catch.send(key="method", value=event.value, headers={"h": b"1"})
            if event.value == "a" and not failed:
                failed.append(event.value)
                raise ValueError("once")

    @app.agent(out)
    async def catch(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    await kit.create(app)
    async with kit.running(app):
        await app.send(words.name, "k", "a", timestamp=1.0, headers={"x": b"y"})
        await kit.until(kit.committed(app, out.name, 7))
    assert failed == ["a"]
    found = [(r.key, r.value, r.timestamp, tuple(r.headers)) for r in await kit.records(out.name)]
    assert found == [
        (b"soon", b"a", 1000, ()),
        (b"k", b"a", 1000, (("x", b"y"),)),
        (None, b"A", 2000, ()),
        (b"app", b"a", 1000, ()),
        (b"name", b"a", 1000, ()),
        (b"agent", b"a", 1000, ()),
        (b"method", b"a", 1000, (("h", b"1"),)),
    ]


async def test_the_current_event_is_known_to_what_an_agent_calls(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", key_type=str, value_type=str, partitions=1)
    numbers = app.topic(f"{name}-numbers", key_type=str, value_type=int, partitions=1)
    seen: list[Any] = []

    def look() -> None:
        seen.append(fs.current_event())

    @app.agent(words)
    async def plain(stream: fs.Stream[str]) -> None:
        look()
        async for event in stream.events():
            look()
            assert seen[-1] == event

    @app.agent(numbers)
    async def grouped(stream: fs.Stream[int]) -> None:
        async for _ in stream.group_by(lambda number: number % 3, key_type=int):
            look()

    await kit.create(app)
    async with kit.running(app):
        await words.send(key="k", value="v", timestamp=1.5, headers={"h": b"1"})
        await kit.until(kit.committed(app, words.name, 1))
        await numbers.send(key="k", value=5)
        await kit.sees(lambda: isinstance(seen[-1], fs.Event) and seen[-1].value == 5)
    assert fs.current_event() is None
    assert set(seen[:-2]) == {None}
    assert seen[-2] == fs.Event("k", "v", (("h", b"1"),), 1.5, words.name, 0, 0)
    assert (seen[-1].key, seen[-1].topic) == (2, app.repartition("grouped"))


async def test_take_events_is_a_take_of_events(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", key_type=str, value_type=str, partitions=1)
    seen: list[list[tuple[Any, str, int]]] = []

    @app.agent(words)
    async def pair(stream: fs.Stream[str]) -> None:
        async for events in stream.take_events(2, within=60):
            seen.append([(event.key, event.value, event.offset) for event in events])

    await kit.create(app)
    async with kit.running(app):
        for number in range(4):
            await words.send(key=str(number), value="w")
        await kit.sees(lambda: len(seen) == 2)
    assert seen == [[("0", "w", 0), ("1", "w", 1)], [("2", "w", 2), ("3", "w", 3)]]


async def test_an_event_sent_on_does_not_ask_for_the_reply(kit: Kit, name: str) -> None:
    app = kit.app(name)
    asked = app.topic(f"{name}-asked", value_type=str, partitions=1)
    done = app.topic(f"{name}-done", value_type=str, partitions=1)

    @app.agent(asked)
    async def answer(stream: fs.Stream[str]) -> Any:
        async for event in stream.events():
            await event.send(done)
            yield event.value + "!"

    @app.agent(done)
    async def other(stream: fs.Stream[str]) -> Any:
        async for value in stream:
            yield value + "?"

    await kit.create(app)
    async with kit.running(app):
        assert await answer.ask("well") == "well!"
        await kit.until(kit.committed(app, done.name, 1))
    assert [list(record.headers) for record in await kit.records(done.name)] == [[]]
    assert len(await kit.records(app.replies)) == 1


async def test_a_sink_is_added_before_a_worker_runs_or_refused(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)

    @app.agent(words)
    async def echo(stream: fs.Stream[str]) -> Any:
        async for word in stream:
            yield word

    with pytest.raises(AppError, match="a sink is a topic"):
        echo.add_sink("out")  # type: ignore[arg-type]
    echo.add_sink(out)
    await kit.create(app)
    async with kit.running(app):
        await echo.cast("a", timestamp=3.0, headers={"h": b"1"})
        await kit.until(kit.count(out.name, 1))
        with pytest.raises(AppError, match="add its sinks where the app is declared"):
            echo.add_sink(print)
    assert [record.timestamp for record in await kit.records(out.name)] == [3000]


async def test_what_cannot_be_sent_says_so(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", value_type=str, partitions=1)
    with pytest.raises(fs.NotInAgent, match="inside an agent"):
        words.send_soon(value="a")
    with pytest.raises(AppError, match=r"write app\.topic\('other', value_type=\.\.\.\)"):
        await app.send("other", value="a")


def test_windows_go_by_the_stream() -> None:
    table = fs.App("a").Table("t", default=int).tumbling(10)
    assert table.relative_to_stream() is table
