"""A worker's health and metrics over HTTP."""

from __future__ import annotations

import asyncio
import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

import flowstream as fs
from flowstream.processing.environment.settings import Settings
from flowstream.processing.running.surroundings import Counts
from flowstream.web.exposition import COUNTS
from flowstream.web.serving import WebUnavailable, bound, serving
from flowstream.wire.api import ApiKey
from tests.processing.conftest import Kit
from tests.transport.proxy import Fault, Proxy
from tests.web.conftest import visited

ROOT = Path(__file__).resolve().parents[2]


def samples(text: str) -> dict[str, float]:
    """Every sample by name and labels, as `name{a=b}`."""
    found = {}
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(each.labels.items()))
            found[f"{each.name}{{{labels}}}" if labels else each.name] = each.value
    return found


def test_every_count_of_a_worker_is_a_metric() -> None:
    assert {each.name for each in dataclasses.fields(Counts)} == set(COUNTS)


async def test_metrics_of_a_worker(kit: Kit, name: str) -> None:
    app = kit.app(name, web_port=0)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=2)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)
    counts = app.Table("counts", default=int)

    @app.agent(words, sink=[out], on_error="skip")
    async def count(stream: fs.Stream[str]):  # type: ignore[no-untyped-def]
        async for word in stream:
            counts[word] += 1
            if word == "bad":
                raise ValueError(word)
            yield word

    await kit.create(app)
    async with visited(kit, app) as (worker, client):
        for word in ("a", "b", "bad", "a"):
            await words.send(key=word, value=word)
        await kit.until(kit.committed(app, f"{name}-in", 4))
        await kit.sees(lambda: worker.counts.commits > 0)
        empty = f"flowstream_source_lag_records{{partition=1,topic={name}-in}}"
        found: dict[str, float] = {}

        async def fetched_both() -> bool:
            nonlocal answer
            answer = await client.get("/metrics")
            found.update(samples(answer.text))
            return empty in found

        answer = await client.get("/metrics")
        await kit.until(fetched_both)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert found[f"flowstream_worker_info{{app={name},guarantee=exactly_once}}"] == 1
    assert found["flowstream_worker_events_total"] == 4
    assert found["flowstream_worker_skipped_total"] == 1
    assert found[f"flowstream_agent_events_total{{agent=count,topic={name}-in}}"] == 4
    assert found[f"flowstream_output_records_total{{topic={name}-out}}"] == 3
    assert found["flowstream_commit_duration_seconds_count"] >= 1
    assert found["flowstream_epoch_records_sum"] >= 5  # 3 outputs, and rows of the changelog
    assert found["flowstream_rebalance_duration_seconds_count"] == 1
    for partition in (0, 1):
        where = f"{{partition={partition},topic={name}-in}}"
        assert found[f"flowstream_source_lag_records{where}"] == 0
        assert found[f"flowstream_source_lag_seconds{where}"] == 0
    assert sum(v for k, v in found.items() if k.startswith("flowstream_table_rows")) >= 2
    assert found["flowstream_worker_healthy"] == found["flowstream_worker_ready"] == 1
    page = (ROOT / "docs" / "guide" / "observing.md").read_text(encoding="utf-8")
    for line in answer.text.splitlines():
        if line.startswith("# TYPE flowstream_"):
            family = line.split()[2]
            short = family.replace("flowstream_worker_", "..._")
            assert f"`{family}`" in page or f"`{short}`" in page, f"{family} is in no guide"


