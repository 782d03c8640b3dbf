"""In front of a secured broker: what is parsed before a login, how a login fails, how long it
holds (X1, X4, X5, X7)."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import struct
import threading
from pathlib import Path

import pytest

from flowstream import clock
from flowstream.broker.handlers import ROUTES
from flowstream.broker.security import plain
from flowstream.broker.security.scram import Mechanism
from flowstream.broker.server.tls import QUIET_SECONDS
from flowstream.broker.server.watching import Watch
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.frame import encode_request
from flowstream.wire.messages.api_versions import ApiVersionsRequest
from flowstream.wire.messages.metadata import MetadataRequest
from flowstream.wire.messages.sasl_authenticate import SaslAuthenticateRequest
from flowstream.wire.messages.sasl_handshake import SaslHandshakeRequest
from tests.broker.server.secured import NAMES, USERS, Secured, log_in, secured
from tests.broker.server.serving import VERSIONS, RawClient, create_topic, produce_request, until
from tests.broker.server.test_bad_input import LETHAL, framed, header

ALL_TOPICS = MetadataRequest(topics=None)


async def still_serves(broker: Secured) -> None:
    client = await broker.logged_in()
    answer = await client.ask(3, 9, ALL_TOPICS)
    assert len(answer.brokers) == 1
    await client.close()


async def test_X1_nothing_but_a_login_is_parsed_before_it(tmp_path: Path) -> None:
    """Bodies that would break a parser, and bodies that would be answered, end the connection."""
    async with secured(tmp_path) as broker:
        for key, route in ROUTES.items():
            if key in (17, 18, 36):
                continue
            for body in (b"", b"\xff" * 40):
                client = await broker.client()
                client.writer.write(framed(header(key, route.newest) + body))
                assert await client.is_closed()
                await client.close()
        await still_serves(broker)


async def test_X1_a_frame_before_the_login_has_64_KiB_at_most(tmp_path: Path) -> None:
    async with secured(tmp_path) as broker:
        client = await broker.client()
        client.writer.write(struct.pack(">i", 64 * 1024 + 1))
        assert await client.is_closed()
        await client.close()
        client = await broker.logged_in()
        await create_topic(client)
        answer = await client.ask(0, 8, produce_request(b"x" * 100_000))
        assert answer.responses[0].partition_responses[0].error_code == 0
        await client.close()


@pytest.mark.parametrize("listener", NAMES[1:])
@pytest.mark.parametrize("name", LETHAL)
async def test_X4_bad_input_costs_its_own_connection_only(
    tmp_path: Path, listener: str, name: str
) -> None:
    async with secured(tmp_path) as broker:
        innocent = await broker.logged_in()
        client = await broker.client(listener)
        client.writer.write(LETHAL[name])
        assert await client.is_closed()
        await client.close()
        assert (await innocent.ask(18, 3, VERSIONS)).error_code == 0
        await innocent.close()


async def test_X1_X4_random_bytes_before_a_login(tmp_path: Path) -> None:
    """Plain bytes at every listener, frames of the APIs that are parsed, half a login."""
    seed = 7
    rng = random.Random(seed)
    async with secured(tmp_path) as broker:
        for _ in range(60):
            for listener in NAMES:
                reader, writer = await asyncio.open_connection(
                    "localhost", broker.server.ports[listener]
                )
                data = rng.randbytes(rng.randrange(1, 300))
                if rng.random() < 0.6:
                    key, version = rng.choice([(17, 1), (18, 3), (36, 0), (36, 2)])
                    data = framed(header(key, version) + data)
                writer.write(data)
                raw = RawClient(reader, writer)
                await raw.close()
        for _ in range(60):
            client = await broker.client()
            mechanism = rng.choice(["PLAIN", "SCRAM-SHA-256"])
            await client.ask(17, 1, SaslHandshakeRequest(mechanism=mechanism))
            noise = rng.choice([rng.randbytes(rng.randrange(80)), b"n,,n=a,r=b"])
            client.send(36, 1, SaslAuthenticateRequest(auth_bytes=noise))
            client.send(36, 1, SaslAuthenticateRequest(auth_bytes=rng.randbytes(20)))
            answer = (await client.receive())[1]
            if answer.error_code == 0:
                answer = (await client.receive())[1]
            assert answer.error_code == ErrorCode.SASL_AUTHENTICATION_FAILED, f"seed {seed}"
            assert await client.is_closed()
            await client.close()
        await still_serves(broker)


async def test_X7_a_failed_login_is_told_and_ends_the_connection(tmp_path: Path) -> None:
    async with secured(tmp_path, connection_failed_authentication_delay_ms="20") as broker:
        for user, password in (("admin", "guess"), ("nobody", "guess")):
            client = await broker.client()
            answer = await log_in(client, user, password)
            assert answer.error_code == ErrorCode.SASL_AUTHENTICATION_FAILED
            assert answer.error_message == "Authentication failed: Invalid username or password"
            assert await client.is_closed()
            await client.close()


async def test_X7_the_order_of_a_login_is_kept(tmp_path: Path) -> None:
    async with secured(tmp_path) as broker:
        client = await broker.client()
        answer = await client.ask(36, 1, SaslAuthenticateRequest(auth_bytes=b"\0admin\0x"))
        assert answer.error_code == ErrorCode.ILLEGAL_SASL_STATE
        assert await client.is_closed()
        await client.close()
        client = await broker.client()
        answer = await client.ask(17, 1, SaslHandshakeRequest(mechanism="GSSAPI"))
        assert answer.error_code == ErrorCode.UNSUPPORTED_SASL_MECHANISM
        assert answer.mechanisms == ("PLAIN", "SCRAM-SHA-256")
        assert await client.is_closed()
        await client.close()
        client = await broker.client("PLAINTEXT")
        answer = await client.ask(17, 1, SaslHandshakeRequest(mechanism="PLAIN"))
        assert answer.error_code == ErrorCode.ILLEGAL_SASL_STATE
        assert (await client.ask(18, 3, VERSIONS)).error_code == 0
        await client.close()


async def test_X2_what_is_not_allowed_leaves_no_trace(tmp_path: Path) -> None:
    async with secured(tmp_path) as broker:
        admin, alice = await broker.logged_in(), await broker.logged_in("alice", "SASL_SSL")
        await create_topic(admin)
        answer = await alice.ask(0, 8, produce_request())
        assert answer.responses[0].partition_responses[0].error_code == 29
        answer = await admin.ask(0, 8, produce_request())
        assert answer.responses[0].partition_responses[0].base_offset == 0
        assert not (await alice.ask(3, 9, ALL_TOPICS)).topics
        assert len((await admin.ask(3, 9, ALL_TOPICS)).topics) == 1
        alice.send(0, 8, produce_request(acks=0))
        assert await alice.is_closed()
        await admin.close()
        await alice.close()


async def test_X7_a_login_that_has_ended_ends_its_connection(tmp_path: Path) -> None:
    """KIP-368: who logs in again goes on, who asks for anything else is cut off."""
    async with secured(tmp_path, connections_max_reauth_ms="1") as broker:
        client = await broker.client()
        for _ in range(3):
            answer = await log_in(client, "admin", USERS["admin"])
            assert (answer.error_code, answer.session_lifetime_ms) == (0, 1)
            now = clock.wall_ms()
            await until(lambda now=now: clock.wall_ms() > now + 1)
        client.send(3, 9, ALL_TOPICS)
        assert await client.is_closed()
        await client.close()


async def test_X7_nobody_becomes_another_on_the_same_connection(tmp_path: Path) -> None:
    async with secured(tmp_path) as broker:
        client = await broker.logged_in()
        answer = await log_in(client, "alice", USERS["alice"])
        assert answer.error_code == ErrorCode.SASL_AUTHENTICATION_FAILED
        assert await client.is_closed()
        await client.close()
        client = await broker.logged_in()
        answer = await client.ask(17, 1, SaslHandshakeRequest(mechanism="SCRAM-SHA-256"))
        assert answer.error_code == ErrorCode.ILLEGAL_SASL_STATE
        assert await client.is_closed()
        await client.close()


async def test_each_listener_tells_its_own_address(tmp_path: Path) -> None:
    async with secured(tmp_path) as broker:
        for listener, log in (("SASL_PLAINTEXT", True), ("PLAINTEXT", False), ("SASL_SSL", True)):
            client = await (broker.logged_in("admin", listener) if log else broker.client(listener))
            answer = await client.ask(3, 9, ALL_TOPICS)
            port = broker.server.ports[listener]
            assert [(b.host, b.port) for b in answer.brokers] == [("localhost", port)]
            await client.close()


async def test_a_new_certificate_counts_from_the_next_handshake_on(tmp_path: Path) -> None:
    async def serial(broker: Secured) -> tuple[RawClient, object]:
        client = await broker.client("SASL_SSL")
        found = client.writer.get_extra_info("peercert")["serialNumber"]
        return client, found

    async with secured(tmp_path) as broker:
        old, first = await serial(broker)
        broker.issue()
        new, second = await serial(broker)
        assert first != second
        broker.keystore.write_text("nonsense")
        third = await serial(broker)
        assert third[1] == second, "files that cannot be used change nothing"
        for client in (old, new, third[0]):
            assert (await client.ask(18, 3, VERSIONS)).error_code == 0
            await client.close()


async def test_large_answers_and_requests_pass_tls(tmp_path: Path) -> None:
    """Requests larger than a TLS record, pipelined, and their answers in order."""
    async with secured(tmp_path) as broker:
        client = await broker.logged_in(listener="SASL_SSL")
        await create_topic(client)
        for number in range(20):
            client.send(0, 8, produce_request(b"%d" % number * 50_000))
        for number in range(20):
            answer = (await client.receive())[1]
            assert answer.responses[0].partition_responses[0].base_offset == number
        from tests.broker.server.serving import fetch_request

        answer = await client.ask(1, 11, fetch_request(0, min_bytes=900_000))
        assert len(answer.responses[0].partitions[0].records) > 900_000
        await client.close()


async def test_X5_passwords_are_in_no_log_and_no_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with secured(tmp_path) as broker:
        client = await broker.logged_in()
        await client.close()
        client = await broker.client()
        await log_in(client, "alice", "a-wrong-secret")
        await client.close()
        assert "a login failed" in caplog.text
        numbers = Watch(broker.server.driver).numbers()
        assert (numbers.logins_failed, numbers.logins_succeeded) == (1, 1)
    for secret in (*USERS.values(), "a-wrong-secret"):
        assert secret not in caplog.text
        assert not any(secret.encode() in data for data in contents(tmp_path))


def contents(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in directory.rglob("*") if path.is_file()]


async def test_X3_who_does_not_log_in_is_not_kept(tmp_path: Path) -> None:
    async with secured(tmp_path) as broker:
        client, tls = await broker.client(), await broker.client("SASL_SSL")
        kept = await broker.logged_in()
        reader, writer = await asyncio.open_connection("localhost", broker.server.ports["SSL"])
        silent = RawClient(reader, writer)
        connections = broker.server.driver.connections
        await until(lambda: len(connections) == 4)
        listeners = broker.server._listeners.values()
        sweeps = {listener._login_sweeps for listener in listeners}
        for _ in range(max(sweeps) + 1):
            for listener in listeners:
                listener._sweep_timer.cancel()
                listener._sweep()
        for each in (client, tls, silent):
            assert await each.is_closed()
            await each.close()
        assert (await kept.ask(18, 3, VERSIONS)).error_code == 0
        await kept.close()


async def test_users_that_exist_keep_their_passwords(tmp_path: Path) -> None:
    async with secured(tmp_path):
        pass
    before = dict(USERS)
    try:
        USERS["admin"] = "another"
        async with secured(tmp_path) as broker:
            client = await broker.client()
            assert (await log_in(client, "admin", before["admin"])).error_code == 0
            await client.close()
    finally:
        USERS.update(before)


async def test_pipelined_bytes_after_a_failed_login_are_not_looked_at(tmp_path: Path) -> None:
    async with secured(tmp_path) as broker:
        client = await broker.client()
        await client.ask(17, 1, SaslHandshakeRequest(mechanism="PLAIN"))
        client.send(36, 1, SaslAuthenticateRequest(auth_bytes=b"\0admin\0no"))
        client.writer.write(b"".join(encode_request(3, 9, 99, "test", ALL_TOPICS)))
        answer = (await client.receive())[1]
        assert answer.error_code == ErrorCode.SASL_AUTHENTICATION_FAILED
        assert await client.is_closed()
        await client.close()
        await still_serves(broker)


async def test_X4_random_bytes_in_every_api_of_one_who_may_little(tmp_path: Path) -> None:
    seed = 21
    rng = random.Random(seed)
    async with secured(tmp_path) as broker:
        for key, route in sorted(ROUTES.items()):
            for version in range(route.oldest, route.newest + 1):
                client = await broker.client("PLAINTEXT")
                for _ in range(4):
                    body = rng.choice((rng.randbytes(rng.randrange(60)), b"\0" * rng.randrange(60)))
                    client.writer.write(framed(header(key, version) + body))
                await client.writer.drain()
                await client.close()
                assert not broker.server.ended.done(), f"seed {seed}, API {key} v{version}"
        await still_serves(broker)


async def test_X4_a_login_that_is_being_proved_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its computation hangs until another client has been answered."""
    begun, may_end = threading.Event(), threading.Event()
    original = plain.salted

    def hanging(mechanism: Mechanism, password: str, salt: bytes, iterations: int) -> bytes:
        begun.set()
        assert may_end.wait(60)
        return original(mechanism, password, salt, iterations)

    monkeypatch.setattr(plain, "salted", hanging)
    async with secured(tmp_path) as broker:
        client, other = await broker.client(), await broker.client("PLAINTEXT")
        slow = asyncio.create_task(log_in(client, "alice", USERS["alice"]))
        assert await asyncio.to_thread(begun.wait, 60)
        assert (await other.ask(18, 0, ApiVersionsRequest())).error_code == 0
        assert not slow.done()
        may_end.set()
        assert (await slow).error_code == 0
        await client.close()
        await other.close()


async def test_X4_strangers_who_fail_to_shake_hands_do_not_fill_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    began = clock.monotonic_ms()
    async with secured(tmp_path) as broker:
        for _ in range(30):
            reader, writer = await asyncio.open_connection("localhost", broker.server.ports["SSL"])
            writer.write(b"no hello at all")
            assert await RawClient(reader, writer).is_closed()
            writer.close()
    whiles = (clock.monotonic_ms() - began) // int(QUIET_SECONDS * 1000)
    lines = [line for line in caplog.messages if "TLS handshake failed" in line]
    assert 2 <= len(lines) <= whiles + 2, "the first of each while, and the last of all"
    more = [int(found[1]) for line in lines if (found := re.search(r"and (\d+) more", line))]
    assert len(lines) + sum(more) == 30
