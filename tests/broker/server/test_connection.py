"""One connection: order of answers, pipelining, long polls, slow readers, frames in any pieces."""

from __future__ import annotations

import asyncio
import socket

import pytest

from flowstream import clock
from flowstream.broker.server.holdings import BUSY_BYTES, REST_BYTES, UNSENT_BYTES
from flowstream.broker.server.stream import drop_sent
from flowstream.broker.types import Instant
from flowstream.wire.frame import encode_request
from flowstream.wire.messages.alter_client_quotas import (
    AlterClientQuotasRequest,
    EntityData,
    EntryData,
    OpData,
)
from flowstream.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from flowstream.wire.schema import replace
from tests.broker.server.serving import (
    VERSIONS,
    WAIT_S,
    RawClient,
    Served,
    create_topic,
    fetch_request,
    produce_request,
    served,
    until,
)


async def test_pipelined_produce_requests_are_answered_in_order() -> None:
    async with served() as broker:
        client = await broker.client()
        await create_topic(client)
        for n in range(600):
            client.send(0, 8, produce_request(b"%d" % n))
        client.send(1, 11, fetch_request(0))
        answers = [await client.receive() for _ in range(600)]
        assert [correlation_id for correlation_id, _ in answers] == list(range(2, 602))
        offsets = [body.responses[0].partition_responses[0].base_offset for _, body in answers]
        assert offsets == list(range(600))
        assert (await client.receive())[0] == 602
        await client.close()


async def test_acks_0_gets_no_answer_and_keeps_the_order() -> None:
    async with served() as broker:
        client = await broker.client()
        await create_topic(client)
        client.send(0, 8, produce_request(acks=0))
        answer = await client.ask(0, 8, produce_request())
        assert answer.responses[0].partition_responses[0].base_offset == 1
        await client.close()


async def test_acks_0_with_an_error_closes_the_connection() -> None:
    async with served() as broker:
        client = await broker.client()
        client.send(0, 8, produce_request(acks=0, topic="nowhere"))
        assert await client.is_closed()
        await client.close()


async def test_a_long_poll_is_answered_when_data_comes() -> None:
    async with served() as broker:
        reader, writer = await broker.client(), await broker.client()
        await create_topic(writer)
        reader.send(1, 11, fetch_request(0, wait_ms=60_000))
        await writer.ask(0, 8, produce_request(b"hello"))
        _, answer = await reader.receive()
        assert b"hello" in bytes(answer.responses[0].partitions[0].records)
        await reader.close()
        await writer.close()


async def test_a_long_poll_ends_at_its_deadline() -> None:
    async with served() as broker:
        client = await broker.client()
        await create_topic(client)
        answer = await client.ask(1, 11, fetch_request(0, wait_ms=30))
        assert bytes(answer.responses[0].partitions[0].records) == b""
        await client.close()


async def test_a_frame_split_at_every_byte() -> None:
    raw = b"".join(encode_request(18, 3, 1, "test", VERSIONS))
    async with served() as broker:
        client = await broker.client()
        for byte in raw:
            client.writer.write(bytes((byte,)))
            await client.writer.drain()
            await asyncio.sleep(0)
        client.sent.append((18, 3))
        assert (await client.receive())[1].error_code == 0
        await client.close()


async def test_a_request_larger_than_the_buffer_and_the_memory_afterwards() -> None:
    async with served() as broker:
        client = await broker.client()
        await create_topic(client)
        answer = await client.ask(0, 8, produce_request(b"x" * 900_000))
        assert answer.responses[0].partition_responses[0].error_code == 0
        (connection,) = broker.driver.connections.values()
        connection.sweep()
        connection.sweep()
        assert len(connection._buffer) == REST_BYTES
        assert (await client.ask(18, 3, VERSIONS)).error_code == 0
        await client.close()


async def test_a_connection_with_much_to_say_gets_a_larger_buffer() -> None:
    async with served() as broker:
        client = await broker.client()
        await create_topic(client)
        for _ in range(200):
            client.send(0, 8, produce_request())
        for _ in range(200):
            await client.receive()
        (connection,) = broker.driver.connections.values()
        assert len(connection._buffer) == BUSY_BYTES
        await client.close()


