"""Logins of our own client: by tokens and passwords, and made anew before they end (KIP-368)."""

from __future__ import annotations

import asyncio
import json
import threading
from base64 import b64decode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from typer.testing import CliRunner, Result

from flowstream import clock
from flowstream.cli.topics import app
from flowstream.transport.admin import Admin
from flowstream.transport.client import Client, Connection
from flowstream.transport.cluster import Cluster
from flowstream.transport.connection import Security
from flowstream.transport.errors import BrokerUnreachable, NoToken
from flowstream.transport.login import RENEWED, renew_after
from flowstream.transport.producer import IdempotentProducer
from flowstream.transport.reader import PartitionReader
from flowstream.transport.tokens import (
    FRESH,
    MAX_BYTES,
    ClientCredentials,
    TokenEndpoint,
    TokenFile,
    read_answer,
)
from flowstream.transport.types import NewTopic, TopicPartition
from tests.broker.server.secured import USERS, Secured, secured
from tests.broker.server.serving import until

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SECRET = "s3cr:t"


def token(user: str = "admin", seconds: float = 60) -> str:
    expires = clock.wall_ms() / 1000 + seconds
    return jwt.encode({"sub": user, "exp": expires}, KEY, "RS256", headers={"kid": "k"})


def with_tokens(directory: Path) -> dict[str, str]:
    """Settings of a broker that takes them."""
    found = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
    path = directory / "jwks.json"
    path.write_text(json.dumps({"keys": [{**found, "kid": "k"}]}))
    return {
        "sasl_enabled_mechanisms": "PLAIN,SCRAM-SHA-256,OAUTHBEARER",
        "sasl_oauthbearer_jwks_endpoint_url": path.as_uri(),
        "sasl_oauthbearer_clock_skew_seconds": "0",
    }


def cluster_of(broker: Secured, security: Security) -> Cluster:
    return Cluster(f"localhost:{broker.server.ports[security.protocol]}", security=security)


class Issuer:
    """A token endpoint on loopback."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self.status, self.answer = 200, b""
        self.seconds: int | None = 60
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                issuer.asked.append((self.headers["Authorization"], parse_qs(body.decode())))
                self.send_response(issuer.status)
                if issuer.status == 302:
                    self.send_header("Location", issuer.url)
                self.end_headers()
                self.wfile.write(issuer.answer or issuer.fresh())

            def log_message(self, format: str, *args: object) -> None:
                """Quietly."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/token"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def fresh(self) -> bytes:
        made: dict[str, object] = {"access_token": token(), "token_type": "Bearer"}
        if self.seconds is not None:
            made["expires_in"] = self.seconds
        return json.dumps(made).encode()

    def source(self) -> TokenEndpoint:
        credentials = ClientCredentials("shop app", SECRET, "kafka")
        return TokenEndpoint(self.url, credentials, context=None, through_proxy=False)

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.close()


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "OAUTHBEARER"])
async def test_every_way_to_log_in(tmp_path: Path, protocol: str, mechanism: str) -> None:
    async with secured(tmp_path, **with_tokens(tmp_path)) as broker:
        path = tmp_path / "token"
        path.write_text(token() + "\n")
        tls = broker.context() if protocol == "SASL_SSL" else None
        how = Security(protocol, tls, mechanism, "admin", USERS["admin"], TokenFile(path))
        cluster = cluster_of(broker, how)
        await cluster.connect()
        await Admin(cluster).create_topics([NewTopic("t", 1)])
        assert (await IdempotentProducer(cluster).send("t", b"k", b"v")).offset == 0
        await cluster.close()


async def test_X7_who_is_refused_hears_why(tmp_path: Path) -> None:
    async with secured(tmp_path, **with_tokens(tmp_path)) as broker:

        async def refused(security: Security, reason: str) -> None:
            with pytest.raises(BrokerUnreachable, match=reason):
                await cluster_of(broker, security).connect()

        path = tmp_path / "token"
        by_token = Security("SASL_PLAINTEXT", None, "OAUTHBEARER", tokens=TokenFile(path))
        await refused(by_token, r"SASL_PLAINTEXT \(the token file .* cannot be read: No such file")
        for text in ("", "two words", "one\ntwo", "caf\u00e9"):
            path.write_text(text)
            await refused(by_token, "token file .* (one line|cannot be read)")
        path.write_text(token(seconds=-1))
        await refused(by_token, "invalid credentials with SASL mechanism OAUTHBEARER")
        password = Security("SASL_PLAINTEXT", None, "SCRAM-SHA-256", "admin", "wrong")
        await refused(password, "invalid credentials with SASL mechanism SCRAM-SHA-256")
        unknown = Security("SASL_PLAINTEXT", None, "SCRAM-SHA-512", "admin", USERS["admin"])
        await refused(unknown, "takes PLAIN, SCRAM-SHA-256, OAUTHBEARER, not SCRAM-SHA-512")


