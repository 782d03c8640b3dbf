"""V4: a graceful stop takes at most 10 s, whatever a silent broker or code of the user's holds up.

On virtual time."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

import flowstream as fs
from flowstream.testing import AppContext
from flowstream.testing.lives import Life
from flowstream.transport.errors import SendFailed
from flowstream.wire.api import ApiKey

V4_S = 10.0


def echoing(name: str) -> tuple[fs.App, fs.Topic[str, int]]:
    app = fs.App(name)
    numbers = app.topic(f"{name}-in", key_type=str, value_type=int, partitions=2)
    out = app.topic(f"{name}-out", key_type=str, value_type=int, partitions=1)

    @app.agent(numbers, sink=[out])
    async def echo(stream: fs.Stream[int]) -> Any:
        async for value in stream:
            yield value

    return app, numbers


def silenced(
    context: AppContext, monkeypatch: pytest.MonkeyPatch, key: ApiKey, who: Callable[[Any], bool]
) -> None:
    """From now on the broker does not answer these requests."""
    send = context._network.send

    def silent(cluster: Any, asked: ApiKey, version: int, body: bytes) -> Any:
        if asked == key and who(cluster):
            return asyncio.get_running_loop().create_future()
        return send(cluster, asked, version, body)

    monkeypatch.setattr(context._network, "send", silent)


async def stopped(life: Life) -> float:
    """How long a stop takes."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    life.worker.stop()
    await asyncio.wait((life.running,), timeout=60)
    assert life.running.done()
    return loop.time() - began


async def in_revoked(context: AppContext, life: Life) -> None:
    """A second worker joins, and the first is about to let a partition go."""
    context._crew.begin()
    membership = life.worker.membership
    assert membership is not None
    async with asyncio.timeout(60):
        while not membership._changing.locked():  # noqa: ASYNC110 - looked at from outside
            await asyncio.sleep(0.01)


def test_V4_a_commit_in_a_rebalance_does_not_hold_up_a_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its EndTxn is not answered, so that whoever takes the tasks away waits."""
    app, numbers = echoing("v4-commit")
    with app.test_context() as context:
        context.topic(numbers).send(1, key="a")
        life = context._crew.lives[0]
        ours = life.doors.clusters[0]
        silenced(context, monkeypatch, ApiKey.END_TXN, lambda cluster: cluster is ours)

        async def story() -> float:
            await numbers.send(key="a", value=2)
            await in_revoked(context, life)
            return await stopped(life)

        assert context._on_loop(story()) <= V4_S
        monkeypatch.undo()


def test_V4_who_plans_anew_while_the_broker_is_silent_is_not_held_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A topic came or grew, and the broker does not say what it takes."""
    app, numbers = echoing("v4-plan")
    with app.test_context() as context:
        context.topic(numbers).send(1, key="a")
        life = context._crew.lives[0]
        silenced(context, monkeypatch, ApiKey.DESCRIBE_CONFIGS, lambda _: True)

        async def story() -> float:
            life.worker.outgrown()
            async with asyncio.timeout(20):
                while life.worker.is_outgrown or life.membership is not None:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await asyncio.sleep(1)
            return await stopped(life)

        assert context._on_loop(story()) <= V4_S
        monkeypatch.undo()


@pytest.mark.parametrize("stops", [True, False])
def test_V4_V2_a_handler_that_never_ends_holds_up_neither_a_stop_nor_a_rebalance(
    stops: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app, _ = echoing("v4-handler")

    @app.on_partitions_revoked.connect
    async def revoked(app: fs.App, partitions: set[Any]) -> None:
        await asyncio.Event().wait()

    with app.test_context() as context:
        life = context._crew.lives[0]

        async def story() -> None:
            await in_revoked(context, life)
            if stops:
                assert await stopped(life) <= V4_S
                return
            async with asyncio.timeout(20):
                while len(life.worker.tasks) > 1:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.1)

        context._on_loop(story())
    assert ("on_partitions_revoked was cut short after 15 s" in caplog.text) is not stops


@pytest.mark.parametrize("where", ["beside", "on_before_shutdown"])
def test_V4_what_is_sent_beside_units_does_not_hold_up_a_stop(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The broker is gone while a plain send is on its way; whoever waits for it is told."""
    app, numbers = echoing("v4-send")
    outcomes: list[str] = []

    async def send() -> None:
        try:
            await numbers.send(key="a", value=1)
        except (SendFailed, asyncio.CancelledError) as error:
            outcomes.append(type(error).__name__)
            raise

    if where == "on_before_shutdown":

        @app.on_before_shutdown.connect
        async def shutdown(app: fs.App) -> None:
            await send()

    with app.test_context() as context:
        life = context._crew.lives[0]
        theirs = life.doors.clusters[0]
        silenced(context, monkeypatch, ApiKey.PRODUCE, lambda cluster: cluster is not theirs)

        async def story() -> float:
            sending = [asyncio.create_task(send())] if where == "beside" else []
            await asyncio.sleep(1)
            took = await stopped(life)
            await asyncio.gather(*sending, return_exceptions=True)
            return took

        assert context._on_loop(story()) <= V4_S
        assert outcomes == ["SendFailed" if where == "beside" else "CancelledError"]
        monkeypatch.undo()


def test_V4_who_joined_anew_has_all_the_time_for_its_last_commit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A topic of replies had come, or one had grown; long after that somebody asks to stop."""
    app, numbers = echoing("v4-anew")
    app.settings = dataclasses.replace(app.settings, commit_interval=60.0)
    with app.test_context() as context:
        life = context._crew.lives[0]

        async def story() -> None:
            before = life.worker.membership
            life.worker.outgrown()
            async with asyncio.timeout(60):
                while life.worker.membership in (None, before):  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.1)
            await asyncio.sleep(V4_S)
            await numbers.send(key="a", value=1)
            async with asyncio.timeout(60):
                while life.worker.counts.events == 0:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.1)
            await stopped(life)

        context._on_loop(story())
        assert life.worker.counts.commits == 1
    assert "in time" not in caplog.text


def test_V2_a_worker_that_gets_no_share_says_what_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "flowstream.worker")
    app, numbers = echoing("waiting")
    with app.test_context() as context:
        context.topic(numbers).send(1, key="a")
        assert "no partitions yet" not in caplog.text
        silenced(context, monkeypatch, ApiKey.JOIN_GROUP, lambda _: True)
        context._crew.begin()
        context._on_loop(asyncio.sleep(9))
        assert caplog.text.count("no partitions yet: a worker that was killed is waited for") == 1
