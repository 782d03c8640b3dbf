"""SCRAM-SHA-256 and SCRAM-SHA-512, the server's side (RFC 5802, RFC 7677; KIP-84).

Lives here: credentials and one exchange of messages. Channel binding and delegation tokens are not
offered. An unknown user gets a salt too, so that names cannot be told apart by asking.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from flowstream.broker.doors import Random
from flowstream.broker.security.credentials import Credential
from flowstream.broker.security.exchange import Challenge, Failure, Step, Success

MIN_ITERATIONS = 4_096
MAX_ITERATIONS = 16_384
SALT_BYTES = 24
NONCE_BYTES = 24
MAX_MESSAGE = 4_096
"""Longest message of a client: names and nonces are short."""


class Mechanism(IntEnum):
    """Kafka's numbers for the SCRAM mechanisms."""

    SCRAM_SHA_256 = 1
    SCRAM_SHA_512 = 2

    @property
    def sasl_name(self) -> str:
        """The name that clients ask for."""
        return self.name.replace("_", "-")

    @property
    def digest(self) -> str:
        """The name of the hash function."""
        return "sha256" if self is Mechanism.SCRAM_SHA_256 else "sha512"


BY_NAME: Mapping[str, Mechanism] = {each.sasl_name: each for each in Mechanism}


Lookup = Callable[[str], Credential | None]
"""The credential of a user for the mechanism at hand."""


def credential(
    mechanism: Mechanism, salted_password: bytes, salt: bytes, iterations: int
) -> Credential:
    """The credential that belongs to a salted password (RFC 5802, section 3)."""
    digest = mechanism.digest
    client_key = hmac.digest(salted_password, b"Client Key", digest)
    server_key = hmac.digest(salted_password, b"Server Key", digest)
    stored_key = hashlib.new(digest, client_key).digest()
    return Credential(salt, stored_key, server_key, iterations)


def salted(mechanism: Mechanism, password: str, salt: bytes, iterations: int) -> bytes:
    """Hi(password, salt, iterations) of RFC 5802; slow on purpose."""
    return hashlib.pbkdf2_hmac(mechanism.digest, password.encode(), salt, iterations)


def credential_of(
    mechanism: Mechanism, password: str, rng: Random, iterations: int = MIN_ITERATIONS
) -> Credential:
    """A new credential with a salt of its own."""
    salt = rng.randbytes(SALT_BYTES)
    return credential(mechanism, salted(mechanism, password, salt, iterations), salt, iterations)


def decoy(mechanism: Mechanism, user: str, secret: bytes) -> Credential:
    """What is shown of a user who does not exist: the same every time, as for one who does."""
    salt = hmac.digest(secret, f"{mechanism} {user}".encode(), "sha256")[:SALT_BYTES]
    key = hmac.digest(secret, salt, mechanism.digest)
    return Credential(salt, key, key, MIN_ITERATIONS)


@dataclass(slots=True, repr=False)
class ScramExchange:
    """One login. First message: who; second: the proof."""

    mechanism: Mechanism
    lookup: Lookup
    rng: Random
    decoy_secret: bytes
    _user: str = ""
    _header: bytes = b""
    _nonce: str = ""
    _signed: str = ""
    _credential: Credential | None = None
    _is_known: bool = False

    def step(self, data: bytes, now: int) -> Step:
        """The answer to the client's next message."""
        if len(data) > MAX_MESSAGE:
            return Failure("a SCRAM message that is too long")
        try:
            text = data.decode()
            return self._final(text) if self._nonce else self._first(text)
        except (ValueError, binascii.Error):
            return Failure("a malformed SCRAM message")

    def _first(self, text: str) -> Step:
        flag, authorization_id, bare = text.split(",", 2)
        if flag not in ("n", "y"):
            return Failure("channel binding is not supported")
        header = f"{flag},{authorization_id},"
        attributes = _attributes(bare)
        user = _name(attributes["n"])
        if authorization_id and _name(_value("a", authorization_id)) != user:
            return Failure("a client may log in as itself only")
        if "tokenauth" in attributes:
            return Failure("delegation tokens are not supported")
        found = self.lookup(user)
        self._is_known = found is not None
        self._credential = found or decoy(self.mechanism, user, self.decoy_secret)
        server_nonce = base64.b64encode(self.rng.randbytes(NONCE_BYTES)).decode()
        self._user, self._header = user, header.encode()
        self._nonce = attributes["r"] + server_nonce
        salt = base64.b64encode(self._credential.salt).decode()
        answer = f"r={self._nonce},s={salt},i={self._credential.iterations}"
        self._signed = f"{bare},{answer}"
        return Challenge(answer.encode())

    def _final(self, text: str) -> Step:
        without_proof, comma, proof_text = text.rpartition(",p=")
        attributes = _attributes(without_proof)
        binding = base64.b64decode(attributes["c"], validate=True)
        proof = base64.b64decode(proof_text, validate=True)
        nonce = attributes["r"]
        if nonce != self._nonce and nonce.endswith(self._nonce):
            return Failure("a SCRAM nonce sent twice, as librdkafka did before 2.6.1: update it")
        if not comma or binding != self._header or nonce != self._nonce:
            return Failure("a SCRAM message that does not follow the first one")
        kept, digest = self._credential, self.mechanism.digest
        assert kept is not None
        signed = f"{self._signed},{without_proof}".encode()
        signature = hmac.digest(kept.stored_key, signed, digest)
        if len(proof) != len(signature):
            return Failure("a malformed SCRAM message")
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        proved = hmac.compare_digest(hashlib.new(digest, client_key).digest(), kept.stored_key)
        if not (proved and self._is_known):
            return Failure(f"wrong user or password for {self.mechanism.sasl_name}")
        answer = base64.b64encode(hmac.digest(kept.server_key, signed, digest))
        return Success(b"v=" + answer, self._user)


def _attributes(text: str) -> dict[str, str]:
    """`a=x,b=y` as a dictionary. Raises ValueError for anything else, KeyError becomes one too."""
    found = _Attributes()
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not (name and equals) or name in found:
            raise ValueError(part)
        found[name] = value
    return found


class _Attributes(dict[str, str]):
    def __missing__(self, name: str) -> str:
        raise ValueError(name)


def _value(name: str, text: str) -> str:
    if not text.startswith(f"{name}="):
        raise ValueError(text)
    return text[len(name) + 1 :]


def _name(text: str) -> str:
    """A user's name, whose commas and equal signs are written =2C and =3D."""
    plain = text.replace("=2C", "").replace("=3D", "")
    if not text or "=" in plain or "\0" in text:
        raise ValueError(text)
    return text.replace("=2C", ",").replace("=3D", "=")
