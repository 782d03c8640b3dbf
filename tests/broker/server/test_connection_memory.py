"""What all connections hold together is bounded, and nobody else pays for it (X3, X4)."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from flowstream.broker.server.counters import Counters
from flowstream.broker.server.holdings import REST_BYTES
from flowstream.wire.frame import encode_request
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from flowstream.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from flowstream.wire.messages.metadata import MetadataRequest
from flowstream.wire.schema import replace
from tests.broker.server.secured import secured
from tests.broker.server.serving import (
    TOPIC,
    VERSIONS,
    RawClient,
    Served,
    create_topic,
    fetch_request,
    produce_request,
    served,
    until,
)

MIB = 1024 * 1024
HALF = struct.pack(">i", 90_000_000) + bytes(2 * MIB)
"""The beginning of a request that never ends: 4 MiB of buffer at most."""


def large_fetch(offset: int = 0) -> FetchRequest:
    partition = FetchPartition(partition=0, fetch_offset=offset, partition_max_bytes=50 * MIB)
    topic = FetchTopic(topic=TOPIC, partitions=(partition,))
    return FetchRequest(max_wait_ms=0, min_bytes=1, max_bytes=50 * MIB, topics=(topic,))


async def filled(broker: Served) -> RawClient:
    """A client that wrote 9 MB."""
    client = await broker.client()
    await create_topic(client)
    for _ in range(10):
        await client.ask(0, 8, produce_request(b"x" * 900_000))
    return client


async def unread(broker: Served, *offsets: int) -> socket.socket:
    """A client that asks for everything and reads nothing."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)
    sock.connect(("127.0.0.1", broker.listener.port))
    for number, offset in enumerate(offsets):
        sock.sendall(b"".join(encode_request(1, 11, number, "slow", large_fetch(offset))))
    return sock


async def test_X3_X4_unfinished_requests_are_bounded_together_and_an_innocent_is_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counters = Counters()
    async with served(counters=counters) as broker:
        memory = broker.driver.cores.memory
        memory.most = 20 * MIB
        innocent = await broker.client()
        await create_topic(innocent)
        halves = []
        most = 0
        with caplog.at_level(logging.WARNING, "flowstream.broker"):
            for number in range(40):
                halves.append(await broker.client())
                before = counters.bytes_in
                halves[-1].writer.write(HALF)
                await until(lambda before=before: counters.bytes_in - before >= len(HALF))
                answer = await innocent.ask(0, 8, produce_request(b"%d" % number * 200_000))
                assert answer.responses[0].partition_responses[0].error_code == 0
                most = max(most, memory.held)
        assert 8 * MIB < most <= memory.most
        assert counters.let_go >= 30
        assert "an unfinished request or an unread answer" in caplog.text
        assert len(caplog.records) < counters.let_go, "the log is spared"
        assert await halves[0].is_closed()
        for half in halves:
            await half.close()
        await until(lambda: len(broker.driver.connections) == 1)
        broker.driver.connections[next(iter(broker.driver.connections))].give_back()
        assert memory.held == 0, "all is returned"
        await innocent.close()


async def test_X3_X4_unread_answers_are_bounded_together_and_an_innocent_is_served() -> None:
    counters = Counters()
    async with served(counters=counters) as broker:
        innocent = await filled(broker)
        memory = broker.driver.cores.memory
        memory.most = 30 * MIB
        slow = []
        for number in range(12):
            slow.append(await unread(broker, 0))
            await until(lambda number=number: counters.accepted == number + 2)
            answer = await innocent.ask(1, 11, fetch_request(0))
            assert len(answer.responses[0].partitions[0].records) > 900_000
            assert memory.held <= memory.most
        assert memory.held > 10 * MIB
        assert counters.let_go == 0, "who came later got less"
        broker.driver.connections[min(broker.driver.connections)].give_back()
        memory.most = memory.held  # from now on there is room only where somebody goes
        for _ in range(3):
            answer = await innocent.ask(0, 8, produce_request(b"x" * 999_000))
            assert answer.responses[0].partition_responses[0].error_code == 0
        assert counters.let_go == 1
        assert memory.held <= memory.most
        for each in slow:
            each.close()
        await until(lambda: len(broker.driver.connections) == 1)
        next(iter(broker.driver.connections.values())).give_back()
        assert memory.held == 0
        await innocent.close()


async def test_X3_answers_of_one_moment_share_the_room_there_is() -> None:
    """Long polls that end together are answered together, before anybody could be let go."""
    async with served() as broker:
        innocent = await filled(broker)
        memory = broker.driver.cores.memory
        memory.most = 16 * MIB
        clients = [await broker.client() for _ in range(6)]
        for client in clients:
            client.send(1, 11, large_fetch())
        sizes = []
        for client in clients:
            answer = (await client.receive())[1]
            sizes.append(len(answer.responses[0].partitions[0].records))
        assert max(sizes) > 8_000_000
        assert min(sizes) > 800_000, "who comes later gets a batch at least, if need be later"
        await until(lambda: not any(c._unsent for c in broker.driver.connections.values()))
        for client in clients:
            answer = await client.ask(1, 11, large_fetch())
            assert len(answer.responses[0].partitions[0].records) > 8_000_000
            await client.close()
        await innocent.close()


