"""`flowstream workers` and `flowstream lag` against running workers."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import flowstream as fs
from flowstream.cli import lag
from flowstream.cli.app import build
from flowstream.transport.types import Generation, TopicPartition
from tests.processing.conftest import Kit
from tests.web.conftest import visited

VERBS = build(("workers", "lag"))


async def call(kit: Kit, *arguments: str) -> Any:
    """What a verb prints as JSON."""
    command = [*arguments, "--broker", f"kafka://{kit.address}", "--json"]
    result = await asyncio.to_thread(CliRunner().invoke, VERBS, command)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def test_workers_and_lag(kit: Kit, name: str) -> None:
    app = kit.app(name, web_port=0)
    topic = app.topic(f"{name}-in", value_type=str, partitions=2)
    go = asyncio.Event()

    @app.agent(topic)
    async def slow(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            await go.wait()

    await kit.create(app)
    async with visited(kit, app) as (worker, client):
        for number in range(3):
            await topic.send(value="x", partition=1, timestamp=1_000.0 + number)
        await kit.sees(lambda: worker.counts.events == 3)
        rows = await call(kit, "lag", name)
        assert [(row["partition"], row["records"]) for row in rows] == [(0, 0), (1, 3)]
        assert rows[0]["seconds"] == 0
        _, measured = await lag.measure(kit.cluster, name, 1_060_000)
        assert measured[1].seconds == 60
        (found,) = (await call(kit, "workers", name))["workers"]
        assert found["web"] == worker.web_address == str(client.base_url).removeprefix("http://")
        assert found["partitions"] == [f"{name}-in-0", f"{name}-in-1"]
        assert found["lag"] == 3
        go.set()
        await kit.until(kit.committed(app, f"{name}-in", 3))
        rows = await call(kit, "lag", name)
        assert [(row["records"], row["seconds"]) for row in rows] == [(0, 0), (0, 0)]


async def test_partitions_that_nobody_has_and_of_which_nothing_is_committed_lag_too(
    kit: Kit, name: str
) -> None:
    app = kit.app(name)
    topic = app.topic(f"{name}-in", value_type=str, partitions=3)
    await kit.create(app)
    for number in range(3):
        await topic.send(value="x", partition=1, timestamp=1_000.0 + number)
    await kit.admin.commit_offsets({TopicPartition(topic.name, 0): 0}, Generation(name, -1, ""))
    rows = await call(kit, "lag", name)
    assert [(row["committed"], row["records"]) for row in rows] == [(0, 0), (None, 3), (None, 0)]


async def test_lag_again_and_again(kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app = kit.app(name)
    topic = app.topic(f"{name}-in", value_type=str, partitions=1)

    @app.agent(topic)
    async def nothing(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    await kit.create(app)
    async with kit.running(app):
        await topic.send(value="x")
        await kit.until(kit.committed(app, f"{name}-in", 1))
    rounds = itertools.count(1)

    async def pause(seconds: float) -> None:
        assert seconds == 0.5
        if next(rounds) % 4 == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(lag, "pause", pause)
    command = ["lag", name, "--watch", "--interval", "0.5", "--broker", f"kafka://{kit.address}"]
    result = await asyncio.to_thread(CliRunner().invoke, VERBS, [*command, "--json"])
    assert result.exit_code == 130, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [[row["records"] for row in rows] for rows in lines] == [[0]] * 4
    result = await asyncio.to_thread(CliRunner().invoke, VERBS, command)
    assert result.exit_code == 130, result.output
    assert result.stdout.count(f"{name}-in") == 4
    assert result.stdout.count("committed") == 4


async def test_an_app_may_be_named_by_its_module(
    kit: Kit, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = kit.app(name)
    topic = app.topic(f"{name}-in", value_type=str, partitions=1)

    @app.agent(topic)
    async def nothing(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    await kit.create(app)
    async with kit.running(app):
        await topic.send(value="x")
        await kit.until(kit.committed(app, f"{name}-in", 1))
    module = f"module_{uuid.uuid4().hex}"
    where = f"kafka://{kit.address}"
    (tmp_path / f"{module}.py").write_text(
        f"import flowstream\nname = flowstream.App({name!r}, broker={where!r})\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for verb in ("workers", "lag"):
        by_id, by_module = await call(kit, verb, name), await call(kit, verb, "-A", module)
        assert by_id == by_module
    # The app's own settings say where its broker is.
    alone = await asyncio.to_thread(CliRunner().invoke, VERBS, ["lag", "-A", module, "--json"])
    assert [row["committed"] for row in json.loads(alone.stdout)] == [1]
    for words in (["lag"], ["workers", name, "-A", module]):
        result = await asyncio.to_thread(CliRunner().invoke, VERBS, words)
        assert result.exit_code == 2
        assert "name the app by its id, or by -A MODULE[:APP]" in result.output


async def test_nobody_of_that_name(kit: Kit, name: str) -> None:
    for verb in ("workers", "lag"):
        command = [verb, name, "--broker", f"kafka://{kit.address}"]
        result = await asyncio.to_thread(CliRunner().invoke, VERBS, command)
        assert result.exit_code == 1
        assert "there is no group" in result.output


async def test_an_app_with_a_pattern_shows_the_lag_of_every_topic_that_matches(
    kit: Kit, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = kit.app(name)
    for each in ("o-a", "o-b", "x"):
        await app.topic(f"{name}-{each}", value_type=str, partitions=1).declare()
    await app.send(f"{name}-o-b", value="x")
    await kit.admin.commit_offsets({TopicPartition(f"{name}-o-a", 0): 0}, Generation(name, -1, ""))
    module = f"module_{uuid.uuid4().hex}"
    (tmp_path / f"{module}.py").write_text(
        f"""
import flowstream
app = flowstream.App({name!r}, broker="kafka://{kit.address}")

@app.agent(app.topic(pattern="{name}-o-.*", value_type=str))
async def read(stream: flowstream.Stream[str]) -> None:
    async for _ in stream:
        pass
"""
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    rows = await call(kit, "lag", "-A", module)
    assert [(row["topic"], row["records"]) for row in rows] == [
        (f"{name}-o-a", 0), (f"{name}-o-b", 1),
    ]  # fmt: skip
