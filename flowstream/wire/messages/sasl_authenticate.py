"""SaslAuthenticate (36): one step of a SASL exchange (KIP-152).

1 returns the session's lifetime (KIP-368); 2 is flexible.
"""

from __future__ import annotations

from flowstream.wire.fields import BYTES, INT16, INT64, STRING, field, message


@message(versions="0-2", flexible="2+")
class SaslAuthenticateRequest:
    """The client's bytes."""

    auth_bytes: bytes = field(BYTES, "0+", secret=True)


@message(versions="0-2", flexible="2+")
class SaslAuthenticateResponse:
    """The broker's bytes."""

    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "0+", nullable="0+")
    auth_bytes: bytes = field(BYTES, "0+", secret=True)
    session_lifetime_ms: int = field(INT64, "1+", ignorable=True)
