"""What a token's holder may send: it costs its own login alone."""

from __future__ import annotations

import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from flowstream.broker.security.exchange import Challenge, Failure, Step, Success
from flowstream.broker.security.tokens import KeyRing, Keys, TokenExchange, TokenRules

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KEYS = Keys(
    {"keys": [{**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key())), "kid": "k"}]}
)


def told(name: bytes, **claims: object) -> Step:
    token = jwt.encode({"sub": "a", "exp": 100, **claims}, KEY, "RS256", headers={"kid": "k"})
    exchange = TokenExchange(KeyRing(KEYS), TokenRules())
    return exchange.step(b"n," + name + b",\x01auth=Bearer " + token.encode() + b"\x01\x01", 0)


def test_a_name_is_the_tokens_or_none() -> None:
    assert isinstance(told(b""), Success)
    assert isinstance(told(b"a=a"), Success)
    assert isinstance(told(b"a=b"), Challenge)


def test_X4_a_name_that_is_no_text_is_not_the_tokens() -> None:
    assert isinstance(told(b"a=\xff"), Challenge)


@pytest.mark.parametrize("claims", [{"exp": float("inf")}, {"nbf": float("inf")}, {"exp": 10**400}])
def test_X4_times_that_are_none_are_refused(claims: dict[str, object]) -> None:
    assert isinstance(told(b"", **claims), Challenge)


@pytest.mark.parametrize("document", [{"keys": [{"kty": "RSA", "kid": []}]}, {"keys": 5}, []])
def test_X4_odd_key_sets_are_refused(document: object) -> None:
    with pytest.raises(ValueError):
        Keys(document)  # type: ignore[arg-type]


def test_X4_a_header_of_brackets_is_no_token() -> None:
    exchange = TokenExchange(KeyRing(KEYS), TokenRules())
    text = b"W" * 4_000 + b".e30.e30"
    assert isinstance(
        exchange.step(b"n,,\x01auth=Bearer " + text + b"\x01\x01", 0), Challenge | Failure
    )
