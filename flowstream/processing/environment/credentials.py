"""How an app logs in, as an object: Faust's names for what the settings `sasl_*` and `ssl_*` say.

Each says what it is as settings; `securing` makes a connection's security of those.
"""

from __future__ import annotations

import ssl
from typing import Any

from flowstream.processing.environment.setting_values import OAUTHBEARER
from flowstream.processing.errors import SettingsError


class SASLCredentials:
    """A user and a password, by `PLAIN` unless another mechanism is named; encrypted with an
    `ssl_context`.
    """

    def __init__(
        self,
        *,
        username: str | None = None,
        password: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        mechanism: str | None = None,
    ) -> None:
        self.username = username
        self.password = password
        self.ssl_context = ssl_context
        self.mechanism = str(getattr(mechanism, "value", mechanism) or "PLAIN")
        self.protocol = "SASL_PLAINTEXT" if ssl_context is None else "SASL_SSL"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: username={self.username}>"

    def settings(self) -> dict[str, Any]:
        """The same as settings."""
        return {
            "security_protocol": self.protocol,
            "sasl_mechanism": self.mechanism,
            "sasl_username": self.username,
            "sasl_password": self.password,
            "ssl_context": self.ssl_context,
        }


class OAuthCredentials:
    """Tokens of an object with `async def token(self)`; encrypted with an `ssl_context`."""

    def __init__(self, *, oauth_cb: Any, ssl_context: ssl.SSLContext | None = None) -> None:
        self.oauth_cb = oauth_cb
        self.ssl_context = ssl_context
        self.mechanism = OAUTHBEARER
        self.protocol = "SASL_PLAINTEXT" if ssl_context is None else "SASL_SSL"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.protocol}>"

    def settings(self) -> dict[str, Any]:
        """The same as settings."""
        return {
            "security_protocol": self.protocol,
            "sasl_mechanism": OAUTHBEARER,
            "sasl_oauthbearer_token_provider": self.oauth_cb,
            "ssl_context": self.ssl_context,
        }


class SSLCredentials:
    """An encrypted connection: by a context, or by one that is made of authorities to trust."""

    def __init__(
        self,
        context: ssl.SSLContext | None = None,
        *,
        purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH,
        cafile: str | None = None,
        capath: str | None = None,
        cadata: str | bytes | None = None,
    ) -> None:
        if context is not None and (cafile, capath, cadata) != (None, None, None):
            raise SettingsError(
                "SSLCredentials(context) has its authorities: leave cafile, capath and cadata out"
            )
        if context is None:
            try:
                context = ssl.create_default_context(
                    purpose, cafile=cafile, capath=capath, cadata=cadata
                )
            except (OSError, ValueError) as error:
                raise SettingsError(
                    f"SSLCredentials: {error} (cafile={cafile!r}, capath={capath!r})"
                ) from error
        self.context = context
        self.protocol = "SSL"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: context={self.context}>"

    def settings(self) -> dict[str, Any]:
        """The same as settings."""
        return {"security_protocol": self.protocol, "ssl_context": self.context}


Credentials = SASLCredentials | OAuthCredentials | SSLCredentials


def settings_of(credentials: Credentials | ssl.SSLContext) -> dict[str, Any]:
    """What credentials say, as settings; SettingsError when they are none."""
    if isinstance(credentials, ssl.SSLContext):
        credentials = SSLCredentials(credentials)
    if not isinstance(credentials, Credentials):
        raise SettingsError(
            f"broker_credentials is what fs.SASLCredentials, fs.SSLCredentials or"
            f" fs.OAuthCredentials give, or an ssl.SSLContext, not {credentials!r}"
        )
    return credentials.settings()
