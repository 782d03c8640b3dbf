"""The broker is killed and comes back at the same address: every client goes on, once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flowstream.transport.admin import Admin
from flowstream.transport.assignor import GroupAssignor
from flowstream.transport.batches import RecordBuffer
from flowstream.transport.cluster import Cluster
from flowstream.transport.consumer import GroupConsumer
from flowstream.transport.errors import ConnectionLost
from flowstream.transport.producer import IdempotentProducer
from flowstream.transport.reader import PartitionReader
from flowstream.transport.transaction import TransactionSession
from flowstream.transport.types import NewTopic, TopicPartition
from tests.transport.test_consumer import Diary, spread

ROOT = Path(__file__).resolve().parent.parent.parent
TP = TopicPartition("t", 0)


class KillableBroker:
    """The integrated broker in a process that dies on demand."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[str] | None = None
        self.address = "127.0.0.1:0"

    async def start(self) -> None:
        """Start, at the address of last time if there was one."""
        line = await asyncio.to_thread(self._spawn)
        assert line.startswith("ready "), line
        self.address = line.split()[1]

    def _spawn(self) -> str:
        port = self.address.rpartition(":")[2]
        command = ["-m", "flowstream", "broker", "--data", str(self._directory), "--port", port]
        self._process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    async def __aenter__(self) -> KillableBroker:
        await self.start()
        return self

    async def __aexit__(self, *raised: object) -> None:
        self.kill()


def one(value: bytes) -> RecordBuffer:
    buffer = RecordBuffer()
    buffer.append(TP, b"k", value, 1)
    return buffer


async def values(cluster: Cluster) -> list[bytes | None]:
    end = (await Admin(cluster).end_offsets([TP]))[TP]
    reader = PartitionReader(cluster, TP, 0)
    found: list[bytes | None] = []
    while reader.position < end:
        found += [record.value for record in await reader.read(500)]
    return found


@pytest.mark.parametrize("allow_v2", [False, True], ids=["v1", "v2"])
async def test_T7_a_commit_outlives_the_broker(tmp_path: Path, allow_v2: bool) -> None:
    async with KillableBroker(tmp_path) as broker:
        cluster = Cluster(broker.address)
        await cluster.connect()
        await Admin(cluster).create_topics([NewTopic("t", 1)])
        session = TransactionSession(cluster, "id", request_timeout_ms=1_000, allow_v2=allow_v2)
        await session.init()
        session.begin()
        await session.produce(one(b"before").take())
        broker.kill()
        committing = asyncio.create_task(session.commit())
        await broker.start()
        await committing
        assert await values(cluster) == [b"before"]
        session.begin()
        await session.produce(one(b"aborted").take())
        broker.kill()
        aborting = asyncio.create_task(session.abort())
        await broker.start()
        await aborting
        session.begin()
        broker.kill()
        producing = asyncio.create_task(session.produce(one(b"after").take()))
        await broker.start()
        await producing
        await session.commit()
        assert await values(cluster) == [b"before", b"after"]
        await cluster.close()


async def test_a_commit_under_way_follows_the_broker_to_another_port(tmp_path: Path) -> None:
    async with KillableBroker(tmp_path) as broker:
        cluster = Cluster(broker.address)
        await cluster.connect()
        await Admin(cluster).create_topics([NewTopic("t", 1)])
        session = TransactionSession(cluster, "id", request_timeout_ms=1_000)
        await session.init()
        session.begin()
        assert await session.produce(one(b"moved").take()) == {TP: 1}
        broker.kill()
        committing = asyncio.create_task(session.commit())
        broker.address = "127.0.0.1:0"
        await broker.start()
        await cluster.move(broker.address)
        await committing
        assert await values(cluster) == [b"moved"]
        await cluster.close()


async def test_a_broker_that_is_away_is_told_once_and_so_is_its_return(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with KillableBroker(tmp_path) as broker:
        cluster = Cluster(broker.address)
        await cluster.connect()
        broker.kill()
        for _ in range(5):
            with pytest.raises(ConnectionLost):
                await cluster.metadata(None)
        assert cluster.level(logging.WARNING) == logging.DEBUG
        await broker.start()
        while cluster.level(logging.WARNING) == logging.DEBUG:
            with contextlib.suppress(ConnectionLost):
                await cluster.metadata(None)
        await cluster.close()
    lines = [each.getMessage() for each in caplog.records if each.name == "flowstream.cluster"]
    away = f"no broker of the cluster at {broker.address} can be reached: trying until one answers"
    assert lines[0] == away
    assert re.sub(r"\d+\.\d s", "N s", lines[-1]) == (
        f"the cluster at {broker.address} answers again, after N s"
    )
    assert len(lines) == 2


async def test_consumer_reader_and_producer_go_on(tmp_path: Path) -> None:
    async with KillableBroker(tmp_path) as broker:
        cluster = Cluster(broker.address)
        await cluster.connect()
        await Admin(cluster).create_topics([NewTopic("t", 1)])
        producer = IdempotentProducer(cluster, request_timeout_ms=1_000)
        await producer.send(TP, b"k", b"0")
        diary = Diary()
        assignor = GroupAssignor("test", lambda: b"", spread)
        consumer = GroupConsumer(cluster, "g", assignor, diary, heartbeat_interval_ms=100)
        # The group, and perhaps the assignment, is a new one after the broker's death.
        diary.on_assigned = lambda partitions: [consumer.seek(tp, 0) for tp in partitions] and None
        await consumer.start(["t"])
        seen: set[bytes | None] = set()

        async def until(value: bytes) -> None:
            async with asyncio.timeout(40):
                while value not in seen:
                    for records in (await consumer.getmany(timeout_ms=100)).values():
                        seen.update(record.value for record in records)

        await until(b"0")
        reader = PartitionReader(cluster, TP, 1)
        for n in range(1, 3):
            broker.kill()
            sending = asyncio.create_task(producer.send(TP, b"k", b"%d" % n))
            await broker.start()
            assert (await sending).offset == n
            await until(b"%d" % n)
        records = []
        while reader.position < 3:
            records += await reader.read(500)
        assert [record.value for record in records] == [b"1", b"2"]
        await consumer.stop()
        await cluster.close()
