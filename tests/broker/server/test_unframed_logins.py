"""Logins after SaslHandshake 0, whose messages come without Kafka's headers (KIP-152): what old
clients do, and what makes librdkafka 2.0 log in at all (X1, X7)."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

import pytest
from aiokafka.conn import ScramAuthenticator

from flowstream.broker.handlers import ROUTES
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.metadata import MetadataRequest
from flowstream.wire.messages.sasl_authenticate import SaslAuthenticateRequest
from flowstream.wire.messages.sasl_handshake import SaslHandshakeRequest
from tests.broker.server.secured import USERS, Secured, log_in, secured
from tests.broker.server.serving import WAIT_S, RawClient, until

ALL_TOPICS = MetadataRequest(topics=None)
PLAIN = f"\0admin\0{USERS['admin']}".encode()


async def shaken(broker: Secured, mechanism: str = "PLAIN") -> RawClient:
    client = await broker.client()
    answer = await client.ask(17, 0, SaslHandshakeRequest(mechanism=mechanism))
    assert answer.error_code == 0
    return client


def say(client: RawClient, token: bytes) -> None:
    client.writer.write(struct.pack(">i", len(token)) + token)


async def told(client: RawClient) -> bytes:
    async with asyncio.timeout(WAIT_S):
        (size,) = struct.unpack(">i", await client.reader.readexactly(4))
        return await client.reader.readexactly(size)


async def test_plain_takes_one_message_and_an_empty_answer(tmp_path: Path) -> None:
    async with secured(tmp_path) as broker:
        client = await shaken(broker)
        say(client, PLAIN)
        assert await told(client) == b""
        assert len((await client.ask(3, 9, ALL_TOPICS)).brokers) == 1
        await client.close()


async def test_a_request_may_follow_at_once(tmp_path: Path) -> None:
    async with secured(tmp_path) as broker:
        client = await broker.client()
        client.send(17, 0, SaslHandshakeRequest(mechanism="PLAIN"))
        say(client, PLAIN)
        client.send(3, 9, ALL_TOPICS)
        assert (await client.receive())[1].error_code == 0
        assert await told(client) == b""
        assert len((await client.receive())[1].brokers) == 1
        await client.close()


async def test_scram_takes_several(tmp_path: Path) -> None:
    async with secured(tmp_path) as broker:
        steps = ScramAuthenticator(
            loop=asyncio.get_running_loop(),
            sasl_plain_username="alice",
            sasl_plain_password=USERS["alice"],
            sasl_mechanism="SCRAM-SHA-256",
        )
        client = await shaken(broker, "SCRAM-SHA-256")
        answer = None
        while (step := await steps.step(answer)) is not None:
            say(client, step[0])
            answer = await told(client)
        assert (await client.ask(3, 9, ALL_TOPICS)).topics == ()
        await client.close()


async def test_X7_a_failed_login_ends_the_connection_without_a_word(tmp_path: Path) -> None:
    async with secured(tmp_path, connection_failed_authentication_delay_ms="20") as broker:
        for token in (b"\0admin\0guess", b"\0nobody\0guess", b"x", b"\0" * 40_000):
            client = await shaken(broker)
            say(client, token)
            assert await client.is_closed()
            await client.close()


async def test_X1_what_follows_is_bounded_and_never_parsed_as_a_request(tmp_path: Path) -> None:
    """A request in place of a token is a token that is wrong."""
    async with secured(tmp_path) as broker:
        client = await shaken(broker)
        client.writer.write(struct.pack(">i", 64 * 1024 + 1))
        assert await client.is_closed()
        await client.close()
        for key, body in ((3, ALL_TOPICS), (36, SaslAuthenticateRequest(auth_bytes=PLAIN))):
            client = await shaken(broker)
            client.send(key, ROUTES[key].newest, body)
            assert await client.is_closed()
            await client.close()


async def test_X7_a_mechanism_that_is_not_offered_begins_nothing(tmp_path: Path) -> None:
    async with secured(tmp_path) as broker:
        client = await broker.client()
        answer = await client.ask(17, 0, SaslHandshakeRequest(mechanism="GSSAPI"))
        assert answer.error_code == ErrorCode.UNSUPPORTED_SASL_MECHANISM
        assert await client.is_closed()
        await client.close()
        client = await broker.client("PLAINTEXT")
        answer = await client.ask(17, 0, SaslHandshakeRequest(mechanism="PLAIN"))
        assert answer.error_code == ErrorCode.ILLEGAL_SASL_STATE
        assert (await client.ask(3, 9, ALL_TOPICS)).topics == ()
        await client.close()


@pytest.mark.parametrize("first", [0, 1])
async def test_X7_a_second_login_has_frames(tmp_path: Path, first: int) -> None:
    """Kafka's clients log in anew only where SaslAuthenticate told them when (KIP-368)."""
    async with secured(tmp_path) as broker:
        client = await shaken(broker) if first == 0 else await broker.client()
        if first == 0:
            say(client, PLAIN)
            assert await told(client) == b""
        else:
            assert (await log_in(client, "admin", USERS["admin"])).error_code == 0
        assert (await log_in(client, "admin", USERS["admin"])).error_code == 0
        answer = await client.ask(17, 0, SaslHandshakeRequest(mechanism="PLAIN"))
        assert answer.error_code == ErrorCode.ILLEGAL_SASL_STATE
        assert len((await client.ask(3, 9, ALL_TOPICS)).brokers) == 1
        await client.close()


async def test_X3_who_leaves_in_the_midst_is_forgotten(tmp_path: Path) -> None:
    async with secured(tmp_path) as broker:
        client = await shaken(broker, "SCRAM-SHA-256")
        await client.close()
        await until(lambda: not broker.server.driver.connections)
