"""From an app's settings to how its connections are secured.

Shell: reads certificate files. Knows nothing of what is said over a connection.
"""

from __future__ import annotations

import ssl

from flowstream.processing.environment.settings import Settings, protocol_of
from flowstream.processing.errors import SettingsError
from flowstream.transport.connection import Security


def security_of(settings: Settings, broker: str | None = None) -> Security:
    """How to speak to `broker`, or else the broker of the settings. Raises SettingsError."""
    named = broker or settings.broker or ""
    said, asked = protocol_of(named), settings.security_protocol
    if said and asked and said != asked:
        raise SettingsError(
            f"broker {named!r} says {said} but security_protocol is {asked}: set one of them"
        )
    protocol = said or asked or "PLAINTEXT"
    if named.startswith("embedded://") or not named:
        protocol = "PLAINTEXT"  # a child of a worker on this machine, on loopback
    if not protocol.startswith("SASL"):
        return Security(protocol, _context(settings) if protocol == "SSL" else None)
    if not (settings.sasl_username and settings.sasl_password):
        raise SettingsError(
            f"{protocol} needs a user: set FLOWSTREAM_SASL_USERNAME and FLOWSTREAM_SASL_PASSWORD"
        )
    return Security(
        protocol,
        _context(settings) if protocol == "SASL_SSL" else None,
        settings.sasl_mechanism,
        settings.sasl_username,
        settings.sasl_password,
    )


def _context(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ssl_cafile)
    except (OSError, ValueError) as error:
        raise SettingsError(f"ssl_cafile {settings.ssl_cafile}: {error}") from error
    if settings.ssl_certfile is not None:
        try:
            context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile, password="")
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"ssl_certfile {settings.ssl_certfile}, ssl_keyfile {settings.ssl_keyfile}:"
                f" {error}; PEM files with an unencrypted key are expected"
            ) from error
    elif settings.ssl_keyfile is not None:
        raise SettingsError("ssl_keyfile without ssl_certfile: set both")
    return context