async def test_one_token_serves_all_logins_while_it_is_fresh(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [10**6]
    monkeypatch.setattr("flowstream.transport.tokens.monotonic_ms", lambda: now[0])
    source = issuer.source()
    found = set(await asyncio.gather(*(source.token() for _ in range(5))))
    assert (len(found), len(issuer.asked)) == (1, 1)
    authorization, form = issuer.asked[0]
    assert b64decode(authorization.removeprefix("Basic ")) == b"shop+app:s3cr%3At"
    assert form == {"grant_type": ["client_credentials"], "scope": ["kafka"]}
    now[0] += round(60_000 * FRESH) - 1
    await source.token()
    assert len(issuer.asked) == 1
    now[0] += 1
    await source.token()
    assert len(issuer.asked) == 2


async def test_a_token_without_a_time_serves_one_login(issuer: Issuer) -> None:
    issuer.seconds = None
    source = issuer.source()
    await source.token()
    await source.token()
    assert len(issuer.asked) == 2


@pytest.mark.parametrize(
    ("status", "answer", "told"),
    [
        (401, b'{"error": "invalid_client", "error_description": "who?"}', "invalid_client who"),
        (500, b"<html>", "HTTP status 500"),
        (302, b"-", "HTTP status 302"),
        (200, b"<html>", "without an access_token"),
        (200, b"[]", "without an access_token"),
        (200, b'{"access_token": 5}', "without an access_token"),
        (200, b'{"access_token": "a\\u0001b"}', "without an access_token"),
        (200, b"x" * (MAX_BYTES + 1), "bytes are no token"),
    ],
)
async def test_X5_an_issuer_that_gives_none_is_named_and_no_secret(
    issuer: Issuer, status: int, answer: bytes, told: str
) -> None:
    issuer.status, issuer.answer = status, answer
    source = issuer.source()
    with pytest.raises(NoToken, match=told) as caught:
        await source.token()
    assert issuer.url in str(caught.value)
    assert SECRET not in f"{caught.value} {source._credentials!r}"
    assert len(issuer.asked) == 1, "the secret is not carried to where it is redirected"
    issuer.status, issuer.answer = 200, b""
    assert await source.token()


async def test_an_issuer_that_is_not_there_is_named() -> None:
    source = TokenEndpoint(
        "http://127.0.0.1:1/t", ClientCredentials("a", "b"), context=None, through_proxy=False
    )
    with pytest.raises(NoToken, match=r"127\.0\.0\.1:1/t"):
        await source.token()


@pytest.mark.parametrize("seconds", [b'"x"', b"-1", b"0", b"null", b"1e999", b"9" * 400, b"[]"])
def test_a_time_that_makes_no_sense_is_none(seconds: bytes) -> None:
    assert read_answer("u", 200, b'{"access_token": "a", "expires_in": %b}' % seconds) == ("a", 0.0)


def test_a_login_finds_a_token_that_outlives_the_one_before() -> None:
    assert FRESH < RENEWED
    for began in range(75):  # the token is 100 s good, the login is made after so many of them
        after = renew_after((100 - began) * 1000)
        assert 100 * FRESH < began + after / 1000 < 100


def due(client: Client, lane: object) -> Connection:
    """Let a second-long login of a connection be about to end."""
    found: Connection = client._conns[0, lane]
    assert found._renew_at_ms is not None
    found._renew_at_ms = clock.monotonic_ms()
    return found


async def test_a_login_is_made_anew_beside_what_is_under_way(
    tmp_path: Path, issuer: Issuer
) -> None:
    async with secured(tmp_path, **with_tokens(tmp_path)) as broker:
        security = Security("SASL_PLAINTEXT", None, "OAUTHBEARER", tokens=issuer.source())
        other, cluster = cluster_of(broker, security), cluster_of(broker, security)
        await other.connect()
        await cluster.connect()
        await Admin(other).create_topics([NewTopic("t", 1)])
        client = cluster._connected()
        reading = asyncio.create_task(
            PartitionReader(cluster, TopicPartition("t", 0), 0).read(60_000)
        )
        await until(lambda: any(each.answers() for each in client._conns.values()))
        ((_, lane),) = client._conns
        old = due(client, lane)
        assert client._usable((0, lane)) is old, "until there is another"
        assert client._usable((0, lane)) is old
        assert len(client._renewing) == 1, "one is enough"
        await until(lambda: client._conns[0, lane] is not old)
        await cluster.metadata(None)
        assert not reading.done()
        assert old.connected(), "what is under way on it is answered"
        await IdempotentProducer(other).send("t", b"k", b"v")
        assert [record.value for record in await reading] == [b"v"]
        await until(lambda: not client._renewing)
        assert not old.connected()
        await cluster.close()
        await other.close()


async def test_a_connection_whose_login_is_over_is_not_used(tmp_path: Path) -> None:
    async with secured(tmp_path, **with_tokens(tmp_path)) as broker:
        path = tmp_path / "token"
        path.write_text(token())
        how = Security("SASL_PLAINTEXT", None, "OAUTHBEARER", tokens=TokenFile(path))
        cluster = cluster_of(broker, how)
        await cluster.connect()
        client = cluster._connected()
        ((_, lane),) = client._conns
        old = due(client, lane)
        old._ends_at_ms = clock.monotonic_ms()
        await asyncio.gather(cluster.metadata(None), cluster.metadata(None))
        assert client._conns[0, lane] is not old
        await until(lambda: not client._renewing)
        assert not old.connected()
        await cluster.close()


async def test_X7_a_login_that_cannot_be_made_anew_holds_until_its_end(
    tmp_path: Path, issuer: Issuer
) -> None:
    async with secured(tmp_path, **with_tokens(tmp_path)) as broker:
        security = Security("SASL_PLAINTEXT", None, "OAUTHBEARER", tokens=issuer.source())
        cluster = cluster_of(broker, security)
        await cluster.connect()
        client = cluster._connected()
        await cluster.metadata(None)
        (lane,) = {lane for _, lane in client._conns}
        issuer.status = 500
        assert isinstance(security.tokens, TokenEndpoint)
        security.tokens._fresh_until_ms = 0
        old = due(client, lane)
        for _ in range(3):
            await cluster.metadata(None)
            await until(lambda: not client._renewing)
        assert client._conns[0, lane] is old
        assert len(issuer.asked) == 2, "it is not asked again at once"
        issuer.status = 200
        due(client, lane)
        await cluster.metadata(None)
        await until(lambda: client._conns[0, lane] is not old)
        await cluster.close()


async def test_closing_ends_a_login_that_is_being_made(tmp_path: Path) -> None:
    class Stuck(TokenFile):
        asked = 0
        stuck = False

        async def token(self) -> str:
            self.asked += 1
            if self.stuck:
                await asyncio.get_running_loop().create_future()
            return await super().token()

    path = tmp_path / "token"
    path.write_text(token())
    async with secured(tmp_path, **with_tokens(tmp_path)) as broker:
        source = Stuck(path)
        cluster = cluster_of(broker, Security("SASL_PLAINTEXT", None, "OAUTHBEARER", tokens=source))
        await cluster.connect()
        client = cluster._connected()
        (lane,) = {lane for _, lane in client._conns}
        source.stuck = True
        old = due(client, lane)
        before = source.asked
        await cluster.metadata(None)
        await until(lambda: source.asked > before)
        await cluster.close()
        assert not client._renewing
        assert not old.connected()


async def test_the_verbs_log_in_by_a_token(
    tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with secured(tmp_path, **with_tokens(tmp_path)) as broker:
        address = f"kafka+sasl_ssl://localhost:{broker.server.ports['SASL_SSL']}"
        settings = {
            "BROKER": address,
            "SSL_CAFILE": str(tmp_path / "ca.pem"),
            "SASL_MECHANISM": "OAUTHBEARER",
            "SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL": issuer.url,
            "SASL_OAUTHBEARER_CLIENT_ID": "shop",
            "SASL_OAUTHBEARER_CLIENT_SECRET": SECRET,
        }
        for name, value in settings.items():
            monkeypatch.setenv(f"FLOWSTREAM_{name}", value)

        async def run(*arguments: str) -> Result:
            return await asyncio.to_thread(CliRunner().invoke, app, arguments)

        made = await run("create", "orders")
        assert (made.exit_code, made.output) == (0, "created orders with 1 partition\n")
        issuer.status, issuer.answer = 401, b'{"error": "invalid_client"}'
        refused = await run("list")
        assert refused.exit_code == 1
        assert "invalid_client" in refused.output
        assert SECRET not in refused.output


async def test_requests_go_on_over_the_ends_of_short_logins(tmp_path: Path) -> None:
    """Logins too short to be made anew beside are made anew before a request."""
    settings = {**with_tokens(tmp_path), "connections_max_reauth_ms": "40"}
    async with secured(tmp_path, **settings) as broker:
        how = Security("SASL_PLAINTEXT", None, "PLAIN", "admin", USERS["admin"])
        cluster = cluster_of(broker, how)
        await cluster.connect()
        await Admin(cluster).create_topics([NewTopic("t", 1)])
        producer = IdempotentProducer(cluster)
        offsets = []
        began = clock.monotonic_ms()
        while clock.monotonic_ms() < began + 200:
            offsets.append((await producer.send("t", b"k", b"v")).offset)
        assert offsets == list(range(len(offsets)))
        await cluster.close()