@pytest.fixture
def at_most(monkeypatch: pytest.MonkeyPatch) -> Callable[[Served], list[int]]:
    """What was held and read together at the end of each turn of a broker from now on."""

    def watch(broker: Served) -> list[int]:
        driver, memory = broker.driver, broker.driver.cores.memory
        seen: list[int] = []
        end_turn = driver.end_turn

        def watched() -> None:
            seen.append(memory.held + memory.read)
            end_turn()

        monkeypatch.setattr(driver, "end_turn", watched)
        return seen

    return watch


async def waiting_readers(broker: Served, count: int, *, sessions: bool) -> list[RawClient]:
    """So many readers whose requests are parked."""
    readers = [await broker.client() for _ in range(count)]
    wanted = large_fetch()
    for reader in readers:
        if sessions:
            opened = await reader.ask(1, 11, replace(large_fetch(), session_id=0, session_epoch=0))
            wanted = replace(wanted, session_id=opened.session_id, session_epoch=1, topics=())
        reader.send(1, 11, replace(wanted, max_wait_ms=60_000))
    connections = broker.driver.connections
    await until(lambda: sum(c._blocked for c in connections.values()) == count)
    return readers


@pytest.mark.parametrize("sessions", [False, True], ids=["plain", "sessions"])
async def test_X3_X4_one_write_wakes_many_readers_and_all_get_it_within_the_bound(
    sessions: bool, at_most: Callable[[Served], list[int]]
) -> None:
    counters = Counters()
    async with served(counters=counters) as broker:
        writer = await broker.client()
        await create_topic(writer)
        memory = broker.driver.cores.memory
        memory.most = 4 * MIB
        readers = await waiting_readers(broker, 40, sessions=sessions)
        seen = at_most(broker)
        await writer.ask(0, 8, produce_request(b"x" * 900_000))
        for reader in readers:
            answer = (await reader.receive())[1]
            assert len(answer.responses[0].partitions[0].records) > 900_000
        assert 3 * MIB < max(seen) < memory.most + MIB
        assert counters.let_go == 0, "answers that leave at once cost nobody the connection"
        for reader in (*readers, writer):
            await reader.close()


async def test_X3_who_asks_for_more_than_there_is_room_for_waits_for_a_turn(
    at_most: Callable[[Served], list[int]],
) -> None:
    """Requests that do not wait, and long polls whose time is up, are no exception."""
    async with served() as broker:
        innocent = await filled(broker)
        memory = broker.driver.cores.memory
        memory.most = 2 * MIB
        readers = [await broker.client() for _ in range(30)]
        seen = at_most(broker)
        for reader in readers:
            reader.send(1, 11, fetch_request(0))
        for reader in readers:
            answer = (await reader.receive())[1]
            assert len(answer.responses[0].partitions[0].records) > 900_000
            await reader.close()
        assert MIB < max(seen) < memory.most + MIB
        await innocent.close()


async def test_X3_other_large_answers_of_one_moment_are_within_the_bound(
    at_most: Callable[[Served], list[int]],
) -> None:
    """What is ready leaves before the next request is looked at."""
    counters = Counters()
    async with served(counters=counters) as broker:
        clients = [await broker.client() for _ in range(30)]
        wanted = CreatableTopic(name=TOPIC, num_partitions=400, replication_factor=1)
        creation = CreateTopicsRequest(topics=(wanted,), timeout_ms=1000)
        assert (await clients[0].ask(19, 5, creation)).topics[0].error_code == 0
        memory = broker.driver.cores.memory
        memory.most = 100_000
        seen = at_most(broker)
        for client in clients:
            client.send(3, 9, MetadataRequest(topics=None))
        for client in clients:
            answer = (await client.receive())[1]
            assert len(answer.topics[0].partitions) == 400
            await client.close()
        assert 90_000 < max(seen) < 120_000
        assert counters.let_go == 0


async def test_X3_one_reader_gets_a_batch_that_is_larger_than_the_whole_bound() -> None:
    """Once it holds all there is, too, somebody goes on: it does (KIP-74)."""
    counters = Counters()
    async with served(counters=counters) as broker:
        innocent = await filled(broker)
        memory, connections = broker.driver.cores.memory, broker.driver.connections
        connections[min(connections)].give_back()
        slow = await unread(broker, 0)
        slow.setblocking(False)
        await until(lambda: memory.held > 8_000_000)
        memory.most = MIB
        assert memory.is_over
        broker.driver.relief.relieve()
        answer = await innocent.ask(18, 3, VERSIONS)
        assert answer.error_code == 0
        loop = asyncio.get_running_loop()
        read = 0
        while read < 9_000_000:
            read += len(await loop.sock_recv(slow, 65_536))
        assert counters.let_go == 0
        slow.close()
        await innocent.close()


