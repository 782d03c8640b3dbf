"""A client's login on a fresh connection (KIP-43, KIP-152): the steps are aiokafka's for passwords
and ours for tokens, the messages are ours.

aiokafka takes a refused token for a login, hashes a password as often as the broker says, and does
not look how long a login holds (KIP-368).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import AIOKafkaConnection

from flowstream.transport.errors import LoginRefused, error_name
from flowstream.wire.api import ApiKey
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.sasl_authenticate import SaslAuthenticateRequest
from flowstream.wire.messages.sasl_handshake import SaslHandshakeRequest

OAUTHBEARER = "OAUTHBEARER"
RENEWED = 0.8
"""A login is made anew when this part of its time is over."""
SHORTEST_MS = 1_000
"""A login is not made anew sooner than this: a token that is about to end is not worth a storm."""
MIN_ITERATIONS = 4_096
"""Of SCRAM (RFC 7677, and Kafka's own least): fewer make the password easy to guess for whoever
asked for them."""
MAX_ITERATIONS = 1_000_000
"""Kafka makes credentials with 16,384 at most; a million take a thread of its own some half a
second."""

Ask = Callable[[ApiKey, int, int, object], Awaitable[Any]]
"""Send a request in the highest version between two, on the connection that logs in."""


class Steps(Protocol):
    """One login: the broker's words in, ours out."""

    async def step(self, data: bytes | None) -> tuple[bytes, bool] | None:
        """What to send next, None at the end."""
        ...


class TokenSteps:
    """The two steps of OAUTHBEARER (RFC 7628): the token, and whether it was taken."""

    def __init__(self, source: AbstractTokenProvider) -> None:
        self._source = source
        self._is_refused = False

    async def step(self, data: bytes | None) -> tuple[bytes, bool] | None:
        """A broker that refuses says why first, and ends the login when it has been heard."""
        if data is None:
            token = await self._source.token()
            return b"n,,\x01auth=Bearer %b\x01\x01" % token.encode("ascii"), True
        if data and not self._is_refused:
            self._is_refused = True
            return b"\x01", True
        return None


class ScramSteps:
    """The steps of SCRAM (RFC 5802), which end where the broker wants the password hashed too often
    or hardly at all: who is no broker at all may ask for either.
    """

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    async def step(self, data: bytes | None) -> tuple[bytes, bool] | None:
        """As aiokafka's; raises ValueError for a number of iterations that no broker has."""
        for part in (data or b"").split(b","):
            if part.startswith(b"i=") and not MIN_ITERATIONS <= int(part[2:]) <= MAX_ITERATIONS:
                raise ValueError(
                    f"it asks for {int(part[2:])} iterations, taken are {MIN_ITERATIONS} to"
                    f" {MAX_ITERATIONS}. Is this the right address? If so, give the user new"
                    " credentials (flowstream users)"
                )
        return await self._steps.step(data)


async def log_in(ask: Ask, mechanism: str, steps: Steps) -> int:
    """For how many milliseconds the login holds; 0: for as long as the connection. Raises
    LoginRefused, NoToken.
    """
    shaken = await ask(ApiKey.SASL_HANDSHAKE, 1, 1, SaslHandshakeRequest(mechanism=mechanism))
    if shaken.error_code != ErrorCode.NONE:
        known = ", ".join(shaken.mechanisms) or "no mechanism"
        raise LoginRefused(f"the broker takes {known}, not {mechanism}")
    lifetime_ms, data = 0, None  # type: int, bytes | None
    while True:
        try:
            said = await steps.step(data)
        except (ValueError, KeyError, AssertionError) as error:
            raise LoginRefused(f"the broker's part of {mechanism} is wrong: {error}") from error
        if said is None:
            return lifetime_ms
        answer = await ask(
            ApiKey.SASL_AUTHENTICATE, 0, 2, SaslAuthenticateRequest(auth_bytes=said[0])
        )
        if answer.error_code != ErrorCode.NONE:
            raise LoginRefused(answer.error_message or error_name(answer.error_code))
        lifetime_ms, data = answer.session_lifetime_ms, answer.auth_bytes


def steps_of(connection: AIOKafkaConnection, mechanism: str, tokens: Any) -> Steps:
    """A login by `mechanism`, with the user and password that the connection was given."""
    if mechanism == OAUTHBEARER:
        return TokenSteps(tokens)
    if mechanism == "PLAIN":
        plain: Steps = connection.authenticator_plain()
        return plain
    return ScramSteps(connection.authenticator_scram())


def renew_after(lifetime_ms: int) -> int:
    """So many milliseconds after a login the next one should be made.

    >>> renew_after(60_000), renew_after(300)
    (48000, 1000)
    """
    return max(round(lifetime_ms * RENEWED), SHORTEST_MS)
