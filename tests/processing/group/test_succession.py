"""Whoever takes the slot of a worker that was killed does not wait for its session (V2): it fences
the dead one, leaves the group in its name, and goes on."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

import flowstream as fs
from flowstream.processing.environment.slots import NotedMember, take_slot
from flowstream.testing import AppContext
from flowstream.wire.api import ApiKey
from tests.processing.conftest import ROOT, Kit

SESSION_S = 30.0
Guarantee = Literal["exactly_once", "at_least_once"]
FENCE, LEAVE = ApiKey.INIT_PRODUCER_ID, ApiKey.LEAVE_GROUP


def echo(name: str, guarantee: Guarantee = "exactly_once") -> tuple[fs.App, fs.Topic[str, int]]:
    app = fs.App(name, session_timeout=SESSION_S, processing_guarantee=guarantee)
    numbers = app.topic(f"{name}-in", key_type=str, value_type=int, partitions=2)
    out = app.topic(f"{name}-out", key_type=str, value_type=int, partitions=1)

    @app.agent(numbers, sink=[out])
    async def echo(stream: fs.Stream[int]) -> Any:
        async for value in stream:
            yield value

    return app, numbers


@contextmanager
def asked(context: AppContext, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ApiKey]]:
    """What the broker is asked to fence and to let go, in order."""
    send, seen = context._network.send, []

    def listening(cluster: Any, key: ApiKey, version: int, body: bytes) -> Any:
        if key in (FENCE, LEAVE):
            seen.append(key)
        return send(cluster, key, version, body)

    with monkeypatch.context() as patched:
        patched.setattr(context._network, "send", listening)
        yield seen


def killed(context: AppContext) -> None:
    """kill -9, and nobody tells the group."""
    (life,) = context._crew.lives
    with context._running().entered():
        context._crew.forget(life)
        life.kill()


def share_comes_after(context: AppContext) -> float:
    """How long the next worker waits for its share."""
    context._crew.begin()

    async def wait() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(2 * SESSION_S):
            while not any(life.worker.tasks for life in context._crew.lives):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        return loop.time() - began

    return context._on_loop(wait())


def test_V2_G4_the_next_worker_fences_the_dead_one_and_takes_it_out_of_the_group(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "flowstream.worker")
    app, numbers = echo("heir")
    with app.test_context() as context:
        context.topic(numbers).send(1, key="a")
        killed(context)
        with asked(context, monkeypatch) as seen:
            assert share_comes_after(context) < 1
        assert seen == [FENCE, LEAVE]
        context.topic(numbers).send(2, key="a")
        assert context.topic("heir-out").values == [1, 2]
    assert caplog.text.count("the worker before in slot 0 was killed") == 1


@pytest.mark.parametrize("when", [ApiKey.JOIN_GROUP, ApiKey.SYNC_GROUP])
def test_V2_who_is_killed_while_it_joins_is_taken_out_too(
    monkeypatch: pytest.MonkeyPatch, when: ApiKey
) -> None:
    app, numbers = echo("joining")
    with app.test_context() as context:
        context.topic(numbers).send(1, key="a")
        killed(context)
        send = context._network.send

        def silent(cluster: Any, key: ApiKey, version: int, body: bytes) -> Any:
            answer = send(cluster, key, version, body)
            return asyncio.get_running_loop().create_future() if key == when and n() else answer

        calls: list[None] = []

        def n() -> bool:  # the first join only gets the member its id
            calls.append(None)
            return when == ApiKey.SYNC_GROUP or len(calls) > 1

        with monkeypatch.context() as patched:
            patched.setattr(context._network, "send", silent)
            context._crew.begin()
            context._on_loop(asyncio.sleep(1))
            killed(context)
        assert share_comes_after(context) < 1


def test_G4_without_a_fence_the_session_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """at_least_once: what the dead one sent last could land behind what the next one writes."""
    app, numbers = echo("unfenced", "at_least_once")
    with app.test_context() as context:
        context.topic(numbers).send(1, key="a")
        killed(context)
        with asked(context, monkeypatch) as seen:
            assert share_comes_after(context) > SESSION_S / 2
        assert LEAVE not in seen


@pytest.mark.parametrize("noted", [NotedMember("another-cluster", "m"), None])
def test_D7_only_a_member_of_this_cluster_is_taken_out(
    monkeypatch: pytest.MonkeyPatch, noted: NotedMember | None
) -> None:
    app, numbers = echo("elsewhere")
    with app.test_context() as context:
        context.topic(numbers).send(1, key="a")
        killed(context)
        context.places.slots[0].member = noted
        with asked(context, monkeypatch) as seen:
            assert share_comes_after(context) > SESSION_S / 2
        assert LEAVE not in seen


def test_a_member_that_the_group_does_not_have_is_no_trouble(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app, numbers = echo("stale")
    with app.test_context() as context:
        context.topic(numbers).send(1, key="a")
        slot = context.places.slots[0]
        assert slot.member is not None
        context.stop()
        assert slot.member is None, "who leaves is not to be taken out"
        cluster_id = context._on_loop(context.cluster.metadata(())).cluster_id
        context.places.slots[0].member = NotedMember(cluster_id or "", "long-gone")
        with asked(context, monkeypatch) as seen:
            assert share_comes_after(context) < 1
        assert seen == [FENCE, LEAVE]


def test_a_group_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "flowstream.worker")
    app, numbers = echo("silent")
    with app.test_context() as context:
        context.topic(numbers).send(1, key="a")
        killed(context)
        send = context._network.send

        def silent(cluster: Any, key: ApiKey, version: int, body: bytes) -> Any:
            if key == LEAVE:
                return asyncio.get_running_loop().create_future()
            return send(cluster, key, version, body)

        monkeypatch.setattr(context._network, "send", silent)
        assert SESSION_S / 2 < share_comes_after(context) < SESSION_S + 5
        monkeypatch.undo()
    assert "a worker that was killed is waited for" in caplog.text


def test_a_note_outlives_its_process_and_a_damaged_one_says_nothing(tmp_path: Path) -> None:
    slot = take_slot(tmp_path, "app")
    assert slot.member is None
    slot.member = NotedMember("c", "app-1-é")
    slot.release()
    again = take_slot(tmp_path, "app")
    assert again.member == NotedMember("c", "app-1-é")
    for damaged in (b"", b"\xff\n\xff\n", b"c\n", b"c\nm\nx\n"):
        (again.path / "member").write_bytes(damaged)
        assert again.member is None
    again.member = None
    again.member = None
    assert not (again.path / "member").exists()
    (again.path / "member.new").mkdir()
    again.member = NotedMember("c", "m")  # cannot be written: told, and no more
    again.release()


MODULE = """
import flowstream as fs