async def test_X4_who_reads_nothing_keeps_nobody_from_reading(
    at_most: Callable[[Served], list[int]],
) -> None:
    """Those who hold all the room go, one by one for each reader that needs it."""
    counters = Counters()
    async with served(counters=counters) as broker:
        innocent = await filled(broker)
        memory = broker.driver.cores.memory
        memory.most = 20 * MIB
        seen = at_most(broker)
        slow = [await unread(broker, 0) for _ in range(8)]
        await until(lambda: counters.accepted == 9 and memory.held > 10 * MIB)
        for _ in range(20):
            answer = await innocent.ask(1, 11, fetch_request(0))
            assert len(answer.responses[0].partitions[0].records) > 900_000
        assert max(seen) < memory.most + MIB
        for each in slow:
            each.close()
        await innocent.close()


async def test_X3_an_answer_counts_until_all_of_it_is_sent() -> None:
    async with served() as broker:
        innocent = await filled(broker)
        memory = broker.driver.cores.memory
        slow = await unread(broker, 0)
        slow.setblocking(False)
        await until(lambda: memory.holds(max(broker.driver.connections)) > 8_000_000)
        who = max(broker.driver.connections)
        loop = asyncio.get_running_loop()
        read = 0
        while read < 8_000_000:
            read += len(await loop.sock_recv(slow, 65_536))
        assert memory.holds(who) == 0 or memory.holds(who) > 9_000_000
        while read < 9_000_000:
            read += len(await loop.sock_recv(slow, 65_536))
        await until(lambda: memory.holds(who) == 0)
        slow.close()
        await innocent.close()


async def test_X3_empty_buffers_are_given_back_before_anybody_is_let_go() -> None:
    counters = Counters()
    async with served(counters=counters) as broker:
        memory = broker.driver.cores.memory
        clients = [await broker.client() for _ in range(8)]
        await create_topic(clients[0])
        for client in clients:
            await client.ask(0, 8, produce_request(b"x" * 500_000))
        assert memory.held >= 8 * 500_000
        memory.most = memory.held
        await clients[0].ask(0, 8, produce_request(b"x" * 999_000))
        another = await broker.client()
        await another.ask(0, 8, produce_request(b"x" * 999_000))
        assert counters.let_go == 0
        buffers = [len(each._buffer) for each in broker.driver.connections.values()]
        assert buffers.count(REST_BYTES) >= 7
        for client in (*clients, another):
            assert (await client.ask(18, 3, VERSIONS)).error_code == 0
            await client.close()


async def test_X3_who_waits_with_an_empty_buffer_gives_it_back() -> None:
    """Thousands of consumers wait most of their time, with buffers that nothing fills."""
    async with served() as broker:
        client = await broker.client()
        await create_topic(client)
        await client.ask(0, 8, produce_request(b"x" * 100_000))
        (connection,) = broker.driver.connections.values()
        assert broker.driver.cores.memory.held > 0
        client.send(1, 11, fetch_request(1, wait_ms=60_000))
        await until(lambda: bool(connection._blocked))
        connection.sweep()
        assert broker.driver.cores.memory.held == 0
        await client.close()


async def test_X3_buffers_of_TLS_count(tmp_path: Path) -> None:
    async with secured(tmp_path) as broker:
        client = await broker.logged_in(listener="SASL_SSL")
        plain = await broker.logged_in(listener="SASL_PLAINTEXT")
        memory = broker.server.driver.cores.memory
        connections = broker.server.driver.connections
        first, second = sorted(connections)
        for each in (client, plain):
            each.writer.write(HALF)
            await each.writer.drain()
        await until(lambda: all(connections[who]._end >= len(HALF) for who in (first, second)))
        extra = [
            memory.holds(w) - len(connections[w]._buffer) + REST_BYTES for w in (first, second)
        ]
        assert extra == [2 * 17 * 1024, 0]
        memory.most = memory.held - 1
        another = await broker.logged_in(listener="SASL_SSL")
        another.writer.write(HALF)
        await until(lambda: len(connections) == 2)
        assert await client.is_closed() or await plain.is_closed()
        assert memory.held <= memory.most
        for each in (client, plain, another):
            await each.close()


async def test_X3_a_connection_that_ends_with_the_turn_leaves_nothing_in_the_account() -> None:
    """More comes in the turn of a request whose answer ends the connection: room is made for it
    after the turn has ended, and the connection with it.
    """
    async with served() as broker:
        client = await broker.client()
        await client.ask(18, 3, VERSIONS)
        (connection,) = broker.driver.connections.values()
        connection._turn, connection._is_full = broker.driver.turn, True
        connection._ending, connection._answers.leaving = "over", [b"its last answer"]
        broker.driver.to_send(connection)
        connection._readable()
        assert connection.closed
        assert broker.driver.cores.memory.held == 0
        assert (await client.reader.read()) == b"its last answer"
        await client.close()
