"""OAUTHBEARER at the sockets: keys from a file that may change, a login that ends in time."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from flowstream import clock
from flowstream.broker.config import ConfigError
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.metadata import MetadataRequest
from flowstream.wire.messages.sasl_authenticate import (
    SaslAuthenticateRequest,
    SaslAuthenticateResponse,
)
from flowstream.wire.messages.sasl_handshake import SaslHandshakeRequest
from tests.broker.server.secured import secured
from tests.broker.server.serving import RawClient

OLD = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NEW = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def write_keys(path: Path, *named: tuple[str, rsa.RSAPrivateKey]) -> None:
    keys = [
        {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())), "kid": kid}
        for kid, key in named
    ]
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(json.dumps({"keys": keys}))
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
        assert 80_000 < answer.session_lifetime_ms <= 90_000
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
        assert file is not None
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
        ("https://issuer/jwks.json", "file:///path/to/jwks.json"),
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
