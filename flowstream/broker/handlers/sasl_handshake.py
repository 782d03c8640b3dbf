"""SaslHandshake (17): a client chooses how to log in.

After 1 the messages come in SaslAuthenticate; after 0 without Kafka's headers (KIP-152), once for
each connection. Where 0 is not told librdkafka 2.0 does not log in at all, and kafka-python 2.0
knows no other. A mechanism that is not offered costs the connection, as in Kafka.
"""

from __future__ import annotations

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Close, Effect, Reply, Unframed
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
    if to.version == 0 and request.session.mechanism:
        return [Reply(to, SaslHandshakeResponse(error_code=ErrorCode.ILLEGAL_SASL_STATE))]
    verdict = sasl.begin(to.connection, request.session, request.body.mechanism)
    offered = sasl.mechanisms(request.session)
    answer = SaslHandshakeResponse(error_code=verdict.error, mechanisms=offered)
    effects: list[Effect] = [Reply(to, answer)]
    if verdict.reason and offered:
        effects.append(Close(to.connection, verdict.reason, after_answers=True))
    elif to.version == 0 and not verdict.reason:
        effects.append(Unframed(to.connection))
    return effects
