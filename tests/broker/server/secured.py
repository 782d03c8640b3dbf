"""A secured broker inside a test: a listener of each protocol on loopback, real files."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from flowstream.broker.config import BrokerConfig
from flowstream.broker.server.bootstrap import Server, start
from flowstream.wire.messages.sasl_authenticate import (
    SaslAuthenticateRequest,
    SaslAuthenticateResponse,
)
from flowstream.wire.messages.sasl_handshake import SaslHandshakeRequest
from tests.broker.server.serving import RawClient

NAMES = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
USERS = {"admin": "admin-secret", "alice": "alice-secret"}


@dataclass
class Secured:
    """A running server and the files of its TLS."""

    server: Server
    directory: Path
    authority: trustme.CA

    @property
    def keystore(self) -> Path:
        return self.directory / "broker.pem"

    def issue(self) -> None:
        """Give the broker a new certificate."""
        write_keystore(self.authority, self.keystore)

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.authority.configure_trust(context)
        return context

    async def client(self, listener: str = "SASL_PLAINTEXT") -> RawClient:
        context = self.context() if "SSL" in listener else None
        port = self.server.ports[listener]
        reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
        return RawClient(reader, writer)

    async def logged_in(self, user: str = "admin", listener: str = "SASL_PLAINTEXT") -> RawClient:
        client = await self.client(listener)
        assert (await log_in(client, user, USERS[user])).error_code == 0
        return client


async def log_in(client: RawClient, user: str, password: str) -> SaslAuthenticateResponse:
    """PLAIN, which takes one message."""
    shaken = await client.ask(17, 1, SaslHandshakeRequest(mechanism="PLAIN"))
    assert shaken.error_code == 0
    request = SaslAuthenticateRequest(auth_bytes=f"\0{user}\0{password}".encode())
    answer: SaslAuthenticateResponse = await client.ask(36, 1, request)
    return answer


def write_keystore(authority: trustme.CA, path: Path) -> None:
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    fresh = path.with_suffix(".new")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(fresh))
    fresh.replace(path)


@asynccontextmanager
async def secured(directory: Path, **settings: str) -> AsyncIterator[Secured]:
    """Serve for the length of a block."""
    authority = trustme.CA()
    write_keystore(authority, directory / "broker.pem")
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    texts = {
        "listeners": ",".join(f"{name}://localhost:0" for name in NAMES),
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
        "ssl.keystore.location": str(directory / "broker.pem"),
        "ssl.truststore.location": str(directory / "ca.pem"),
        "super.users": "User:admin",
        "connection.failed.authentication.delay.ms": "0",
        **{name.replace("_", "."): value for name, value in settings.items()},
    }
    config = BrokerConfig.of(texts)
    server = await start(
        directory / "data", "", 0, config, fsync=False, insecure_open=False, users=USERS
    )
    try:
        yield Secured(server, directory, authority)
    finally:
        await server.stop()
