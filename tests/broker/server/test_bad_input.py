"""Bad input before anyone is authenticated costs its own connection and nothing else (X3, X4)."""

from __future__ import annotations

import random
import struct

import pytest

from flowstream.wire.batch import encode_batch
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.frame import encode_request
from flowstream.wire.messages.api_versions import ApiVersionsResponse
from flowstream.wire.messages.metadata import MetadataRequest
from flowstream.wire.schema import decode
from tests.broker.server.serving import VERSIONS, create_topic, produce_request, served


def header(key: int, version: int, correlation_id: int = 7) -> bytes:
    return struct.pack(">hhih", key, version, correlation_id, -1)


def framed(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


LETHAL = {
    "length 0": struct.pack(">i", 0),
    "length 1": framed(b"\0"),
    "length -1": struct.pack(">i", -1),
    "length 2^31-1": struct.pack(">i", 2**31 - 1),
    "length over the cap": struct.pack(">i", 104_857_601),
    "not Kafka": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,
    "unknown key": framed(header(999, 0)),
    "negative key": framed(header(-1, 0)),
    "key that is known but not served": framed(header(68, 0) + b"\0\0"),
    "version too high": framed(header(3, 99)),
    "version too low": framed(header(1, 3)),
    "Produce 2": framed(header(0, 2) + b"\0" * 16),
    "huge array": framed(header(3, 0) + struct.pack(">i", 2**31 - 1)),
    "negative array": framed(header(3, 0) + struct.pack(">i", -5)),
    "varint over 5 bytes": framed(header(3, 12) + b"\0" + b"\xff" * 11),
    "invalid UTF-8": framed(header(3, 0) + struct.pack(">ih", 1, 2) + b"\xff\xfe"),
    "cut short": framed(header(3, 1)),
}


@pytest.mark.parametrize("name", LETHAL)
async def test_X4_it_costs_its_own_connection_only(name: str) -> None:
    async with served() as broker:
        innocent = await broker.client()
        await create_topic(innocent)
        client = await broker.client()
        client.writer.write(LETHAL[name])
        assert await client.is_closed()
        answer = await innocent.ask(0, 8, produce_request())
        assert answer.responses[0].partition_responses[0].base_offset == 0
        assert broker.driver.failed is None
        await innocent.close()
        await client.close()


async def test_an_unfinished_frame_takes_no_memory_ahead() -> None:
    async with served() as broker:
        clients = [await broker.client() for _ in range(50)]
        for client in clients:
            client.writer.write(struct.pack(">i", 100_000_000) + b"x" * 1000)
            await client.writer.drain()
        other = await broker.client()
        assert (await other.ask(18, 3, VERSIONS)).error_code == 0
        await other.close()
        held = [len(connection._buffer) for connection in broker.driver.connections.values()]
        assert max(held) <= 65_536
        for client in clients:
            await client.close()


@pytest.mark.parametrize("version", [5, 99, 32767])
async def test_an_unknown_version_of_ApiVersions_is_answered_in_version_0(version: int) -> None:
    async with served() as broker:
        client = await broker.client()
        client.writer.write(framed(header(18, version)))
        (size,) = struct.unpack(">i", await client.reader.readexactly(4))
        frame = await client.reader.readexactly(size)
        assert frame[:4] == struct.pack(">i", 7)
        answer = decode(ApiVersionsResponse, frame[4:], 0)
        assert answer.error_code == ErrorCode.UNSUPPORTED_VERSION
        assert [(each.api_key, each.max_version) for each in answer.api_keys] == [(18, 4)]
        assert (await client.ask(18, 3, VERSIONS)).error_code == 0
        await client.close()


def damaged(**changes: int) -> bytes:
    """A valid batch with single fields overwritten."""
    at = {"length": (8, ">i"), "magic": (16, ">b"), "crc": (17, ">I"), "count": (57, ">i")}
    batch = encode_batch([(0, None, b"x", ())])
    for name, value in changes.items():
        position, kind = at[name]
        struct.pack_into(kind, batch, position, value)
    return bytes(batch)


BATCHES = {
    "empty": b"",
    "short": b"\0" * 30,
    "wrong CRC": damaged(crc=1),
    "wrong count": damaged(count=5),
    "magic 1": damaged(magic=1),
    "magic 9": damaged(magic=9),
    "length too long": damaged(length=4000),
    "length negative": damaged(length=-1),
    "two batches": damaged() + damaged(),
    "control batch": bytes(encode_batch([(0, b"\0\0\0\1", b"\0\0\0\0\0\0", ())], control=True)),
}


@pytest.mark.parametrize("name", BATCHES)
async def test_a_bad_batch_is_refused_and_the_log_is_unchanged(name: str) -> None:
    async with served() as broker:
        client = await broker.client()
        await create_topic(client)
        answer = await client.ask(0, 8, produce_request(batch=BATCHES[name]))
        assert answer.responses[0].partition_responses[0].error_code != 0
        answer = await client.ask(0, 8, produce_request())
        assert answer.responses[0].partition_responses[0].base_offset == 0
        await client.close()


@pytest.mark.parametrize("topic", ["", ".", "..", "a/b", "a b", "x" * 250, "ä", "\0"])
async def test_illegal_topic_names_are_not_created(topic: str) -> None:
    async with served() as broker:
        client = await broker.client()
        from flowstream.wire.messages.metadata import MetadataRequestTopic

        wanted = MetadataRequest(topics=(MetadataRequestTopic(name=topic),))
        answer = await client.ask(3, 4, wanted)
        assert answer.topics[0].error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
        await client.close()


async def test_X4_random_bytes_in_every_served_api() -> None:
    """Any body of any API and version is answered or costs its connection; the node lives."""
    from flowstream.broker.handlers import ROUTES

    seed = 20
    rng = random.Random(seed)
    async with served() as broker:
        for key, route in sorted(ROUTES.items()):
            for version in range(route.oldest, route.newest + 1):
                client = await broker.client()
                for _ in range(4):
                    body = rng.choice((rng.randbytes(rng.randrange(60)), b"\0" * rng.randrange(60)))
                    client.writer.write(framed(header(key, version) + body))
                await client.writer.drain()
                await client.close()
                assert broker.driver.failed is None, f"seed {seed}, API {key} v{version}"
        innocent = await broker.client()
        assert (await innocent.ask(18, 3, VERSIONS)).error_code == 0
        assert broker.driver.failed is None
        await innocent.close()


async def test_a_flood_of_valid_requests_from_one_leaves_room_for_others() -> None:
    raw = b"".join(encode_request(18, 3, 1, "test", VERSIONS))
    async with served() as broker:
        flood, other = await broker.client(), await broker.client()
        flood.writer.write(raw * 20_000)
        assert (await other.ask(18, 3, VERSIONS)).error_code == 0
        await flood.close()
        await other.close()
