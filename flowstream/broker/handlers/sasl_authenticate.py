"""SaslAuthenticate (36): one step of a login.

1 tells how long the login holds (KIP-368). A failed login is told after a delay, and the connection
ends (`connection.failed.authentication.delay.ms`).
"""

from __future__ import annotations

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Close, Compute, Effect, LoggedIn, Reply
from flowstream.broker.events import Request
from flowstream.broker.security.sasl import Proof, Sasl, Verdict
from flowstream.broker.types import Instant, ReplyTo
from flowstream.broker.waiting import Parked
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.sasl_authenticate import (
    SaslAuthenticateRequest,
    SaslAuthenticateResponse,
)


def handle(request: Request[SaslAuthenticateRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer with the next step's bytes; from then on the connection is somebody's."""
    to, sasl = request.to, cores.sasl
    if sasl is None or not sasl.mechanisms(request.session):
        refusal = SaslAuthenticateResponse(
            error_code=ErrorCode.ILLEGAL_SASL_STATE,
            error_message="Clients do not log in on this listener.",
        )
        return [Reply(to, refusal)]
    found = sasl.go_on(to.connection, request.session, bytes(request.body.auth_bytes), now)
    if isinstance(found, Proof):
        verdict = found.verdict
        return [
            Compute(
                to.connection,
                found.work,
                lambda result, now: _told(to, verdict(result, now), sasl, cores, now),
            )
        ]
    return _told(to, found, sasl, cores, now)


def _told(to: ReplyTo, verdict: Verdict, sasl: Sasl, cores: Cores, now: Instant) -> list[Effect]:
    answer = SaslAuthenticateResponse(
        error_code=verdict.error,
        error_message=verdict.message,
        auth_bytes=verdict.data,
        session_lifetime_ms=verdict.lifetime_ms,
    )
    if verdict.session is not None:
        sasl.succeeded += 1
        return [Reply(to, answer), LoggedIn(to.connection, verdict.session)]
    if not verdict.reason:
        return [Reply(to, answer)]
    sasl.failed += 1
    reason = f"a login failed: {verdict.reason}"
    ended: list[Effect] = [Reply(to, answer), Close(to.connection, reason, after_answers=True)]
    if sasl.delay_ms:
        deadline = Instant(now + sasl.delay_ms)
        parked = Parked(to.connection, (), deadline, lambda now, last: ended if last else None)
        cores.waiting.park(parked)
        return []
    return ended
