"""Nothing is left open by what does not start, or fails while it stops."""

from __future__ import annotations

import dataclasses
import gc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import flowstream as fs
from flowstream.outbox.sqlite import SQLite, SQLiteSession
from flowstream.web.serving import serving
from tests.processing.conftest import Kit


@pytest.fixture
def left_open() -> Iterator[list[str]]:
    """What the collector finds open in a test, by the time it looks at the list."""
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        found: list[str] = []
        yield found
        gc.collect()
        assert [str(each.message) for each in caught] == found


def reading(app: fs.App, topic: Any) -> None:
    @app.agent(topic)
    async def read(stream: fs.Stream[Any]) -> None:
        async for _ in stream:
            pass


@pytest.mark.parametrize("settings", [{"nonsense": "1"}, {"num.partitions": "x"}])
def test_a_test_context_that_cannot_open(settings: dict[str, str], left_open: list[str]) -> None:
    app = fs.App("open")
    reading(app, app.topic("words", partitions=1))
    with pytest.raises(Exception, match=next(iter(settings))):
        app.test_context(broker_settings=settings).__enter__()
    assert left_open == []


async def test_a_web_server_whose_address_cannot_be_told(kit: Kit, left_open: list[str]) -> None:
    app = kit.app("open", web_port=0)
    app.change_settings(dataclasses.replace(app.settings, web_advertised="box:http"))
    worker = fs.Worker(app, kit.address)
    with pytest.raises(fs.SettingsError, match="is not HOST or HOST:PORT"):
        await serving(worker).__aenter__()
    assert left_open == []


class Angry(SQLite):
    """A database whose connection fails when it is closed."""

    def connect(self) -> SQLiteSession:
        """Open it."""
        session = super().connect()

        def close() -> None:
            session.connection.close()
            raise RuntimeError("the server is gone")

        session.close = close  # type: ignore[method-assign]
        return session


async def test_V4_a_worker_closes_its_connections_whatever_fails_before(
    kit: Kit, name: str, tmp_path: Path
) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", value_type=str, partitions=1)

    @app.outbox(words, to=Angry(tmp_path / "words.db"))
    def store(db: Any, events: list[fs.Event[str]]) -> None:
        pass

    await kit.create(app)
    worker = fs.Worker(app, kit.address)

    async def run() -> None:
        async with worker.running():
            await words.send(value="a")
            await kit.until(kit.committed(app, words.name, 1))

    with pytest.raises(RuntimeError, match="the server is gone"):
        await run()
    assert worker._cluster._client is None