app = fs.App({name!r}, session_timeout={session}, commit_interval=0.02)
words = app.topic({name!r} + "-in", key_type=str, value_type=int, partitions=4)
counts = app.Table("counts", key_type=str, default=int)
out = app.topic({name!r} + "-out", key_type=str, value_type=int, partitions=1)


@app.agent(words, sink=[out])
async def count(stream):
    async for key, value in stream.items():
        counts[key] += value
        yield counts[key]
"""


async def test_V2_S9_after_kill_9_the_next_worker_goes_on_at_once(
    kit: Kit, name: str, tmp_path: Path
) -> None:
    """Real processes, one directory: the lock of the dead one's slot is free at once."""
    (tmp_path / "shop.py").write_text(MODULE.format(name=name, session=SESSION_S))
    command = [sys.executable, "-m", "flowstream", "worker", "-A", "shop"]
    command += ["--broker", f"kafka://{kit.address}", "--data", str(tmp_path / "data")]
    sender = kit.app(f"{name}-sender").topic(f"{name}-in", key_type=str, value_type=int)
    total = 0

    async def counted() -> bool:
        return len(await kit.values(f"{name}-out")) == total

    loop = asyncio.get_running_loop()
    for life in range(3):
        began = loop.time()
        worker = await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await kit.until(lambda: there(kit, f"{name}-in"))
            await sender.send(key="a", value=1)
            total += 1
            await kit.until(counted)
            assert life == 0 or loop.time() - began < SESSION_S / 2
        finally:
            worker.kill()
            await worker.wait()
    assert await kit.values(f"{name}-out") == [b"1", b"2", b"3"]


async def there(kit: Kit, topic: str) -> bool:
    return topic in await kit.admin.topics([topic])
