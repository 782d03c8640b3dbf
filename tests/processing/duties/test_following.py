"""V1: a worker whose broker comes back, at its start and while it runs, perhaps at another port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import flowstream as fs
from flowstream.cli.options import connected
from flowstream.processing.duties import following, provision
from flowstream.transport import silence
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import BrokerUnreachable, ConnectionLost, TransportError
from flowstream.transport.reader import PartitionReader
from flowstream.transport.types import NewTopic, TopicPartition
from tests.transport.test_broker_death import KillableBroker

OUT = TopicPartition("out", 0)


def counting(directory: Path) -> tuple[fs.App, fs.Topic[str, str]]:
    app = fs.App("moving", data_dir=directory / "app", commit_interval=0.02, session_timeout=6)
    words = app.topic("in", key_type=str, value_type=str, partitions=1)
    out = app.topic("out", key_type=str, value_type=int, partitions=1)
    counts = app.Table("counts", default=int)

    @app.agent(words, sink=[out])
    async def count(stream: fs.Stream[str]) -> AsyncIterator[int]:
        async for key, _ in stream.items():
            counts[key] += 1
            yield counts[key]

    return app, words


async def outputs(address: str, wanted: int) -> list[bytes | None]:
    cluster = Cluster(address)
    await cluster.connect()
    reader = PartitionReader(cluster, OUT, 0)
    found: list[bytes | None] = []
    async with asyncio.timeout(30):
        while len(found) < wanted:
            found += [record.value for record in await reader.read(100)]
    await cluster.close()
    return found


async def assigned(worker: fs.Worker) -> None:
    async with asyncio.timeout(30):
        while not worker.tasks:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_V1_a_worker_follows_its_broker_to_another_port(tmp_path: Path) -> None:
    app, words = counting(tmp_path)
    async with KillableBroker(tmp_path / "broker") as broker:
        worker = fs.Worker(app, broker.address, address=lambda: broker.address)
        running = asyncio.create_task(worker.run())
        try:
            await assigned(worker)
            await words.send(key="k", value="before")
            assert await outputs(broker.address, 1) == [b"1"]
            broker.kill()
            broker.address = "127.0.0.1:0"
            await broker.start()
            while worker._cluster.bootstrap != broker.address:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            # The app's own sends follow as well.
            await words.send(key="k", value="after")
            assert await outputs(broker.address, 2) == [b"1", b"2"]
        finally:
            worker.stop()
            await asyncio.wait_for(running, 12)


async def test_V1_who_only_sends_follows_a_workers_broker_to_another_port(tmp_path: Path) -> None:
    app, words = counting(tmp_path)
    told = tmp_path / "app" / "broker.address"
    told.parent.mkdir()
    try:
        async with KillableBroker(tmp_path / "broker") as broker:
            told.write_text(broker.address, encoding="ascii")
            await Admin(await app.cluster()).create_topics([NewTopic("in", 1)])
            assert (await words.send(key="k", value="before")).offset == 0
            broker.kill()
            told.unlink()
            sending = asyncio.create_task(words.send(key="k", value="after"))
            broker.address = "127.0.0.1:0"
            await broker.start()
            told.write_text(broker.address, encoding="ascii")
            async with asyncio.timeout(30):
                assert (await sending).offset == 1
    finally:
        await app.close()


async def test_V1_a_worker_waits_for_a_broker_that_is_being_started(tmp_path: Path) -> None:
    app, words = counting(tmp_path)
    broker = KillableBroker(tmp_path / "broker")
    worker = fs.Worker(app, "127.0.0.1:1", address=lambda: broker.address)
    broker.address = "127.0.0.1:1"
    running = asyncio.create_task(worker.run())
    try:
        await asyncio.wait((running,), timeout=0.5)
        assert not running.done()
        broker.address = "127.0.0.1:0"
        async with broker:
            await assigned(worker)
            await words.send(key="k", value="v")
            assert await outputs(broker.address, 1) == [b"1"]
            worker.stop()
            await asyncio.wait_for(running, 12)
    finally:
        running.cancel()
        await asyncio.wait((running,))


async def test_V4_waiting_for_the_broker_ends_with_stop(tmp_path: Path) -> None:
    app, _ = counting(tmp_path)
    worker = fs.Worker(app, "127.0.0.1:1", address=lambda: "127.0.0.1:1")
    running = asyncio.create_task(worker.run())
    await asyncio.wait((running,), timeout=0.3)
    worker.stop()
    await asyncio.wait_for(running, 5)


@pytest.mark.parametrize("who", ["worker", "verb"])
async def test_V2_what_does_not_answer_is_named_while_it_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str], who: str,
) -> None:  # fmt: skip
    """Half a minute without a word was taken for a hang: a web server had the port."""
    monkeypatch.setattr(silence, "SILENT_S", 0.01)
    closing = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await closing.wait()
        writer.close()

    async def visit(address: str) -> None:
        async with connected(address, None):
            pass

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    app, _ = counting(tmp_path)
    waiting = asyncio.create_task(
        fs.Worker(app, address).run() if who == "worker" else visit(address)
    )
    async with asyncio.timeout(30):
        said = ""
        while f"{address} does not answer yet: waiting for it" not in said:
            assert not waiting.done()
            await asyncio.sleep(0.01)
            said += caplog.text + capsys.readouterr().err
    waiting.cancel()
    closing.set()
    await asyncio.wait((waiting,))
    server.close()


async def test_waiting_for_the_broker_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "PATIENCE_S", 0.3)
    app, _ = counting(tmp_path)
    with pytest.raises(fs.FlowstreamError, match="no Kafka broker answers"):
        await fs.Worker(app, "127.0.0.1:1", address=lambda: "127.0.0.1:1").run()


async def test_V1_a_broker_of_ones_own_that_is_lost_at_the_start_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "PAUSE_S", 0.0)
    errors: list[TransportError] = []

    async def attempt() -> str:
        if errors:
            raise errors.pop(0)
        return "there"

    errors += [ConnectionLost("cut"), BrokerUnreachable("down"), ConnectionLost("cut again")]
    assert await following.patiently(attempt, None) == "there"
    errors += [BrokerUnreachable("never heard of it")]
    with pytest.raises(BrokerUnreachable, match="never heard"):
        await following.patiently(attempt, None)
    monkeypatch.setattr(following, "PATIENCE_S", 0.0)
    errors += [ConnectionLost("for good")]
    with pytest.raises(ConnectionLost, match="for good"):
        await following.patiently(attempt, None)


async def test_V1_topics_that_another_worker_makes_at_this_moment_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, words = counting(tmp_path)
    looks: list[int] = []
    partitions = provision._partitions

    async def late(admin: Admin) -> dict[str, int]:
        found = await partitions(admin)
        looks.append(len(found))
        return found if len(looks) != 2 else {"in": 1}

    monkeypatch.setattr(provision, "_partitions", late)
    async with KillableBroker(tmp_path / "broker") as broker:
        worker = fs.Worker(app, broker.address)
        running = asyncio.create_task(worker.run())
        await assigned(worker)
        await words.send(key="k", value="there")
        assert await outputs(broker.address, 1) == [b"1"]
        worker.stop()
        await asyncio.wait_for(running, 12)
    assert len(looks) == 3
