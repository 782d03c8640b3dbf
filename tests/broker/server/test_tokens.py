"""OAUTHBEARER at the sockets: keys from a file that may change, a login that ends in time."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from flowstream import clock
from flowstream.broker.config import ConfigError
from flowstream.broker.security.tokens import KeyRing
from flowstream.broker.server.token_keys import MAX_BYTES, KeyFile, KeyUrl, Pace, fetched
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.metadata import MetadataRequest
from flowstream.wire.messages.sasl_authenticate import (
    SaslAuthenticateRequest,
    SaslAuthenticateResponse,
)
from flowstream.wire.messages.sasl_handshake import SaslHandshakeRequest
from tests.broker.server.secured import secured
from tests.broker.server.serving import RawClient, until

OLD = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NEW = rsa.generate_private_key(public_exponent=65537, key_size=2048)


Named = tuple[str, rsa.RSAPrivateKey]


def key_set(*named: Named) -> bytes:
    keys = [
        {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())), "kid": kid}
        for kid, key in named
    ]
    return json.dumps({"keys": keys}).encode()


def write_keys(path: Path, *named: Named) -> None:
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_bytes(key_set(*named))
    os.utime(path, ns=(before + 1_000_000, before + 1_000_000))


def token(kid: str, key: rsa.RSAPrivateKey, user: str = "admin") -> str:
    expires = clock.wall_ms() // 1000 + 60
    return jwt.encode({"sub": user, "exp": expires}, key, "RS256", headers={"kid": kid})


async def present(client: RawClient, text: str) -> SaslAuthenticateResponse:
    shaken = await client.ask(17, 1, SaslHandshakeRequest(mechanism="OAUTHBEARER"))
    assert shaken.error_code == 0
    data = f"n,,\x01auth=Bearer {text}\x01\x01".encode()
    answer: SaslAuthenticateResponse = await client.ask(
        36, 1, SaslAuthenticateRequest(auth_bytes=data)
    )
    return answer


async def test_tokens_and_keys_that_change(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    write_keys(keys, ("old", OLD))
    async with secured(
        tmp_path,
        sasl_enabled_mechanisms="OAUTHBEARER",
        sasl_oauthbearer_jwks_endpoint_url=keys.as_uri(),
    ) as broker:
        client = await broker.client()
        answer = await present(client, token("old", OLD))
        assert answer.error_code == 0
        assert 50_000 < answer.session_lifetime_ms <= 60_000
        assert len((await client.ask(3, 9, MetadataRequest(topics=None))).brokers) == 1
        await client.close()

        early = await broker.client()
        assert (await present(early, token("new", NEW))).auth_bytes == b'{"status":"invalid_token"}'
        failed = await early.ask(36, 1, SaslAuthenticateRequest(auth_bytes=b"\x01"))
        assert failed.error_code == ErrorCode.SASL_AUTHENTICATION_FAILED
        assert await early.is_closed()
        await early.close()

        write_keys(keys, ("old", OLD), ("new", NEW))
        file = broker.server._keys
        assert isinstance(file, KeyFile)
        file.refresh()
        keys.write_text("nonsense")
        file.refresh()
        client = await broker.client()
        assert (await present(client, token("new", NEW))).auth_bytes == b""
        await client.close()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "file:///path/to/jwks.json"),
        ("http://issuer/jwks.json", "for loopback alone"),
        ("ftp://issuer/jwks.json", "https://issuer/jwks.json"),
        ("file://elsewhere/jwks.json", "file:///path/to/jwks.json"),
        ("file:///nonexistent/jwks.json", "No such file"),
    ],
)
async def test_X7_without_keys_there_is_no_broker(tmp_path: Path, url: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        async with secured(
            tmp_path,
            sasl_enabled_mechanisms="OAUTHBEARER",
            sasl_oauthbearer_jwks_endpoint_url=url,
        ):
            pass


class Issuer:
    """A web server on loopback that shows `answer` at every path but /elsewhere."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.asked = 0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                moved = self.path == "/elsewhere"
                self.send_response(302 if moved else 200 if issuer.answer else 503)
                if moved:
                    self.send_header("Location", issuer.url)
                self.end_headers()
                self.wfile.write(issuer.answer)

            def log_message(self, format: str, *args: object) -> None:
                """Quietly."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks.json"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer(key_set(("old", OLD)))
    yield made
    made.close()


async def test_keys_of_a_url_and_their_rollover(tmp_path: Path, issuer: Issuer) -> None:
    async with secured(
        tmp_path,
        sasl_enabled_mechanisms="OAUTHBEARER",
        sasl_oauthbearer_jwks_endpoint_url=issuer.url,
    ) as broker:
        client = await broker.client()
        assert (await present(client, token("old", OLD))).auth_bytes == b"", "the keys came first"
        await client.close()

        issuer.answer = key_set(("new", NEW))
        keys = broker.server._keys
        assert isinstance(keys, KeyUrl)
        early = await broker.client()
        assert (await present(early, token("new", NEW))).auth_bytes == b'{"status":"invalid_token"}'
        await early.close()
        assert issuer.asked == 1, "X3: strangers cannot have them fetched all the time"
        keys._begun_at -= 10.0
        early = await broker.client()
        await present(early, token("new", NEW))
        await early.close()
        await until(lambda: not keys._busy)
        client = await broker.client()
        assert (await present(client, token("new", NEW))).auth_bytes == b""
        await client.close()
        assert issuer.asked == 2


async def test_X7_an_issuer_that_fails_leaves_the_old_keys_and_is_asked_again(
    issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    ring = KeyRing()
    keys = KeyUrl(issuer.url, ring, Pace(3600, 0.01, 0.05))
    issuer.answer = b""
    await keys.begin()
    assert ring.keys is None
    assert "no token holds" in caplog.text
    issuer.answer = key_set(("old", OLD))
    await until(lambda: ring.keys is not None)
    held = ring.keys
    for bad in (b"nonsense", b'{"keys": 5}', b"[]", b"x" * (MAX_BYTES + 1)):
        issuer.answer = bad
        keys._begin()
        await until(lambda: not keys._busy)
        assert ring.keys is held
    assert "the old keys stay in force" in caplog.text
    keys.close()
    asked = issuer.asked
    keys._begin()
    assert (keys._busy, issuer.asked) == (False, asked)


async def test_what_is_on_its_way_when_the_broker_ends_is_dropped() -> None:
    may_end = threading.Event()
    ring = KeyRing()

    def fetch(url: str) -> bytes:
        assert may_end.wait(60)
        return key_set(("old", OLD))

    keys = KeyUrl("https://issuer/", ring, Pace(3600, 1, 1), fetch)
    keys._begin()
    keys.close()
    may_end.set()
    await until(lambda: not keys._busy)
    assert ring.keys is None


def test_the_pace_of_tries() -> None:
    pace = Pace(3600, 0.1, 10)
    assert [pace.after(n) for n in (0, 1, 2, 3, 8, 1000)] == [3600, 0.1, 0.2, 0.4, 10, 10]


def test_X7_nothing_follows_an_issuer_to_a_plain_address(issuer: Issuer) -> None:
    assert json.loads(fetched(issuer.url))["keys"]
    with pytest.raises(ValueError, match="is not https"):
        fetched(issuer.url.replace("jwks.json", "elsewhere"))
