"""Tables read from outside of agents: committed rows, from whoever owns them (S1)."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing

import pytest

import flowstream as fs
from tests.processing.conftest import Kit
from tests.web.conftest import visited
from tests.web.counting import ALL, Words, settled, several


async def test_every_key_is_found_at_whoever_owns_it(kit: Kit, name: str) -> None:
    one, two = Words(kit, name, data="a"), Words(kit, name, data="b")
    outside = Words(kit, name, data="c")
    await kit.create(one.app)
    async with several(kit, [one, two]) as found:
        sent = await one.send(*ALL, *ALL)
        query = outside.app.query(outside.counts)
        assert [await query.get(word, after=sent) for word in ALL] == [2] * 12
        assert await query.get("nothing") is None
        assert await query.range(after=sent) == [(word, 2) for word in sorted(ALL)]
        assert await query.range("w1", "w2") == [("w1", 2), ("w10", 2), ("w11", 2)]
        assert await query.range(prefix="w1", reverse=True, limit=2) == [("w11", 2), ("w10", 2)]
        assert sorted([row async for row in query.scan()]) == [(word, 2) for word in sorted(ALL)]
        # Any worker answers for any key over HTTP.
        for _, client in found:
            for word in ALL:
                answer = await client.get(f"/tables/counts/{word}")
                assert answer.json() == {"key": word, "value": 2}
            rows = (await client.get("/tables/counts?prefix=w1&limit=2")).json()["rows"]
            assert rows == [{"key": "w1", "value": 2}, {"key": "w10", "value": 2}]


async def test_S1_only_what_is_committed_is_seen(kit: Kit, name: str) -> None:
    words = Words(kit, name)
    await kit.create(words.app)
    async with visited(kit, words.app) as (worker, client):
        query = words.app.query("counts")
        (first,) = await words.send("a")
        assert await query.get("a", after=first) == 1
        words.hold.clear()
        (second,) = await words.send("a")
        await kit.sees(lambda: worker.counts.events == 2)
        # The agent has changed the row in a unit that is still open.
        assert await query.get("a") == 1
        with pytest.raises(fs.QueryTimeout, match="did not cover"):
            await query.get("a", after=second, timeout=0.1)
        answer = await client.get(
            f"/tables/counts/a?after={name}-in:{second.partition}:{second.offset}&timeout=0.1"
        )
        assert (answer.status_code, answer.json()["kind"]) == (504, "timeout")
        with pytest.raises(fs.TooStale):
            await query.get("a", max_staleness=0.0)
        waiting = asyncio.create_task(query.get("a", after=second, timeout=20))
        words.hold.set()
        assert await waiting == 2
        await kit.until(kit.committed(words.app, f"{name}-in", 2))
        assert await query.get("a", max_staleness=5.0) == 2


async def test_a_write_is_read_through_a_repartition_topic(kit: Kit, name: str) -> None:
    app = kit.app(name, web_port=0)
    lines = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=2)
    counts = app.Table("counts", key_type=str, default=int)

    @app.agent(lines)
    async def count(stream: fs.Stream[str]) -> None:
        async for word in stream.group_by(lambda word: word, name="word"):
            counts[word] += 1

    await kit.create(app)
    async with visited(kit, app):
        query = app.query(counts)
        for number in range(1, 6):
            sent = await lines.send(key=f"k{number}", value="same")
            assert await query.get("same", after=sent, timeout=20) == number


async def test_a_query_outlives_a_move_of_its_partition(kit: Kit, name: str) -> None:
    one, two = Words(kit, name, data="a"), Words(kit, name, data="b")
    outside = Words(kit, name, data="c").app
    await kit.create(one.app)
    query = outside.query("counts")
    async with visited(kit, one.app):
        sent = await one.send(*ALL)
        assert [await query.get(word, after=sent) for word in ALL] == [1] * 12
        async with visited(kit, two.app):
            # While the second worker takes its share, every answer is right or comes later.
            for _ in range(5):
                for word in ALL:
                    assert await query.get(word, timeout=20) == 1
            await settled(kit, one.app, 4, 2)
            assert [await query.get(word, timeout=20) for word in ALL] == [1] * 12
        assert [await query.get(word, timeout=20) for word in ALL] == [1] * 12
    with pytest.raises(fs.TableUnavailable, match="no worker of app"):
        await query.get("w1", timeout=0.2)


async def test_watch_tells_every_committed_value_in_order(kit: Kit, name: str) -> None:
    one, two = Words(kit, name, data="a"), Words(kit, name, data="b")
    await kit.create(one.app)
    query = Words(kit, name, data="c").app.query("counts")
    async with (
        visited(kit, one.app),
        AsyncExitStack() as second,
        aclosing(query.watch("a", timeout=20)) as values,
    ):
        assert await anext(values) is None
        seen = []
        for _ in range(5):
            (sent,) = await one.send("a")
            assert await one.app.query("counts").get("a", after=sent, timeout=20)
            seen.append(await anext(values))
        assert seen == [1, 2, 3, 4, 5]
        # The watch follows its partition, wherever it is after this.
        await second.enter_async_context(visited(kit, two.app))
        await settled(kit, one.app, 4, 2)
        await one.send("a", "b")
        assert await anext(values) == 6


async def test_watch_over_http_is_a_stream_of_events(kit: Kit, name: str) -> None:
    words = Words(kit, name)
    await kit.create(words.app)
    async with visited(kit, words.app) as (_, client):
        (sent,) = await words.send("a")
        assert await words.app.query("counts").get("a", after=sent, timeout=20) == 1
        async with client.stream("GET", "/tables/counts/a?watch=true") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.aiter_lines()
            assert await anext(lines) == "data: 1"
            await words.send("a")
            assert await anext(lines) == ""
            assert await anext(lines) == "data: 2"


async def test_S8_sets_windows_and_ttl(kit: Kit, name: str) -> None:
    app = kit.app(name, web_port=0)
    topic = app.topic(f"{name}-in", key_type=str, value_type=int, partitions=1)
    members = app.SetTable("members", key_type=str, value_type=int)
    sums = app.Table("sums", key_type=str, default=int).tumbling(10)
    short = app.Table("short", key_type=str, value_type=int, ttl=5)

    @app.agent(topic)
    async def spread(stream: fs.Stream[int]) -> None:
        async for key, value in stream.items():
            members[key].add(value)
            sums[key] += value
            short[key] = value

    await kit.create(app)
    async with visited(kit, app) as (_, client):
        await topic.send(key="a", value=1, timestamp=1_000)
        await topic.send(key="a", value=2, timestamp=1_011)
        sent = await topic.send(key="b", value=3, timestamp=1_012)
        assert await app.query(members).get("a", after=sent, timeout=20) == {1, 2}
        assert await app.query(sums).get("a") == {1_000.0: 1, 1_010.0: 2}
        assert await app.query(short).get("a") == 2
        assert await app.query(short).get("b") == 3
        found = {key: value async for key, value in app.query(members).scan()}
        assert found == {"a": {1, 2}, "b": {3}}
        windows = {key: value async for key, value in app.query(sums).scan()}
        assert windows == {("a", 1_000.0): 1, ("a", 1_010.0): 2, ("b", 1_010.0): 3}
        await topic.send(key="a@1990", value=9, timestamp=1_011)
        long = await topic.send(key="a@example.org", value=9, timestamp=1_011)
        # S8: the windows of longer keys lie between those of `a`, and are none of its.
        assert await app.query(sums).get("a@1990", after=long, timeout=20) == {1_010.0: 9}
        assert await app.query(sums).get("a") == {1_000.0: 1, 1_010.0: 2}
        async with aclosing(app.query(sums).watch("a")) as watched:
            assert await anext(watched) == {1_000.0: 1, 1_010.0: 2}
        later = await topic.send(key="b", value=4, timestamp=1_017)
        # Event time is past the end of the first row of `short`.
        assert await app.query(short).get("a", after=later, timeout=20) is None
        assert (await client.get("/tables/members/a")).json()["value"] == [1, 2]
        with pytest.raises(fs.AppError, match="several rows per key"):
            await app.query(sums).range()


async def test_pages_hold_more_rows_than_one(kit: Kit, name: str) -> None:
    app = kit.app(name, web_port=0)
    topic = app.topic(f"{name}-in", key_type=str, value_type=int, partitions=1)
    rows = app.Table("rows", key_type=str, value_type=int)

    @app.agent(topic)
    async def fill(stream: fs.Stream[int]) -> None:
        async for many in stream:
            for number in range(many):
                rows[f"{number:05d}"] = number

    await kit.create(app)
    async with visited(kit, app):
        sent = await topic.send(key="x", value=2_500)
        query = app.query(rows)
        assert await query.get("02499", after=sent, timeout=20) == 2_499
        assert [value async for _, value in query.scan()] == list(range(2_500))
        found = await query.range("00010", "02400", limit=2_000, reverse=True)
        assert [value for _, value in found] == list(range(2_399, 399, -1))


async def test_keys_of_several_fields_are_asked_for_by_the_first(kit: Kit, name: str) -> None:
    app = kit.app(name, web_port=0)
    topic = app.topic(f"{name}-in", key_type=str, value_type=int, partitions=2)
    seats = app.Table("seats", key_type=tuple[str, int], default=int, ordered=True)

    @app.agent(topic)
    async def fill(stream: fs.Stream[int]) -> None:
        async for room, number in stream.items():
            seats[room, number] = number

    await kit.create(app)
    async with visited(kit, app) as (_, client):
        sent = [await topic.send(key=room, value=n) for room in ("red", "blue") for n in (2, 10)]
        query = app.query(seats)
        assert await query.range(prefix=("blue",), after=sent) == [
            (("blue", 2), 2), (("blue", 10), 10)
        ]  # fmt: skip
        rows = (await client.get("/tables/seats", params={"prefix": '["blue"]'})).json()["rows"]
        assert [row["key"] for row in rows] == [["blue", 2], ["blue", 10]]


async def test_a_worker_that_is_cut_off_does_not_call_itself_fresh(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = Words(kit, name)
    await kit.create(words.app)
    async with visited(kit, words.app) as (worker, _):
        (sent,) = await words.send("a")
        query = words.app.query("counts")
        assert await query.get("a", after=sent, timeout=20) == 1
        await kit.until(kit.committed(words.app, f"{name}-in", 1))
        assert await query.get("a", max_staleness=2.0) == 1
        assert worker.membership is not None
        monkeypatch.setattr(worker.membership.consumer, "silence_ms", lambda tp: 3_000)
        with pytest.raises(fs.TooStale, match=r"3\.000 s behind"):
            await query.get("a", max_staleness=2.0)
        assert await query.get("a", max_staleness=4.0) == 1
