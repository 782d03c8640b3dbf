"""Logging in: SCRAM, PLAIN and tokens; what fails says nothing (X5, X7)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from flowstream.broker.security.exchange import Challenge, Failure, Proving, Step, Success
from flowstream.broker.security.plain import PlainExchange
from flowstream.broker.security.scram import (
    Credential,
    Mechanism,
    ScramExchange,
    credential,
    credential_of,
)
from flowstream.broker.security.tokens import KeyRing, Keys, TokenExchange, TokenRules

NOW = 1_700_000_000_000
SECRET = b"s" * 32


def scram(mechanism: Mechanism, users: dict[str, Credential], seed: int = 1) -> ScramExchange:
    return ScramExchange(mechanism, users.get, random.Random(seed), SECRET)


def log_in(
    exchange: ScramExchange, user: str, password: str, nonce: str = "abc"
) -> Success | Failure:
    """The client's side of RFC 5802."""
    digest = exchange.mechanism.digest
    bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={nonce}"
    challenge = exchange.step(f"n,,{bare}".encode(), NOW)
    assert isinstance(challenge, Challenge)
    first = challenge.data.decode()
    values = dict(part.split("=", 1) for part in first.split(","))
    salt = base64.b64decode(values["s"])
    salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, int(values["i"]))
    client_key = hmac.digest(salted, b"Client Key", digest)
    final = f"c=biws,r={values['r']}"
    signed = f"{bare},{first},{final}".encode()
    stored = hashlib.new(digest, client_key).digest()
    signature = hmac.digest(stored, signed, digest)
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    step = exchange.step(f"{final},p={base64.b64encode(proof).decode()}".encode(), NOW)
    if isinstance(step, Success):
        server_key = hmac.digest(salted, b"Server Key", digest)
        assert step.data == b"v=" + base64.b64encode(hmac.digest(server_key, signed, digest))
    assert not isinstance(step, Challenge)
    return step


@pytest.mark.parametrize("mechanism", Mechanism)
@pytest.mark.parametrize("user", ["alice", "a,b=c", "ä"])
def test_scram(mechanism: Mechanism, user: str) -> None:
    users = {user: credential_of(mechanism, "right", random.Random(2))}
    done = log_in(scram(mechanism, users), user, "right")
    assert isinstance(done, Success)
    assert done.name == user
    for failed in (
        log_in(scram(mechanism, users), user, "wrong"),
        log_in(scram(mechanism, users), "nobody", "right"),
    ):
        assert isinstance(failed, Failure)
        assert "right" not in failed.reason