async def test_lag_in_records_and_seconds_counts_what_waits(kit: Kit, name: str) -> None:
    app = kit.app(name, web_port=0)
    words = app.topic(f"{name}-in", value_type=str, partitions=1)
    go = asyncio.Event()

    @app.agent(words)
    async def slow(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            await go.wait()

    await kit.create(app)
    for number in range(3):
        await words.send(value="x", timestamp=1_000.0 + number)
    where = f"{{partition=0,topic={name}-in}}"
    async with visited(kit, app, clock=lambda: 1_060_000) as (worker, client):
        await kit.sees(lambda: worker.counts.events == 3)
        found = samples((await client.get("/metrics")).text)
        assert found[f"flowstream_source_lag_records{where}"] == 3
        assert found[f"flowstream_source_lag_seconds{where}"] == 60
        go.set()
        await kit.until(kit.committed(app, f"{name}-in", 3))
        found = samples((await client.get("/metrics")).text)
        # The commit's marker lies behind the last record, in other topics only: no lag is left.
        assert found[f"flowstream_source_lag_records{where}"] == 0
        assert found[f"flowstream_source_position{where}"] == 3


async def test_markers_behind_the_last_record_are_no_lag(kit: Kit, name: str) -> None:
    """What another exactly-once app wrote ends in a transaction marker."""
    first, second = kit.app(f"{name}-1"), kit.app(f"{name}-2", web_port=0)
    source = first.topic(f"{name}-in", value_type=str, partitions=1)
    between = first.topic(f"{name}-between", value_type=str, partitions=1)

    @first.agent(source, sink=[between])
    async def forward(stream: fs.Stream[str]):  # type: ignore[no-untyped-def]
        async for value in stream:
            yield value

    @second.agent(second.topic(f"{name}-between", value_type=str))
    async def read(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    await kit.create(first)
    async with kit.running(first), visited(kit, second) as (_, client):
        await source.send(value="x")
        await kit.until(kit.committed(second, f"{name}-between", 1))
        found: dict[str, float] = {}

        async def caught_up() -> bool:
            found.update(samples((await client.get("/metrics")).text))
            return found[f"flowstream_source_lag_records{{partition=0,topic={name}-between}}"] == 0

        await kit.until(caught_up)


async def test_ready_once_every_task_runs(kit: Kit, name: str) -> None:
    app = kit.app(name, web_port=0)
    words = app.topic(f"{name}-in", value_type=str, partitions=2)

    @app.agent(words)
    async def nothing(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    await kit.create(app)
    worker = fs.Worker(app, kit.address)
    async with serving(worker) as address, httpx.AsyncClient() as client:
        answer = await client.get(f"http://{address}/ready")
        assert (answer.status_code, answer.json()["status"]) == (503, "joining")
        assert (await client.get(f"http://{address}/health")).json()["status"] == "ok"
        running = asyncio.create_task(worker.run())

        async def ready() -> bool:
            return (await client.get(f"http://{address}/ready")).status_code == 200

        await kit.until(ready)
        assert sorted(worker.tasks) == ["0/2", "1/2"]
        membership = worker.membership
        assert membership is not None
        await membership.abandon()  # as when its consumer has failed
        assert not membership.is_ready
        worker.stop()
        await running


async def test_V2_a_worker_that_hears_nothing_of_the_broker_is_not_ready(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowstream.web.health.CUT_OFF_S", 0.3)
    app = kit.app(name, web_port=0)
    words = app.topic(f"{name}-in", value_type=str, partitions=1)
    app.Table("counts", key_type=str, default=int, partitions=1)

    @app.agent(words)
    async def nothing(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    await kit.create(app)
    is_cut = True
    async with Proxy(kit.address) as proxy:
        proxy.inject(ApiKey.HEARTBEAT, Fault.LOSE_REQUEST, 10_000, when=lambda _: is_cut)
        worker = fs.Worker(app, proxy.address)
        async with serving(worker) as address, worker.running(), httpx.AsyncClient() as client:

            async def status() -> str:
                told: str = (await client.get(f"http://{address}/ready")).json()["status"]
                return told

            async def is_red() -> bool:
                return await status() == "cut off"

            await kit.until(is_red)
            metrics = samples((await client.get(f"http://{address}/metrics")).text)
            assert metrics["flowstream_worker_ready"] == 0
            assert (await client.get(f"http://{address}/health")).status_code == 200
            assert worker.membership is not None
            monkeypatch.setattr(worker.membership.consumer._member, "_session_timeout_ms", 300)
            row = f"http://{address}/tables/counts/a?timeout=0.1"

            async def answers(status: int) -> bool:
                return (await client.get(row)).status_code == status

            async def is_unsure() -> bool:
                answer = await client.get(row)
                return answer.status_code == 503 and "may be another's" in answer.json()["error"]

            # Its session is over by its own clock: what it has may be another's by now (S1).
            await kit.until(is_unsure)
            is_cut = False

            async def is_ready() -> bool:
                return await status() == "ready"

            await kit.until(is_ready)
            await kit.until(partial(answers, 404))


async def test_V2_health_is_red_when_an_event_does_not_end_or_fails_for_ever(
    kit: Kit, name: str
) -> None:
    app = kit.app(name, web_port=0, stall_warning=0.3, retry_backoff=5.0)
    words = app.topic(f"{name}-in", value_type=str, partitions=1)
    hangs = app.topic(f"{name}-hangs", value_type=str, partitions=1)

    @app.agent(words, on_error="retry")
    async def failing(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            raise ValueError("the shop is closed")

    @app.agent(hangs)
    async def hanging(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            await asyncio.get_running_loop().create_future()

    await kit.create(app)
    async with visited(kit, app) as (_, client):
        assert (await client.get("/health")).status_code == 200
        for topic, agent in ((words, "failing"), (hangs, "hanging")):
            await topic.send(value="x")
            told = f"agent {agent!r} on {topic.name}-0 has not finished the event at offset 0"

            async def red(told: str = told) -> bool:
                answer = await client.get("/health")
                return answer.status_code == 503 and told in answer.json()["reasons"]

            await kit.until(red)


async def test_a_port_that_is_taken_is_named(kit: Kit, name: str) -> None:
    listening = bound(Settings(web_port=0))
    port = listening.getsockname()[1]
    try:
        with pytest.raises(WebUnavailable, match=f"127.0.0.1:{port}"):
            bound(Settings(web_port=port))
    finally:
        listening.close()


@pytest.mark.parametrize(
    ("advertised", "expected"),
    [("box", "box:PORT"), ("box:80", "box:80"), ("[::1]", "[::1]:PORT"), (None, "127.0.0.1:PORT")],
)
def test_the_address_that_others_are_told(advertised: str | None, expected: str) -> None:
    from flowstream.web.serving import advertised as told

    settings = dataclasses.replace(Settings(web_port=0), web_advertised=advertised)
    with bound(settings) as listening:
        port = str(listening.getsockname()[1])
        assert told(settings, listening) == expected.replace("PORT", port)


async def test_a_worker_serves_by_itself_where_its_app_has_a_port(kit: Kit, name: str) -> None:
    app = kit.app(name, web_port=0)

    @app.agent(app.topic(f"{name}-in", partitions=1))
    async def nothing(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    @app.page("/hello/")
    async def hello(view: fs.View, request: Any) -> Any:
        return view.text("hello")

    await kit.create(app)
    worker = fs.Worker(app, kit.address)
    async with worker.running(), httpx.AsyncClient() as client:
        url = f"http://{worker.web_address}/hello/"
        assert (await client.get(url)).text == "hello"
    assert worker.web_address is None
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


async def test_pages_that_nobody_can_visit_are_told(
    kit: Kit, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", value_type=str, partitions=1)

    @app.agent(words)
    async def work(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    told = "the app has pages and no web_port: nobody can visit them"
    async with fs.Worker(app, kit.address).running():
        assert told not in caplog.messages

    @app.page("/words")
    async def answer(web: Any, request: Any) -> Any:
        return web.json({})

    async with fs.Worker(app, kit.address).running():
        assert told in caplog.messages
