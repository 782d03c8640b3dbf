"""The logins of all connections (KIP-43, KIP-152, KIP-368): soft state, gone with its connection.

A login is a handshake that names the mechanism, then steps of its exchange. It must not know
requests; the handlers of SaslHandshake and SaslAuthenticate translate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from flowstream.broker.config import OAUTHBEARER
from flowstream.broker.doors import Random
from flowstream.broker.security.credentials import Credential
from flowstream.broker.security.exchange import Challenge, Exchange, Failure, Proving, Success
from flowstream.broker.security.listeners import ListenerSpec
from flowstream.broker.security.plain import PlainExchange
from flowstream.broker.security.principals import USER
from flowstream.broker.security.scram import BY_NAME, Mechanism, ScramExchange
from flowstream.broker.security.tokens import KeyRing, TokenExchange, TokenRules
from flowstream.broker.types import ConnectionId, Instant, Principal, Session
from flowstream.wire.error_codes import ErrorCode

PLAIN = "PLAIN"
DECOY_BYTES = 32
NO_HANDSHAKE = "SaslHandshake comes first."


class Verdict(NamedTuple):
    """What to tell the client. With `session` it is logged in, with `reason` it is cut off."""

    error: ErrorCode = ErrorCode.NONE
    message: str | None = None
    data: bytes = b""
    lifetime_ms: int = 0
    session: Session | None = None
    reason: str = ""

    def __repr__(self) -> str:
        return f"Verdict(error={self.error!r}, reason={self.reason!r})"


class Proof(NamedTuple):
    """What to tell the client is not known before the result of `work` is, which takes long."""

    work: Callable[[], bytes]
    verdict: Callable[[bytes, Instant], Verdict]

    def __repr__(self) -> str:
        return "Proof()"


class _Login(NamedTuple):
    mechanism: str
    exchange: Exchange


@dataclass(slots=True)
class Sasl:
    """How clients of each listener log in, and the logins in progress."""

    listeners: Mapping[str, ListenerSpec]
    credential: Callable[[Mechanism, str], Credential | None]
    rng: Random
    ring: KeyRing = field(default_factory=KeyRing)
    token_rules: TokenRules = field(default_factory=TokenRules)
    delay_ms: int = 100
    """How long a failed login waits for its answer, so that guessing is slow."""
    failed: int = 0
    succeeded: int = 0
    """Logins that ended, for those who watch."""
    _logins: dict[ConnectionId, _Login] = field(default_factory=dict)
    _decoy_secret: bytes = b""

    def __post_init__(self) -> None:
        self._decoy_secret = self.rng.randbytes(DECOY_BYTES)

    def mechanisms(self, session: Session) -> tuple[str, ...]:
        """What clients of the session's listener may choose from; nothing where none log in."""
        spec = self.listeners.get(session.listener)
        return spec.mechanisms if spec is not None and spec.sasl else ()

    def begin(self, connection: ConnectionId, session: Session, mechanism: str) -> Verdict:
        """The client chose a mechanism: a login begins, or begins anew."""
        offered = self.mechanisms(session)
        if not offered:
            return Verdict(ErrorCode.ILLEGAL_SASL_STATE, reason="no login on this listener")
        if mechanism not in offered:
            reason = "a mechanism that is not enabled"
            return Verdict(ErrorCode.UNSUPPORTED_SASL_MECHANISM, reason=reason)
        if session.mechanism and session.mechanism != mechanism:
            return Verdict(ErrorCode.ILLEGAL_SASL_STATE, reason="another mechanism than before")
        self._logins[connection] = _Login(mechanism, self._exchange(mechanism))
        return Verdict()

    def go_on(
        self, connection: ConnectionId, session: Session, data: bytes, now: Instant
    ) -> Verdict | Proof:
        """The next message of the client's login."""
        login = self._logins.get(connection)
        if login is None:
            return Verdict(ErrorCode.ILLEGAL_SASL_STATE, NO_HANDSHAKE, reason=NO_HANDSHAKE)
        step = login.exchange.step(data, now)
        if isinstance(step, Challenge):
            return Verdict(data=step.data)
        del self._logins[connection]
        if isinstance(step, Proving):
            judge = step.judge
            return Proof(
                step.work,
                lambda result, now: self._ended(session, login.mechanism, judge(result), now),
            )
        return self._ended(session, login.mechanism, step, now)

    def disconnected(self, connection: ConnectionId) -> None:
        """Forget a login that will not go on."""
        self._logins.pop(connection, None)

    def _exchange(self, mechanism: str) -> Exchange:
        if mechanism == PLAIN:
            lookups = {each: self._lookup(each) for each in Mechanism}
            return PlainExchange(lookups, self._decoy_secret)
        if mechanism == OAUTHBEARER:
            return TokenExchange(self.ring, self.token_rules)
        scram = BY_NAME[mechanism]
        return ScramExchange(scram, self._lookup(scram), self.rng, self._decoy_secret)

    def _lookup(self, mechanism: Mechanism) -> Callable[[str], Credential | None]:
        return lambda user: self.credential(mechanism, user)

    def _ended(
        self, session: Session, mechanism: str, end: Success | Failure, now: Instant
    ) -> Verdict:
        if isinstance(end, Success):
            return self._logged_in(session, mechanism, end, now)
        return _failed(mechanism, end)

    def _logged_in(
        self, session: Session, mechanism: str, success: Success, now: Instant
    ) -> Verdict:
        principal = Principal(USER, success.name)
        if session.mechanism and session.principal != principal:
            return _failed(mechanism, Failure("a login as another user on the same connection"))
        ends = [] if success.expires_ms is None else [success.expires_ms]
        if reauth_ms := self.listeners[session.listener].reauth_ms:
            ends.append(now + reauth_ms)
        expires = Instant(min(ends)) if ends else None
        return Verdict(
            data=success.data,
            lifetime_ms=0 if expires is None else max(expires - now, 1),
            session=session._replace(principal=principal, mechanism=mechanism, expires=expires),
        )


def _failed(mechanism: str, failure: Failure) -> Verdict:
    message = (
        "Authentication failed during authentication due to invalid credentials with SASL"
        f" mechanism {mechanism}"
    )
    if mechanism == PLAIN:
        message = "Authentication failed: Invalid username or password"
    return Verdict(ErrorCode.SASL_AUTHENTICATION_FAILED, message, reason=failure.reason)
