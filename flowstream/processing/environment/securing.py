"""From an app's settings to how its connections are secured.

Shell: reads certificate files. Knows nothing of what is said over a connection.
"""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from flowstream.processing.environment.settings import OAUTHBEARER, Settings, protocol_of
from flowstream.processing.errors import SettingsError
from flowstream.transport.connection import Security
from flowstream.transport.tokens import ClientCredentials, TokenEndpoint, TokenFile, Tokens

ENDPOINT = "sasl_oauthbearer_token_endpoint_url"


def security_of(settings: Settings, broker: str | None = None) -> Security:
    """How to speak to `broker`, or else the broker of the settings. Raises SettingsError."""
    named = broker or settings.broker or ""
    said, asked = protocol_of(named), settings.security_protocol
    if said and asked and said != asked:
        raise SettingsError(
            f"broker {named!r} says {said} but security_protocol is {asked}: set one of them"
        )
    given = settings.ssl_context is not None
    protocol = said or asked or ("SSL" if given else "PLAINTEXT")
    if named.startswith("embedded://") or not named:
        protocol = "PLAINTEXT"  # a child of a worker on this machine, on loopback
    elif given and not protocol.endswith("SSL"):
        raise SettingsError(
            f"broker {named!r} is spoken to by {protocol}, but an ssl_context is given: leave it"
            " out, or set security_protocol to SSL or SASL_SSL"
        )
    if not protocol.startswith("SASL"):
        return Security(protocol, _context(settings) if protocol == "SSL" else None)
    context = _context(settings) if protocol == "SASL_SSL" else None
    if settings.sasl_mechanism == OAUTHBEARER:
        return Security(protocol, context, OAUTHBEARER, tokens=_tokens(settings))
    if not (settings.sasl_username and settings.sasl_password):
        raise SettingsError(
            f"{protocol} needs a user: set FLOWSTREAM_SASL_USERNAME and FLOWSTREAM_SASL_PASSWORD"
        )
    return Security(
        protocol,
        context,
        settings.sasl_mechanism,
        settings.sasl_username,
        settings.sasl_password,
    )


def _tokens(settings: Settings) -> Any:
    provider = settings.sasl_oauthbearer_token_provider
    if provider is not None:
        if settings.sasl_oauthbearer_token_endpoint_url is not None:
            raise SettingsError(f"tokens come from a provider or from {ENDPOINT}: leave one out")
        return Tokens(provider)
    url = settings.sasl_oauthbearer_token_endpoint_url or ""
    parts = urlsplit(url)
    client = settings.sasl_oauthbearer_client_id, settings.sasl_oauthbearer_client_secret
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        if any(client) or settings.sasl_oauthbearer_scope:
            raise SettingsError(
                f"{ENDPOINT} is a file: sasl_oauthbearer_client_id, client_secret and scope are for"
                " an issuer's https:// URL; leave them out"
            )
        return TokenFile(Path(unquote(parts.path)))
    nearby = _is_loopback(parts.hostname or "")
    if parts.scheme != "https" and not (parts.scheme == "http" and nearby):
        raise SettingsError(
            f"OAUTHBEARER needs a token: set {ENDPOINT} to the issuer's https:// URL or to"
            f" file:///path/to/token, not {url!r} (http:// is for loopback alone: whoever listens"
            " would learn the secret)"
        )
    if not (client[0] and client[1]):
        raise SettingsError(
            f"{ENDPOINT} gives tokens to clients it knows: set"
            " FLOWSTREAM_SASL_OAUTHBEARER_CLIENT_ID and FLOWSTREAM_SASL_OAUTHBEARER_CLIENT_SECRET"
        )
    credentials = ClientCredentials(client[0], client[1], settings.sasl_oauthbearer_scope)
    context = None
    if parts.scheme == "https":
        context = _context_of_issuer(settings)
    return TokenEndpoint(url, credentials, context=context, through_proxy=not nearby)


def _context_of_issuer(settings: Settings) -> ssl.SSLContext:
    """The issuer may be everybody's or one's own: the system's authorities and `ssl_cafile`."""
    context = ssl.create_default_context()
    if settings.ssl_cafile is not None:
        try:
            context.load_verify_locations(settings.ssl_cafile)
        except (OSError, ValueError) as error:
            raise SettingsError(f"ssl_cafile {settings.ssl_cafile}: {error}") from error
    return context


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _context(settings: Settings) -> ssl.SSLContext:
    if settings.ssl_context is not None:
        if settings.ssl_cafile or settings.ssl_certfile or settings.ssl_keyfile:
            raise SettingsError(
                "an ssl_context has its certificates: leave ssl_cafile, ssl_certfile and"
                " ssl_keyfile out"
            )
        return settings.ssl_context
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
