"""Signals: who is connected is told, in order, and by whatever way the app is used."""

from __future__ import annotations

from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.errors import AppError, SettingsError
from tests.processing.conftest import Kit


async def test_signals_are_told_in_order(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", value_type=str, partitions=1)
    told: list[Any] = []

    @app.on_before_configured.connect
    def before(app: fs.App, **said: Any) -> None:
        told.append(("before", said["signal"].name))

    @app.on_configured.connect()
    def configured(app: fs.App, conf: Any) -> None:
        told.append(("configured", conf.commit_interval))
        conf.commit_interval = 0.05

    @app.on_after_configured.connect
    def after(app: fs.App) -> None:
        told.append(("after", app.conf.commit_interval))

    @app.on_worker_init.connect
    def init(app: fs.App) -> None:
        told.append("init")

    @app.on_partitions_assigned.connect
    async def assigned(app: fs.App, partitions: set[Any], **_: Any) -> None:
        told.append(("assigned", partitions))

    @app.on_rebalance_complete.connect
    async def complete(app: fs.App) -> None:
        told.append("complete")

    @app.on_partitions_revoked.connect
    def revoked(app: fs.App, partitions: set[Any]) -> None:
        told.append(("revoked", partitions))

    @app.on_before_shutdown.connect
    async def shutdown(app: fs.App) -> None:
        await words.send(value="the last")
        told.append("shutdown")

    @app.agent(words)
    async def see(stream: fs.Stream[str]) -> None:
        async for word in stream:
            told.append(word)

    await kit.create(app)
    async with kit.running(app) as worker:
        await words.send(value="a")
        await kit.until(kit.committed(app, words.name, 1))
        assert worker.settings.commit_interval == 0.05
    first = {(words.name, 0)}
    assert [each for each in told if each not in ("complete", ("revoked", first))] == [
        ("before", "on_before_configured"), ("configured", 0.02), ("after", 0.05), "init",
        ("assigned", first), "a", "shutdown",
    ]  # fmt: skip
    assert told.count("complete") == 1
    assert [r.value for r in await kit.records(words.name)] == [b"a", b"the last"]
    app.on_worker_init.disconnect(init)
    with pytest.raises(AppError, match="not connected"):
        app.on_worker_init.disconnect(init)


async def test_partitions_that_go_are_told_before_they_go(kit: Kit, name: str) -> None:
    app, other = kit.app(name), kit.app(name, data_dir=kit.directory / "other")
    told: list[Any] = []
    for each in (app, other):
        topic = each.topic(f"{name}-words", value_type=str, partitions=2)

        @each.agent(topic)
        async def see(stream: fs.Stream[str]) -> None:
            async for _ in stream:
                pass

    @app.on_partitions_revoked.connect
    async def revoked(app: fs.App, partitions: set[Any]) -> None:
        told.append(partitions)

    await kit.create(app)
    async with kit.running(app) as first:
        await kit.sees(lambda: len(first.tasks) == 2)
        async with kit.running(other) as second:
            await kit.sees(lambda: len(second.tasks) == 1)
    assert told
    assert told == [{(f"{name}-words", 1)}], "what stays is not told to go"


async def test_headers_may_be_added_to_whatever_is_produced(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)

    @app.on_produce_message.connect
    def stamp(
        app: fs.App, topic: str, key: Any, value: Any, partition: Any, timestamp: Any, headers: Any
    ) -> None:
        headers.append(("by", app.id.encode()))
        assert timestamp == 3.0

    @app.agent(words, sink=[out])
    async def echo(stream: fs.Stream[str]) -> Any:
        async for word in stream:
            yield word

    await kit.create(app)
    async with kit.running(app):
        await words.send(value="a", timestamp=3.0, headers={"own": b"1"})
        await kit.until(kit.count(out.name, 1))
    mine = ("by", name.encode())
    assert [list(r.headers) for r in await kit.records(words.name)] == [[("own", b"1"), mine]]
    assert [list(r.headers) for r in await kit.records(out.name)] == [[mine]]


def test_what_cannot_listen_is_refused() -> None:
    app = fs.App("watched")

    async def handler(app: fs.App) -> None:
        pass

    with pytest.raises(AppError, match="must be a plain `def`"):
        app.on_worker_init.connect(handler)
    with pytest.raises(AppError, match="takes a function"):
        app.on_worker_init.connect("no")
    with pytest.raises(AppError, match=r"subclass of fs\.Sensor"):
        app.sensors.add(print)  # type: ignore[arg-type]

    @app.on_configured.connect
    def configured(app: fs.App, conf: Any) -> None:
        conf.comit_interval = 1.0

    with pytest.raises(SettingsError, match="did you mean 'commit_interval'"):
        app.configure()
