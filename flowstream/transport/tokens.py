"""Where the tokens of OAUTHBEARER logins come from (KIP-255, KIP-768): a file, or an issuer's
endpoint that gives them for a client's id and secret (RFC 6749, 4.4).

Shell: reads files and asks the issuer. What a token says is between the issuer and the broker.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from aiokafka.abc import AbstractTokenProvider

from flowstream.clock import monotonic_ms
from flowstream.transport.errors import NoToken

ANSWER_S = 10.0
MAX_BYTES = 1 << 20
"""Of a token, and of an issuer's answer (X3)."""
FRESH = 0.75
"""A token is used for new logins in this part of its life. Logins end later (`login.RENEWED`), so
that each finds a token that outlives the one before.
"""


class TokenFile(AbstractTokenProvider):
    """A file that somebody else keeps current: it is read for each login."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def token(self) -> str:
        """What the file holds. Raises NoToken."""
        try:
            with self._path.open(encoding="ascii") as file:
                found = file.read(MAX_BYTES).strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise NoToken(f"the token file {self._path} cannot be read: {reason}") from error
        if not found or not found.isprintable() or " " in found:
            raise NoToken(f"the token file {self._path} does not hold a token on one line")
        return found


class Tokens(AbstractTokenProvider):
    """What an object of the user's gives, that has `async def token(self)`."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider

    async def token(self) -> str:
        """A token for a login. Raises NoToken."""
        try:
            found = await self._provider.token()
        except Exception as error:
            raise NoToken(f"{self._provider!r} gives no token: {error!r}") from error
        if not (isinstance(found, str) and found):
            raise NoToken(f"{self._provider!r} gives {type(found).__name__}, and not a token")
        return found


@dataclass(slots=True)
class ClientCredentials:
    """How a client proves to the issuer who it is, and what it asks for."""

    id: str
    secret: str = field(repr=False)
    scope: str | None = None

    def headers(self) -> dict[str, str]:
        """RFC 6749, 2.3.1."""
        pair = f"{quote_plus(self.id)}:{quote_plus(self.secret)}"
        return {
            "Authorization": "Basic " + b64encode(pair.encode()).decode(),
            "Accept": "application/json",
        }

    def form(self) -> dict[str, str]:
        """What is asked for."""
        scope = {} if self.scope is None else {"scope": self.scope}
        return {"grant_type": "client_credentials", **scope}


class TokenEndpoint(AbstractTokenProvider):
    """An issuer's token endpoint; a token serves all logins while it is fresh."""

    def __init__(
        self,
        url: str,
        credentials: ClientCredentials,
        *,
        context: ssl.SSLContext | None,
        through_proxy: bool = True,
    ) -> None:
        self._url = url
        self._credentials = credentials
        self._context = context
        self._through_proxy = through_proxy
        self._lock = asyncio.Lock()
        self._token = ""
        self._fresh_until_ms = 0

    async def token(self) -> str:
        """A token that is fresh. Raises NoToken."""
        async with self._lock:  # many connections open at once, and one token is enough
            if monotonic_ms() >= self._fresh_until_ms:
                asked_ms = monotonic_ms()
                self._token, lifetime_s = read_answer(self._url, *await self._ask())
                self._fresh_until_ms = asked_ms + round(lifetime_s * 1000 * FRESH)
            return self._token

    async def _ask(self) -> tuple[int, bytes]:
        import httpx  # only who logs in by tokens waits for it

        data = b""
        try:
            async with (
                asyncio.timeout(ANSWER_S),
                httpx.AsyncClient(
                    verify=self._context or True, trust_env=self._through_proxy
                ) as client,
                client.stream(
                    "POST",
                    self._url,
                    data=self._credentials.form(),
                    headers=self._credentials.headers(),
                ) as answer,
            ):
                # Redirections are not followed: the secret is for this address.
                async for part in answer.aiter_bytes():
                    data += part
                    if len(data) > MAX_BYTES:
                        raise NoToken(f"{self._url}: more than {MAX_BYTES} bytes are no token")
                return answer.status_code, data
        except TimeoutError as error:
            raise NoToken(f"{self._url}: no answer in {ANSWER_S:g} s") from error
        except (httpx.HTTPError, OSError) as error:
            raise NoToken(f"{self._url}: {str(error) or type(error).__name__}") from error


def read_answer(url: str, status: int, data: bytes) -> tuple[str, float]:
    """The token of an issuer's answer, and for how many seconds it may be used: none when the
    issuer does not say. Raises NoToken.

    >>> read_answer("https://i/", 200, b'{"access_token": "abc", "expires_in": 300}')
    ('abc', 300.0)
    """
    try:
        found: Any = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        found = {}
    if status != 200:
        words = " ".join(
            str(found[key])[:200] for key in ("error", "error_description") if key in found
        )
        raise NoToken(f"{url} refuses a token: HTTP status {status}" + f" ({words})" * bool(words))
    token, lifetime = found.get("access_token"), found.get("expires_in", 0)
    if not (isinstance(token, str) and token.isascii() and token.isprintable() and token.strip()):
        raise NoToken(f"{url} answers without an access_token: is it a token endpoint?")
    try:
        seconds = float(lifetime)
    except (TypeError, ValueError, OverflowError):
        seconds = 0.0
    return token, seconds if 0 < seconds < 1e9 else 0.0