async def test_X3_a_slow_reader_is_not_read_from() -> None:
    async with served() as broker:
        writer = await broker.client()
        await create_topic(writer)
        await writer.ask(0, 8, produce_request(b"x" * 500_000))
        sock = socket.create_connection(("127.0.0.1", broker.listener.port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        frame = b"".join(encode_request(1, 11, 1, "slow", fetch_request(0)))
        loop = asyncio.get_running_loop()
        flood = asyncio.ensure_future(loop.sock_sendall(sock, frame * 20_000))
        await until(lambda: len(broker.driver.connections) == 2)
        slow = max(broker.driver.connections)
        await until(lambda: broker.driver.connections[slow]._answers.size > UNSENT_BYTES)
        for _ in range(50):
            assert (await writer.ask(18, 3, VERSIONS)).error_code == 0
        unsent = broker.driver.connections[slow]._answers.size
        assert 0 < unsent < 4_000_000, "a bounded number of answers waits"
        flood.cancel()
        sock.close()
        await writer.close()


async def test_who_reads_slowly_is_not_idle() -> None:
    async with served() as broker:
        client = await broker.client()
        await create_topic(client)
        for _ in range(24):
            await client.ask(0, 8, produce_request(b"x" * 1_000_000))
        large = replace(fetch_request(0), max_bytes=1 << 25)
        (topic,) = large.topics
        (partition,) = topic.partitions
        whole = replace(topic, partitions=(replace(partition, partition_max_bytes=1 << 25),))
        client.send(1, 11, replace(large, topics=(whole,)))
        (connection,) = broker.driver.connections.values()
        await until(lambda: connection._writing)
        connection.sweep()
        assert connection.idle_sweeps == 1
        async with asyncio.timeout(WAIT_S):
            while connection.idle_sweeps:
                await client.reader.read(1 << 16)
        await client.close()


async def test_disconnected_long_polls_are_forgotten() -> None:
    async with served() as broker:
        client = await broker.client()
        await create_topic(client)
        client.send(1, 11, fetch_request(0, wait_ms=60_000))
        await client.writer.drain()
        waiting = broker.driver._node.cores.waiting
        await until(lambda: bool(waiting._by_connection))
        await client.close()
        await until(lambda: not broker.driver.connections)
        assert not waiting._by_connection
        assert not waiting._by_partition


async def test_many_connections_at_a_time() -> None:
    async with served() as broker:
        clients: list[RawClient] = [await broker.client() for _ in range(200)]
        await create_topic(clients[0])
        for client in clients:
            client.send(0, 8, produce_request())
        offsets = [
            (await client.receive())[1].responses[0].partition_responses[0].base_offset
            for client in clients
        ]
        assert sorted(offsets) == list(range(200))
        for client in clients:
            await client.close()


async def test_a_client_over_its_quota_is_not_read_for_so_long_and_then_goes_on() -> None:
    async with served() as broker:
        client, other = await broker.client(), await broker.client()
        await create_topic(client)
        ops = (OpData(key="producer_byte_rate", value=1000.0),)
        entity = (EntityData(entity_type="client-id", entity_name=None),)
        quota = AlterClientQuotasRequest(entries=(EntryData(entity=entity, ops=ops),))
        assert (await client.ask(49, 1, quota)).entries[0].error_code == 0
        answer = await client.ask(0, 8, produce_request(b"x" * 60_000))
        assert answer.throttle_time_ms > 40_000
        connection = next(each for each in broker.driver.connections.values() if each._muted)
        client.send(18, 3, VERSIONS)
        for _ in range(20):
            assert (await other.ask(18, 3, VERSIONS)).error_code == 0, "nobody else waits"
        connection.sweep()
        assert connection.idle_sweeps == 0, "who is made to wait is not idle"
        assert connection._muted is not None
        assert not connection._answers.expected, "what it asked meanwhile is not looked at"
        connection._muted.cancel()
        connection._unmute()
        assert (await client.receive())[1].error_code == 0
        await client.close()
        await other.close()


async def test_a_client_that_takes_too_much_of_the_loops_time_is_told_and_muted() -> None:
    async with served() as broker:
        client, other = await broker.client(), await broker.client()
        ops = (OpData(key="request_percentage", value=0.0001),)
        entity = (EntityData(entity_type="client-id", entity_name="test"),)
        quota = AlterClientQuotasRequest(entries=(EntryData(entity=entity, ops=ops),))
        assert (await client.ask(49, 1, quota)).entries[0].error_code == 0
        for _ in range(100):
            client.send(18, 3, VERSIONS)
            answer = (await client.receive())[1]
            if answer.throttle_time_ms:
                break
        assert 0 < answer.throttle_time_ms <= 1000, "more than 10 us of 10 s, at most a window"
        assert [each._muted is not None for each in broker.driver.connections.values()].count(True)
        # Without the quota nothing is measured, and nobody is muted any more.
        broker.driver.cores.quotas.follow({})
        assert (await other.ask(18, 3, VERSIONS)).throttle_time_ms == 0
        await client.close()
        await other.close()


async def test_a_muted_client_that_leaves_is_forgotten() -> None:
    async with served() as broker:
        client = await broker.client()
        await until(lambda: bool(broker.driver.connections))
        (connection,) = broker.driver.connections.values()
        connection.mute(60_000)
        timer = connection._muted
        connection.mute(10)
        assert connection._muted is not None
        assert connection._muted.when() >= timer.when(), "the longer wait counts"
        await client.close()
        await until(lambda: not broker.driver.connections)
        assert connection._muted.cancelled()


async def test_a_muted_client_that_leaves_has_all_taken_in_that_it_sent() -> None:
    """Who is over a quota is slowed down, as in Kafka: what was in the buffer when it left was
    dropped.
    """
    async with served() as broker:
        client = await broker.client()
        await create_topic(client)
        (connection,) = broker.driver.connections.values()
        connection.mute(60_000)
        one = b"".join(encode_request(0, 8, 0, "test", produce_request(acks=0)))
        client.writer.write(one * 20)
        await client.close()
        await until(lambda: connection._gone)
        await until(lambda: not connection._resuming)
        assert not connection.closed
        assert connection._muted is not None
        connection._muted.cancel()
        connection._unmute()
        await until(lambda: not broker.driver.connections)
        (log,) = broker.driver.cores.logs.by_name.values()
        assert log.log_end == 20


async def test_X3_a_muted_client_that_left_is_not_kept_for_as_long_as_its_quota_says() -> None:
    """That may be weeks, and each of its next connections would be another one that is kept."""
    async with served(connections_max_idle_ms="400") as broker:
        client = await broker.client()
        await create_topic(client)
        (connection,) = broker.driver.connections.values()
        connection.mute(2**31 - 1)
        client.writer.write(b"".join(encode_request(0, 8, 0, "test", produce_request(acks=0))))
        await until(lambda: connection._start < connection._end)
        for _ in range(5):
            connection.sweep()
        assert connection.idle_sweeps == 0, "who is there and is made to wait is not idle"
        await client.close()
        await until(lambda: connection.closed)


async def refused(broker: Served) -> bool:
    """Whether a new connection is closed without a word."""
    client = await broker.client()
    closed = await client.is_closed()
    await client.close()
    return closed


async def test_the_bounds_of_connections_change_while_the_broker_runs() -> None:
    async with served() as broker:
        client = await broker.client()

        async def change(**settings: str) -> None:
            configs = tuple(
                AlterableConfig(name=name.replace("_", "."), value=value)
                for name, value in settings.items()
            )
            changed = AlterConfigsResource(resource_type=4, resource_name="", configs=configs)
            answer = await client.ask(44, 1, IncrementalAlterConfigsRequest(resources=(changed,)))
            assert answer.responses[0].error_code == 0

        await change(max_connections="1")
        assert await refused(broker)
        await change(max_connections="2", max_connections_per_ip="1")
        assert await refused(broker)
        await change(max_connections_per_ip="2")
        second = await broker.client()
        assert (await second.ask(18, 3, VERSIONS)).error_code == 0
        await second.close()
        await client.close()


async def test_X4_refused_connections_do_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served(max_connections="0") as broker:
        began = clock.monotonic_ms()
        for _ in range(20):
            assert await refused(broker)
        seconds = (clock.monotonic_ms() - began) // 1000
        assert not any("more before it" in line for line in caplog.messages) or seconds
    assert "more before it" in caplog.messages[-1], "those that were left out last are told"
    lines = [line for line in caplog.messages if "refused: max.connections leaves no room" in line]
    assert 2 <= len(lines) <= seconds + 2


async def test_an_address_may_not_connect_faster_than_its_quota() -> None:
    async with served() as broker:
        client = await broker.client()
        ops = (OpData(key="connection_creation_rate", value=1.0),)
        entity = (EntityData(entity_type="ip", entity_name="127.0.0.1"),)
        quota = AlterClientQuotasRequest(entries=(EntryData(entity=entity, ops=ops),))
        assert (await client.ask(49, 1, quota)).entries[0].error_code == 0
        rate = broker.driver._node.cores.quotas
        clients = [await broker.client() for _ in range(10)]
        await until(lambda: len(broker.driver.connections) == 11)
        assert not rate.admits("127.0.0.1", Instant(clock.wall_ms()))
        assert await refused(broker)
        for each in (client, *clients):
            await each.close()


def test_drop_sent_counts_over_buffers() -> None:
    for sent in range(7):
        buffers: list[bytes | bytearray | memoryview] = [b"ab", b"cd", b"ef"]
        drop_sent(buffers, sent)
        assert b"".join(buffers) == b"abcdef"[sent:]


async def test_X3_a_client_that_left_with_its_buffer_full_behind_a_long_poll_is_let_go() -> None:
    async with served() as broker:
        client = await broker.client()
        await create_topic(client)
        (connection,) = broker.driver.connections.values()
        client.send(1, 11, fetch_request(0, wait_ms=2**31 - 1))
        while connection._reading:
            client.send(18, 3, VERSIONS)
            await asyncio.sleep(0)
        connection.sweep()
        assert not connection.closed, "it is there"
        await client.close()

        def is_swept_away() -> bool:
            connection.sweep()
            return connection.closed

        await until(is_swept_away)
        assert not broker.driver.connections
