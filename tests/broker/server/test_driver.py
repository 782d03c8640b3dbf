"""Turns, group commit and fail-stop."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from pathlib import Path

import pytest

from flowstream.broker.config import BrokerConfig
from flowstream.broker.decision import Unwritable
from flowstream.broker.doors import Remove
from flowstream.broker.groups.coordinator import GroupCoordinator
from flowstream.broker.server.bootstrap import start
from flowstream.broker.storage.memory import MemoryStorage
from flowstream.broker.types import TopicPartition
from flowstream.errors import WireError
from flowstream.wire.messages.delete_topics import DeleteTopicsRequest
from flowstream.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from tests.broker.server.serving import (
    TOPIC,
    RawClient,
    create_topic,
    fetch_request,
    produce_request,
    served,
    until,
)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
async def test_D2_a_failed_write_or_sync_stops_the_node_without_an_answer(code: int) -> None:
    storage = MemoryStorage()
    async with served(storage=storage) as broker:
        client = await broker.client()
        await create_topic(client)
        storage.fail("t-0/*", code)
        client.send(0, 8, produce_request())
        assert await client.is_closed()
        assert broker.driver.failed is not None
        assert "t-0" in str(await asyncio.wait_for(broker.driver.ended, 5))
        await client.close()


async def test_D2_a_restart_after_the_failure_knows_only_what_was_acknowledged() -> None:
    storage = MemoryStorage()
    async with served(storage=storage) as broker:
        client = await broker.client()
        await create_topic(client)
        for n in range(5):
            await client.ask(0, 8, produce_request(b"%d" % n))
        storage.fail("t-0/*", errno.EIO)
        client.send(0, 8, produce_request(b"lost"))
        assert await client.is_closed()
        await client.close()
    storage.heal()
    async with served(storage=storage) as broker:
        client = await broker.client()
        answer = await client.ask(1, 11, fetch_request(0))
        assert answer.responses[0].partitions[0].high_watermark >= 5
        await client.close()


async def test_a_clean_stop_is_believed_by_the_next_start() -> None:
    storage = MemoryStorage()
    async with served(storage=storage) as broker:
        client = await broker.client()
        await create_topic(client)
        await client.ask(0, 8, produce_request())
        await client.close()
    assert storage.size(".kafka_cleanshutdown") is not None
    async with served(storage=storage) as broker:
        assert storage.size(".kafka_cleanshutdown") is None
        client = await broker.client()
        answer = await client.ask(0, 8, produce_request())
        assert answer.responses[0].partition_responses[0].base_offset == 1
        await client.close()


async def test_D7_nothing_is_written_after_a_stop() -> None:
    """The operations of the stop once ran a second time on the next turn of the loop, when the lock
    was free: they put back the clean-shutdown mark that the next broker had just taken away. When
    that one was killed, its successor trusted old indexes and showed aborted data (T8).
    """
    storage = MemoryStorage()
    async with served(storage=storage) as broker:
        client = await broker.client()
        await create_topic(client)
        await client.ask(0, 8, produce_request())
        await broker.driver.stop()
        storage.perform([Remove(".kafka_cleanshutdown")])
        for _ in range(5):
            await asyncio.sleep(0)
        assert storage.size(".kafka_cleanshutdown") is None
        await client.close()


async def test_a_stop_answers_what_was_taken_in() -> None:
    async with served() as broker:
        client = await broker.client()
        await create_topic(client)
        client.send(0, 8, produce_request())
        log = broker.driver._node.cores.logs.by_name[TopicPartition("t", 0)]
        await until(lambda: log.log_end == 1)
        await broker.driver.stop()
        answer = (await client.receive())[1]
        assert answer.responses[0].partition_responses[0].error_code == 0
        assert await client.is_closed()
        await client.close()


@pytest.mark.parametrize("fsync", [True, False])
async def test_what_many_write_at_once_is_synced_together(fsync: bool) -> None:
    async with served(fsync=fsync) as broker:
        clients = [await broker.client() for _ in range(8)]
        await create_topic(clients[0])
        for client in clients:
            for _ in range(20):
                client.send(0, 8, produce_request())
        for client in clients:
            for _ in range(20):
                assert (await client.receive())[1].responses[0].partition_responses[
                    0
                ].error_code == 0
            await client.close()


@pytest.mark.parametrize("fsync", [True, False])
async def test_D2_an_idle_broker_stops_when_the_disk_refuses_what_is_done_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fsync: bool
) -> None:
    """It went on until somebody wrote something."""

    def refuse(path: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    server = await start(tmp_path, "127.0.0.1", 0, BrokerConfig(), fsync=fsync, insecure_open=False)
    client = RawClient(*await asyncio.open_connection(*server.address.split(":")))
    await create_topic(client)
    client.send(20, 5, DeleteTopicsRequest(topic_names=(TOPIC,), timeout_ms=1000))
    failure = await asyncio.wait_for(server.ended, 5)
    assert "-0-delete: Input/output error; the disk failed" in str(failure)
    await client.close()
    await server.stop()


def commit(offset: int) -> OffsetCommitRequest:
    """An offset of a group without members."""
    partition = OffsetCommitRequestPartition(partition_index=0, committed_offset=offset)
    topic = OffsetCommitRequestTopic(name=TOPIC, partitions=(partition,))
    return OffsetCommitRequest(group_id="g", topics=(topic,))


async def test_D7_a_record_of_the_brokers_own_that_cannot_be_written_is_not_blamed_on_who_asked(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Part of what was decided is in memory only: the topic of the offsets is new, too."""

    def encode(self: GroupCoordinator, record: object) -> tuple[bytes | None, bytes | None]:
        raise WireError("string of 40000 bytes")

    storage = MemoryStorage()
    async with served(storage=storage) as broker:
        client = await broker.client()
        await create_topic(client)
        with monkeypatch.context() as planted, caplog.at_level("DEBUG", "flowstream.broker"):
            planted.setattr(GroupCoordinator, "encode", encode)
            client.send(8, 2, commit(1))
            assert await client.is_closed()
        await client.close()
        assert isinstance(await asyncio.wait_for(broker.driver.ended, 5), Unwritable)
    assert "the broker stops: __consumer_offsets-" in caplog.text
    assert "string of 40000 bytes; this is an error of the broker" in caplog.text
    assert "malformed request" not in caplog.text
    async with served(storage=storage) as broker:
        client = await broker.client()
        answer = await client.ask(8, 2, commit(1))
        assert answer.topics[0].partitions[0].error_code == 0
        await client.close()