def test_the_vector_of_rfc_7677() -> None:
    """SCRAM-SHA-256 with the RFC's user, password, salt and nonces."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", salt, 4096)
    kept = credential(Mechanism.SCRAM_SHA_256, salted, salt, 4096)
    exchange = scram(Mechanism.SCRAM_SHA_256, {"user": kept})
    exchange.step(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", NOW)
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    exchange._nonce = nonce
    exchange._signed = f"n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    done = exchange.step(f"c=biws,r={nonce},p={proof}".encode(), NOW)
    assert isinstance(done, Success)
    assert done.data == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_X7_a_nonce_that_is_sent_twice_is_refused_and_told() -> None:
    """As Kafka 4 does; whoever reads the log learns which clients do so."""
    exchange = scram(Mechanism.SCRAM_SHA_256, {})
    step = exchange.step(b"n,,n=user,r=mine", NOW)
    assert isinstance(step, Challenge)
    nonce = step.data.split(b",")[0].removeprefix(b"r=")
    done = exchange.step(b"c=biws,r=mine" + nonce + b",p=YQ==", NOW)
    assert isinstance(done, Failure)
    assert "librdkafka" in done.reason


def test_X5_an_unknown_user_looks_like_a_known_one() -> None:
    users = {"alice": credential_of(Mechanism.SCRAM_SHA_256, "right", random.Random(2))}
    first = {}
    for user in ("alice", "nobody"):
        for seed in (1, 2):
            step = scram(Mechanism.SCRAM_SHA_256, users, seed).step(
                f"n,,n={user},r=x".encode(), NOW
            )
            assert isinstance(step, Challenge)
            salt = step.data.split(b",")[1]
            assert first.setdefault(user, salt) == salt, "the same salt every time"


MALFORMED = [
    b"",
    b"\xff",
    b"n,,",
    b"n,,n=,r=x",
    b"n,,n=a",
    b"n,,r=x",
    b"p=tls-unique,,n=a,r=x",
    b"n,a=b,n=a,r=x",
    b"n,,n=a=,r=x",
    b"n,,n=a,r=x,tokenauth=true",
    b"n,,n=a\0b,r=x",
    b"x" * 5000,
]


@pytest.mark.parametrize("data", MALFORMED)
def test_a_malformed_first_message_fails(data: bytes) -> None:
    assert isinstance(scram(Mechanism.SCRAM_SHA_256, {}).step(data, NOW), Failure)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_X4_random_messages_never_raise(first: bytes, second: bytes) -> None:
    for begin in (first, b"n,,n=a,r=x"):
        exchange = scram(Mechanism.SCRAM_SHA_512, {})
        exchange.step(begin, NOW)
        assert isinstance(exchange.step(second, NOW), Failure | Challenge)
    assert isinstance(plain({}).step(first, NOW), Failure)
    tokens = TokenExchange(KeyRing(), TokenRules())
    tokens.step(first, NOW)
    assert isinstance(tokens.step(second, NOW), Failure | Challenge)


@given(st.binary(max_size=60))
def test_X7_no_random_proof_holds(data: bytes) -> None:
    users = {"a": credential_of(Mechanism.SCRAM_SHA_256, "p", random.Random(2))}
    exchange = scram(Mechanism.SCRAM_SHA_256, users)
    exchange.step(b"n,,n=a,r=x", NOW)
    proof = base64.b64encode(data)
    step = exchange.step(b"c=biws,r=" + exchange._nonce.encode() + b",p=" + proof, NOW)
    assert isinstance(step, Failure)


def plain(users: dict[str, Credential]) -> PlainExchange:
    return PlainExchange(dict.fromkeys(Mechanism, users.get), SECRET)


def log_in_plain(users: dict[str, Credential], data: bytes) -> Step:
    step = plain(users).step(data, NOW)
    return step.judge(step.work()) if isinstance(step, Proving) else step


def test_plain() -> None:
    users = {"alice": credential_of(Mechanism.SCRAM_SHA_256, "right", random.Random(2))}
    done = log_in_plain(users, b"\0alice\0right")
    assert isinstance(done, Success)
    assert done.name == "alice"
    assert isinstance(log_in_plain(users, b"alice\0alice\0right"), Success)
    for wrong in (
        b"\0alice\0wrong",
        b"\0nobody\0right",
        b"bob\0alice\0right",
        b"\0alice\0",
        b"\0\0right",
        b"alice\0right",
        b"\0alice\0right\0",
    ):
        assert isinstance(log_in_plain(users, wrong), Failure)


def test_X5_no_secret_is_in_a_repr() -> None:
    users = {"alice": credential_of(Mechanism.SCRAM_SHA_256, "right", random.Random(2))}
    exchange = scram(Mechanism.SCRAM_SHA_256, users)
    done = log_in(exchange, "alice", "right")
    proving = plain(users).step(b"\0alice\0right", NOW)
    shown = f"{users} {exchange} {plain(users)} {proving} {done}"
    assert "right" not in shown
    kept = users["alice"]
    for secret in (kept.salt, kept.stored_key, kept.server_key, SECRET):
        assert repr(secret)[2:12] not in shown


KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def keys(**named: rsa.RSAPrivateKey) -> Keys:
    algorithm = jwt.algorithms.RSAAlgorithm
    documents = [
        {**json.loads(algorithm.to_jwk(key.public_key())), "kid": name, "alg": "RS256"}
        for name, key in named.items()
    ]
    return Keys({"keys": documents})


RULES = TokenRules("https://issuer", ("kafka",))


def token(key: Any = KEY, algorithm: str = "RS256", kid: str = "k", **claims: Any) -> str:
    said = {"iss": "https://issuer", "aud": "kafka", "sub": "alice", "exp": NOW // 1000 + 60}
    said.update(claims)
    kept = {name: value for name, value in said.items() if value is not None}
    return jwt.encode(kept, key, algorithm, headers={"kid": kid})


def present(text: str, authorization_id: str = "") -> Success | Failure | Challenge:
    exchange = TokenExchange(KeyRing(keys(k=KEY)), RULES)
    header = f"n,{'a=' + authorization_id if authorization_id else ''},"
    step = exchange.step(f"{header}\x01auth=Bearer {text}\x01\x01".encode(), NOW)
    if isinstance(step, Challenge):
        assert json.loads(step.data) == {"status": "invalid_token"}
        assert text not in repr(exchange)
        return exchange.step(b"\x01", NOW)
    return step


def test_a_token_that_holds() -> None:
    done = present(token())
    assert isinstance(done, Success)
    assert done.name == "alice"
    assert isinstance(present(token(), "alice"), Success)


@pytest.mark.parametrize(("left", "login"), [(60, 60), (1, 1), (0, 30), (-29, 1)])
def test_X7_a_login_ends_with_its_token_and_not_later(left: int, login: int) -> None:
    """One that has just expired counts for as long as clocks may differ."""
    done = present(token(exp=NOW // 1000 + left))
    assert isinstance(done, Success)
    assert done.expires_ms == (NOW // 1000 + login) * 1000


@pytest.mark.parametrize(
    "text",
    [
        token(OTHER),
        token(kid="other"),
        token(exp=NOW // 1000 - 31),
        token(exp=None),
        token(nbf=NOW // 1000 + 31),
        token(iss="https://other"),
        token(aud="other"),
        token(aud=None),
        token(sub=None),
        token(sub=""),
        token("k" * 64, "HS256"),
        token(None, "none"),
        "x.y.z",
    ],
)
def test_X7_a_token_that_does_not_hold(text: str) -> None:
    failed = present(text)
    assert isinstance(failed, Failure)
    assert text not in failed.reason


def test_a_token_of_another_is_refused() -> None:
    assert isinstance(present(token(), "bob"), Failure)
