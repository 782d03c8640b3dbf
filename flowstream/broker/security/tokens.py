"""OAUTHBEARER (RFC 7628, KIP-255): signed tokens (JWT) checked against known keys (JWKS).

Lives here: the message, the signature, issuer, audience and times. Where keys come from is not
known here. Needs PyJWT, imported when the first token comes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flowstream.broker.security.exchange import Challenge, Failure, Step, Success

MAX_TOKEN = 32_768
LONGEST_MS = 2**62
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Signatures with public keys only: a shared key or none at all would let anyone sign."""

_FIRST = re.compile(rb"n,(?:a=([^,]*))?,\x01(?:[^\x01]*\x01)*?auth=Bearer ([^\x01]+)\x01", re.I)
UNKNOWN_KEY = Failure("a token signed with an unknown key")

_REFUSED = b'{"status":"invalid_token"}'


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token must say."""

    issuer: str = ""
    audiences: tuple[str, ...] = ()
    name_claim: str = "sub"
    skew_ms: int = 30_000


class Keys:
    """The public keys of a JWKS document by their ids. Raises ValueError when it is none."""

    def __init__(self, document: dict[str, Any]) -> None:
        from jwt import PyJWKSet
        from jwt.exceptions import PyJWTError

        try:
            found = PyJWKSet.from_dict(document).keys
            self._by_id = {key.key_id: key for key in found if key.key_type in ("RSA", "EC")}
        except (PyJWTError, AttributeError, TypeError) as error:
            raise ValueError(f"not a key set: {error}") from error

    def find(self, id: str | None) -> Any:
        """The key with this id; without an id the only one there is."""
        if id is None and len(self._by_id) == 1:
            return next(iter(self._by_id.values()))
        return self._by_id.get(id)


@dataclass(slots=True)
class KeyRing:
    """The keys in force; a shell puts newer ones in, and wants to know when one was missed."""

    keys: Keys | None = None
    missed: Callable[[], None] = lambda: None


@dataclass(slots=True, repr=False)
class TokenExchange:
    """One login: the token, and after a refusal the client's acknowledgement."""

    ring: KeyRing
    rules: TokenRules
    _refused: str = ""

    def step(self, data: bytes, now: int) -> Step:
        """Success for a token that holds; a refusal is a Challenge first (RFC 7628, 3.2.3)."""
        if self._refused:
            return Failure(self._refused)
        match = _FIRST.match(data) if len(data) <= MAX_TOKEN else None
        if match is None:
            return Failure("a malformed OAUTHBEARER message")
        verdict = verify(match[2].decode("ascii", "replace"), self.ring.keys, self.rules, now)
        wanted = (match[1] or b"").decode("utf-8", "replace")
        if isinstance(verdict, Success) and wanted not in ("", verdict.name):
            verdict = Failure("a client may log in as itself only")
        if isinstance(verdict, Success):
            return verdict
        if verdict is UNKNOWN_KEY:
            self.ring.missed()
        self._refused = verdict.reason
        return Challenge(_REFUSED)


def verify(token: str, keys: Keys | None, rules: TokenRules, now: int) -> Success | Failure:
    """Whose token it is and until when. The clock is the caller's, so times are checked here."""
    import jwt
    from jwt.exceptions import PyJWTError

    try:
        header = jwt.get_unverified_header(token)
        key = keys.find(header.get("kid")) if keys is not None else None
        if key is None:
            return UNKNOWN_KEY
        claims = jwt.decode(
            token,
            key.key,
            algorithms=[each for each in ALGORITHMS if each == header.get("alg")],
            options={
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "verify_aud": bool(rules.audiences),
                "require": ["exp", rules.name_claim],
            },
            audience=list(rules.audiences) or None,
            issuer=rules.issuer or None,
        )
        return _timely(claims, rules, now)
    except (PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
        return Failure(f"a token that does not hold ({type(error).__name__})")


def _timely(claims: dict[str, Any], rules: TokenRules, now: int) -> Success | Failure:
    name, expires = claims[rules.name_claim], claims["exp"]
    begins = claims.get("nbf", 0)
    if not isinstance(name, str) or not name or not isinstance(expires, int | float):
        return Failure("a token without a name or an end")
    if not isinstance(begins, int | float) or begins * 1000 - rules.skew_ms > now:
        return Failure("a token that does not hold yet")
    expires_ms = int(expires * 1000)
    if expires_ms > LONGEST_MS:
        return Failure("a token without an end")
    # Clocks that differ let a token in; the login of one that holds ends with it all the same.
    if expires_ms <= now:
        expires_ms += rules.skew_ms
    if expires_ms <= now:
        return Failure("a token that has expired")
    return Success(b"", name, expires_ms)
