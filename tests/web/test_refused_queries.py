"""Questions that are refused: each is told what is wrong, and none costs the worker (X4, X7)."""

from __future__ import annotations

from math import nan
from typing import Any

import msgspec
import pytest

import flowstream as fs
from flowstream.processing.queries.asked import decode_question
from tests.processing.conftest import Kit
from tests.web.conftest import visited
from tests.web.counting import Words, settled


@pytest.mark.parametrize("wrong", [{"timeout_s": nan}, {"timeout_s": -1.0}, {"stale_s": nan}])
def test_X4_no_question_stops_the_loop(wrong: dict[str, float]) -> None:
    """A timer that is due at NaN would: what is due after it never is."""
    data = msgspec.msgpack.encode({"table": "counts", "partition": 0, **wrong})
    with pytest.raises(fs.AppError, match="from 0 on"):
        decode_question(data)


async def test_X4_a_place_that_is_none_is_a_bad_request(kit: Kit, name: str) -> None:
    words = Words(kit, name)
    await kit.create(words.app)
    async with visited(kit, words.app) as (_, client):
        for after in ("in", "in:0:", "in:0:-1", "in:0:\u00b2", "in:0:" + "9" * 5_000, "in:x:0"):
            answer = await client.get(f"/tables/counts/a?after={after}")
            assert (answer.status_code, answer.json()["kind"]) == (400, "wrong")


async def test_what_is_asked_for_wrongly_is_said(kit: Kit, name: str) -> None:
    words = Words(kit, name)
    numbers = words.app.Table("numbers", key_type=int, default=int)
    words.app.Table("seats", key_type=tuple[str, int], default=int, ordered=True)
    words.app.Table("hours", default=int).tumbling(3600)
    await kit.create(words.app)
    with pytest.raises(fs.AppError, match="has no table 'nothing', only counts, hours"):
        words.app.query("nothing")
    with pytest.raises(fs.TableUnavailable, match="not on this cluster yet"):
        await words.app.query("counts").get("a", timeout=5)
    async with visited(kit, words.app) as (_, client):
        await settled(kit, words.app, 4, 1)
        for path, status, told in (
            ("/nothing", 404, "/nothing: Not Found"),
            ("/tables/nothing/a", 404, "has no table"),
            (
                "/tables/hours",
                400,
                "get a key (over HTTP GET /tables/hours/KEY), or",
            ),
            ("/tables/counts/a", 404, "has no key 'a' in the partition (of 4) where events of"),
            ("/tables/numbers/a", 400, "is no key of table"),
            ("/tables/numbers", 400, "ordered=True"),
            ("/tables/counts/a?after=in:1", 400, "TOPIC:PARTITION:OFFSET"),
            ("/tables/counts/a?after=elsewhere:0:1", 400, "does not read topic 'elsewhere'"),
            ("/tables/counts/a?max_staleness=-1", 400, "not a number"),
            ("/tables/counts?limit=0", 400, "limit must be"),
            ("/tables/counts/a?watch=perhaps", 400, "neither true nor false"),
            ("/tables/counts/a?max_stalenes=5", 400, "means nothing here: watch, after, max_"),
            ("/tables/counts/a?watch=true&max_staleness=5", 400, "means nothing here: watch, time"),
            ("/tables/counts?stat=a", 400, "'stat' means nothing here"),
            ("/tables/seats?prefix=a", 400, "a JSON list of their first fields"),
            ("/tables/seats?prefix=[5]", 400, "expected str, got int"),
        ):
            answer = await client.get(path)
            assert (path, answer.status_code) == (path, status)
            assert told in answer.json()["error"], answer.text
            assert answer.json()["kind"] == {400: "wrong", 404: "missing"}[status]
        listed = (await client.get("/tables")).json()["tables"]
        assert {"name": "counts", "kind": "table"} in listed
        answer = await client.post("/-/rows", content=b"\xc1")
        assert (answer.status_code, answer.json()["kind"]) == (400, "wrong")
        answer = await client.post("/-/rows", content=b"x" * 100_000)
        assert answer.status_code == 400
        with pytest.raises(TypeError, match="numbers"):
            await words.app.query(numbers).get("a")  # type: ignore[arg-type]
        with pytest.raises(fs.AppError, match="limit is a whole number from 1 on, not -1"):
            await words.app.query(words.counts).range(limit=-1)
        with pytest.raises(fs.AppError, match=r"after= takes what a send returned, .* not 5"):
            await words.app.query(words.counts).get("a", after=5)  # type: ignore[arg-type]


async def test_no_time_to_wait_is_refused(kit: Kit, name: str) -> None:
    words = Words(kit, name)
    query = words.app.query(words.counts)
    for seconds in (-1, float("nan"), "5", None, True):
        wrong: dict[str, Any] = {"timeout": seconds}
        with pytest.raises(fs.AppError, match="timeout= is seconds, 0 or more, not"):
            await query.get("a", **wrong)
        with pytest.raises(fs.AppError, match="timeout= is seconds"):
            await query.range(**wrong)
        with pytest.raises(fs.AppError, match="timeout= is seconds"):
            await anext(query.scan(**wrong))
        with pytest.raises(fs.AppError, match="timeout= is seconds"):
            await anext(query.watch("a", **wrong))
    with pytest.raises(fs.AppError, match="max_staleness= is seconds, 0 or more, not -1"):
        await query.get("a", max_staleness=-1)


async def test_a_worker_without_a_web_server_is_named(kit: Kit, name: str) -> None:
    words = Words(kit, name, web_port=None)
    await kit.create(words.app)
    async with kit.running(words.app):
        await settled(kit, words.app, 4, 1)
        with pytest.raises(fs.TableUnavailable, match="--web-port"):
            await words.app.query("counts").get("a", timeout=2)


async def test_X7_a_query_needs_the_token_and_brings_it(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = Words(kit, name, data="b").app
    monkeypatch.setenv("FLOWSTREAM_WEB_TOKEN", "s3cret-of-ours")
    words = Words(kit, name)
    await kit.create(words.app)
    async with visited(kit, words.app) as (_, client):
        (sent,) = await words.send("a")
        assert await words.app.query("counts").get("a", after=sent, timeout=20) == 1
        assert (await client.get("/tables/counts/a")).status_code == 401
        assert (await client.post("/-/rows", content=b"")).status_code == 401
        with pytest.raises(fs.QueryError, match="web_token"):
            await stranger.query("counts").get("a")
