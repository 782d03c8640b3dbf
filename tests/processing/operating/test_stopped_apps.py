"""Verbs about an app whose workers are gone, and its embedded broker with them."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path

import pytest

import flowstream as fs
from flowstream.cli.embedded import embedded_broker
from tests.processing.conftest import Kit
from tests.processing.operating.verbs import Verbs


def app_at(directory: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[fs.App, Verbs]:
    """An app that fails on every word."""
    app = fs.App(f"t{uuid.uuid4().hex[:10]}", data_dir=str(directory))
    words = app.topic("words", key_type=str, value_type=str, partitions=1)

    @app.agent(words, on_error="dead_letter")
    async def work(stream: fs.Stream[str]) -> None:
        async for word in stream:
            raise ValueError(f"it is\n  {word}")

    return app, Verbs(app, monkeypatch)


async def test_lag_workers_and_dead_letters_of_a_stopped_app(
    kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, verbs = app_at(tmp_path / "data", monkeypatch)
    async with embedded_broker(tmp_path / "data") as broker:
        worker = fs.Worker(app, broker.address)
        async with worker.running():
            for word in ("x", "y"):
                await app.topics["words"].send(key=word, value=word)
            await kit.sees(lambda: worker.counts.dead_letters == 2)
    asked = [await verbs.call(*words.split(), "--json") for words in ("lag", "workers", "dlq list")]
    assert [each.exit_code for each in asked] == [0, 0, 0], [each.stderr for each in asked]
    lag, workers, letters = (json.loads(each.stdout) for each in asked)
    assert [(row["topic"], row["committed"], row["records"]) for row in lag] == [("words", 2, 0)]
    assert workers == {"state": "Empty", "workers": []}
    assert [row["cause"] for row in letters] == ["it is x", "it is y"]
    there = await verbs.call("dlq", "list", "--data", str(tmp_path / "data"), "--json")
    assert json.loads(there.stdout) == letters


async def test_an_app_that_has_committed_nothing_is_behind_by_all_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = fs.App(f"t{uuid.uuid4().hex[:10]}", data_dir=str(tmp_path / "data"))
    words = app.topic("words", key_type=str, value_type=str, partitions=2)

    @app.agent(words)
    async def work(stream: fs.Stream[str]) -> None:
        async for word in stream:
            raise ValueError(word)

    async def until_it_fails(worker: fs.Worker) -> None:
        async with worker.running():
            await words.send(key="x", value="x", partition=1)
            await asyncio.Event().wait()

    async with embedded_broker(tmp_path / "data") as broker:
        with pytest.raises(fs.AgentFailed):
            await until_it_fails(fs.Worker(app, broker.address))
    asked = await Verbs(app, monkeypatch).call("lag", "--json")
    assert asked.exit_code == 0, asked.stderr
    found = {
        (row["partition"], row["committed"], row["records"]) for row in json.loads(asked.stdout)
    }
    assert found == {(0, None, 0), (1, None, 1)}


@pytest.mark.parametrize("words", ["lag", "workers", "dlq list", "tables list", "reset"])
async def test_a_directory_where_no_broker_ever_ran_gets_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    _, verbs = app_at(tmp_path / "mistaken", monkeypatch)
    refused = await verbs.call(*words.split())
    assert refused.exit_code == 1
    assert f"no broker was ever started on {tmp_path / 'mistaken'}" in refused.stderr
    assert not (tmp_path / "mistaken").exists()
