"""What one connection may hold, and what is parsed of one before its client has logged in. Declared
data.
"""

from __future__ import annotations

from flowstream.wire.api import ApiKey

REST_BYTES = 4 * 1024
"""Receive buffer of a connection at rest: there may be thousands."""

BUSY_BYTES = 64 * 1024
"""Receive buffer of one that has more to say; beyond that it grows with the bytes that really
arrive, up to one largest frame.
"""

PIPELINED = 256
"""Produce requests of one connection that may wait for their answers."""

UNSENT_BYTES = 1024 * 1024
"""Answers that may wait for a slow reader before its next request is looked at."""

JOIN_BYTES = 128 * 1024
"""Answers up to this size are joined into one send; larger ones leave from where they are."""

IOV_MAX = 512

LOGIN_FRAME_BYTES = 64 * 1024
"""Largest request of a client that has not logged in."""

BEFORE_LOGIN = (
    int(ApiKey.SASL_HANDSHAKE),
    int(ApiKey.API_VERSIONS),
    int(ApiKey.SASL_AUTHENTICATE),
)
"""All that is parsed of such a client (X1)."""
