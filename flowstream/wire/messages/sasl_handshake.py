"""SaslHandshake (17): choose a SASL mechanism.

1 sends the SASL messages inside SaslAuthenticate (KIP-152).
"""

from __future__ import annotations

from flowstream.wire.fields import INT16, STRING, array, field, message


@message(versions="0-1", flexible="none")
class SaslHandshakeRequest:
    """The mechanism the client wants."""

    mechanism: str = field(STRING, "0+")


@message(versions="0-1", flexible="none")
class SaslHandshakeResponse:
    """The mechanisms the broker has."""

    error_code: int = field(INT16, "0+")
    mechanisms: tuple[str, ...] = field(array(STRING), "0+")
