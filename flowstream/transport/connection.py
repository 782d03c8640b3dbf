"""Our wire messages over aiokafka's connections.

aiokafka wants a request that builds its own struct; this one hands it finished bytes. Knows
aiokafka's client, whose version is pinned for that reason, and no meaning of any message.
"""

from __future__ import annotations

import ssl
import struct
from collections.abc import Awaitable, Hashable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from aiokafka.abc import AbstractTokenProvider
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaError

from flowstream.errors import WireError
from flowstream.transport.errors import ConnectionLost, UnsupportedByBroker
from flowstream.wire.api import API, ApiKey
from flowstream.wire.frame import decode_response, encode_request

_LENGTH = 4
_CORRELATION = struct.Struct(">i")


@dataclass(frozen=True, slots=True)
class Security:
    """How to speak to the brokers; the default is plain TCP."""

    protocol: str = "PLAINTEXT"
    ssl_context: ssl.SSLContext | None = None
    sasl_mechanism: str = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    tokens: AbstractTokenProvider | None = field(default=None, repr=False)
    """Of OAUTHBEARER."""

    def arguments(self) -> dict[str, Any]:
        """The same as aiokafka's keyword arguments."""
        return {
            "security_protocol": self.protocol,
            "ssl_context": self.ssl_context,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_username,
            "sasl_plain_password": self.sasl_password,
            "sasl_oauth_token_provider": self.tokens,
        }


class _Encoded:
    """Bytes that say `encode()`, as aiokafka asks of headers and bodies."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def encode(self) -> bytes:
        return self._data


class _Correlated:
    __slots__ = ("correlation_id",)

    def __init__(self, correlation_id: int) -> None:
        self.correlation_id = correlation_id


class _Frame:
    """Stands for a response class: `decode` returns the frame as it came."""

    @staticmethod
    def decode(frame: BytesIO) -> bytes:
        return frame.getvalue()


class _Call:
    """One request in the shape that AIOKafkaConnection.send expects."""

    RESPONSE_TYPE = _Frame

    def __init__(self, key: ApiKey, version: int, message: object) -> None:
        self._key = key
        self._version = version
        self._message = message

    def prepare(self, versions: object) -> _Call:
        return self

    def build_request_header(self, correlation_id: int, client_id: str) -> _Encoded:
        parts = encode_request(self._key, self._version, correlation_id, client_id, self._message)
        # aiokafka writes the length itself.
        return _Encoded(b"".join(parts)[_LENGTH:] if len(parts) == 1 else _joined(parts))

    def encode(self) -> bytes:
        return b""

    def parse_response_header(self, frame: BytesIO) -> _Correlated:
        view = frame.getbuffer()
        try:
            return _Correlated(_CORRELATION.unpack_from(view)[0])
        finally:
            view.release()

    def __repr__(self) -> str:
        return f"{self._key.name} v{self._version}"


def _joined(parts: list[Any]) -> bytes:
    first = memoryview(parts[0])[_LENGTH:]
    return b"".join((first, *parts[1:]))


def pick_version(
    connection: AIOKafkaConnection, key: ApiKey, min_version: int, max_version: int
) -> int:
    """The highest version that both sides serve."""
    served = connection._versions.get(int(key))
    if served is None:
        raise UnsupportedByBroker(f"the broker does not serve {API[key].name}")
    low: int = max(min_version, served[0], API[key].min_version)
    high: int = min(max_version, served[1], API[key].max_version)
    if low > high:
        raise UnsupportedByBroker(
            f"{API[key].name}: the broker serves versions {served[0]} to {served[1]}, needed are "
            f"{min_version} to {max_version}"
        )
    return high


async def open_connection(client: AIOKafkaClient, node: int, lane: Hashable) -> AIOKafkaConnection:
    """The connection of `lane` to `node`; ConnectionLost when there is none to be had."""
    connection: AIOKafkaConnection | None = await client._get_conn(node, group=lane)
    if connection is None:
        raise ConnectionLost(f"node {node} cannot be reached")
    return connection


async def call(
    connection: AIOKafkaConnection, key: ApiKey, version: int, message: object, timeout_s: float
) -> Any:
    """Send one request and return the body of its answer. After a timeout the connection is
    closed, so that a late answer cannot be taken for another's.
    """
    try:
        frame = await _sent(connection, _Call(key, version, message), timeout_s)
    except TimeoutError as error:
        connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
        raise ConnectionLost(f"{API[key].name}: no answer in {timeout_s:g} s") from error
    except (KafkaError, OSError) as error:
        raise ConnectionLost(f"{API[key].name}: {error}") from error
    try:
        return decode_response(key, version, frame)[1]
    except WireError:
        connection.close(reason=CloseReason.OUT_OF_SYNC)
        raise


def _sent(connection: AIOKafkaConnection, request: _Call, timeout_s: float) -> Awaitable[bytes]:
    """Send; what is returned waits for the answer so long, in place of aiokafka's own time: one
    timer per request, not two.
    """
    usual = connection._request_timeout
    connection._request_timeout = timeout_s
    try:
        answer: Awaitable[bytes] = connection.send(request)
    finally:
        connection._request_timeout = usual
    return answer


def close_lane(client: AIOKafkaClient, lane: Hashable) -> None:
    """Close the connections of `lane`."""
    for name in [name for name in client._conns if name[1] == lane]:
        client._conns.pop(name).close(reason=CloseReason.SHUTDOWN)
