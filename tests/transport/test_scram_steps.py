"""A password is hashed as often as a broker may ask for, and no more (X3, X7)."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from aiokafka.conn import ScramAuthenticator

from flowstream.transport.errors import LoginRefused
from flowstream.transport.login import ScramSteps, log_in
from flowstream.wire.api import ApiKey
from flowstream.wire.messages.sasl_authenticate import SaslAuthenticateResponse
from flowstream.wire.messages.sasl_handshake import SaslHandshakeResponse


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("iterations", ["1", "4095", "1000001", "9" * 12, "-1", "many"])
async def test_X3_a_false_broker_cannot_choose_how_often_a_password_is_hashed(
    mechanism: str, iterations: str
) -> None:
    hashed = []

    class Authenticator(ScramAuthenticator):
        def create_salted_password(self, salt: bytes, iterations: int) -> None:
            hashed.append(iterations)
            super().create_salted_password(salt, iterations)

    def steps() -> ScramSteps:
        return ScramSteps(
            Authenticator(
                loop=asyncio.get_running_loop(),
                sasl_plain_password="secret",
                sasl_plain_username="shop",
                sasl_mechanism=mechanism,
            )
        )

    async def answer_with(iterations: str) -> None:
        async def ask(key: ApiKey, low: int, high: int, body: Any) -> Any:
            if key is ApiKey.SASL_HANDSHAKE:
                return SaslHandshakeResponse()
            nonce = body.auth_bytes.decode().partition("r=")[2]
            first = f"r={nonce}x,s=c2FsdA==,i={iterations}".encode()
            return SaslAuthenticateResponse(auth_bytes=first)

        await log_in(ask, mechanism, steps())

    with pytest.raises(LoginRefused, match=r"part of SCRAM-SHA-\d+ is wrong: .*(iter|int)"):
        await answer_with(iterations)
    assert not hashed
    with pytest.raises(LoginRefused):  # it cannot prove that it knows the password
        await answer_with("4096")
    assert hashed == [4096]


async def test_X4_the_loop_goes_on_while_a_password_is_hashed() -> None:
    """A million iterations take half a second; the worker's other connections go on meanwhile."""
    loop, seen = asyncio.get_running_loop(), threading.Event()

    class Authenticator(ScramAuthenticator):
        def create_salted_password(self, salt: bytes, iterations: int) -> None:
            loop.call_soon_threadsafe(seen.set)
            assert seen.wait(10), "the loop waits for the hash"
            super().create_salted_password(salt, iterations)

    steps = ScramSteps(
        Authenticator(
            loop=loop,
            sasl_plain_password="secret",
            sasl_plain_username="shop",
            sasl_mechanism="SCRAM-SHA-512",
        )
    )
    first = await steps.step(None)
    assert first is not None
    nonce = first[0].decode().partition("r=")[2]
    proof = await steps.step(f"r={nonce}x,s=c2FsdA==,i=4096".encode())
    assert proof is not None
    assert b",p=" in proof[0]


async def test_X4_a_login_that_is_refused_by_a_code_that_nobody_knows_is_refused() -> None:
    class Told:
        async def step(self, data: bytes | None) -> tuple[bytes, bool]:
            return b"", True

    async def ask(key: ApiKey, lowest: int, highest: int, request: object) -> Any:
        if key is ApiKey.SASL_HANDSHAKE:
            return SaslHandshakeResponse(error_code=0, mechanisms=("PLAIN",))
        return SaslAuthenticateResponse(error_code=999, error_message=None, auth_bytes=b"")

    with pytest.raises(LoginRefused, match="error 999"):
        await log_in(ask, "PLAIN", Told())
