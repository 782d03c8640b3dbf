"""SaslHandshake (17): a client chooses how to log in.

Only 1 is served: after 0 the messages would come without Kafka's frame (KIP-152), and every client
of the last years sends them in SaslAuthenticate. A mechanism that is not offered costs the
connection, as in Kafka.
"""

from __future__ import annotations

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Close, Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.sasl_handshake import SaslHandshakeRequest, SaslHandshakeResponse


def handle(request: Request[SaslHandshakeRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer with the mechanisms that this listener offers."""
    to, sasl = request.to, cores.sasl
    if sasl is None:
        refusal = SaslHandshakeResponse(error_code=ErrorCode.ILLEGAL_SASL_STATE)
        return [Reply(to, refusal)]
    verdict = sasl.begin(to.connection, request.session, request.body.mechanism)
    offered = sasl.mechanisms(request.session)
    answer = SaslHandshakeResponse(error_code=verdict.error, mechanisms=offered)
    effects: list[Effect] = [Reply(to, answer)]
    if verdict.reason and offered:
        effects.append(Close(to.connection, verdict.reason, after_answers=True))
    return effects
