"""A login's messages without Kafka's headers, each behind its length alone: what follows upon
SaslHandshake 0 (KIP-152). To the broker they are those of SaslAuthenticate 0.
"""

from __future__ import annotations

import struct
from typing import Any

from flowstream.wire.api import ApiKey, request_class
from flowstream.wire.frame import Request
from flowstream.wire.primitives import Buffer

_LENGTH = struct.Struct(">i")


def decode_token(frame: Buffer, elements: int = 0) -> Request:
    """The step of a login whose message `frame` is, which excludes the length.

    >>> decode_token(b"\\0alice\\0secret").body.auth_bytes
    b'\\x00alice\\x00secret'
    """
    body = request_class(ApiKey.SASL_AUTHENTICATE)(auth_bytes=bytes(frame))
    return Request(int(ApiKey.SASL_AUTHENTICATE), 0, 0, None, body)


def encode_token(key: int, version: int, correlation_id: int, body: Any) -> list[Buffer]:
    """The answer as buffers to send, the length included. A refusal cannot be told: nothing is sent
    before the connection ends, as in Kafka.
    """
    if body.error_code:
        return []
    return [_LENGTH.pack(len(body.auth_bytes)) + bytes(body.auth_bytes)]
