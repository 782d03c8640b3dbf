"""Headers of requests and responses.

The client id keeps its 16-bit length in flexible versions: a broker must be able to read
the header of an ApiVersions request that is newer than itself (KIP-482).
"""

from __future__ import annotations

from flowstream.wire.fields import CLASSIC_STRING, INT16, INT32, field, message


@message(versions="1-2", flexible="2+")
class RequestHeader:
    """What precedes the body of every request; version 2 before flexible bodies."""

    request_api_key: int = field(INT16, "0+")
    request_api_version: int = field(INT16, "0+")
    correlation_id: int = field(INT32, "0+")
    client_id: str | None = field(CLASSIC_STRING, "1+", nullable="1+")


@message(versions="0-1", flexible="1+")
class ResponseHeader:
    """What precedes the body of every response; version 1 before flexible bodies, except of
    ApiVersions.
    """

    correlation_id: int = field(INT32, "0+")
