"""Where the keys that sign tokens come from: a file, or an issuer's URL (JWKS, KIP-768).

Keys that cannot be had leave the old ones in force; where there are none no token holds (X7).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import ssl
import threading
import urllib.request
from collections.abc import Callable
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit

from flowstream.broker.config import BrokerConfig, ConfigError
from flowstream.broker.security.tokens import KeyRing, Keys
from flowstream.broker.server.securing import is_loopback

log = logging.getLogger("flowstream.broker")

SETTING = "sasl.oauthbearer.jwks.endpoint.url"
LOOK_SECONDS = 5.0
EXPEDITED_SECONDS = 10.0
"""At most this often a token with an unknown key has the keys fetched before their time: anybody
may send such tokens.
"""
ANSWER_SECONDS = 10.0
MAX_BYTES = 1 << 20
"""Of a key set (X3)."""

NO_LIBRARY = "OAUTHBEARER needs PyJWT: pip install 'PyJWT[crypto]'"


class KeySource(Protocol):
    """Puts keys into a ring while a broker runs."""

    async def begin(self) -> None:
        """Return when clients may come: the keys are there, or it has been tried."""
        ...

    def refresh(self) -> None:
        """Get the keys now."""
        ...

    def close(self) -> None:
        """Look no more."""
        ...


def key_source(config: BrokerConfig, ring: KeyRing) -> KeyFile | KeyUrl:
    """What `sasl.oauthbearer.jwks.endpoint.url` names. Raises ConfigError."""
    url = config.sasl_oauthbearer_jwks_endpoint_url
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return KeyFile(Path(unquote(parts.path)), ring)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        pace = Pace(
            config.sasl_oauthbearer_jwks_endpoint_refresh_ms / 1000,
            config.sasl_oauthbearer_jwks_endpoint_retry_backoff_ms / 1000,
            config.sasl_oauthbearer_jwks_endpoint_retry_backoff_max_ms / 1000,
        )
        return KeyUrl(url, ring, pace)
    raise ConfigError(
        f"{SETTING} {url!r}: OAUTHBEARER needs the issuer's keys as https://issuer/jwks.json or"
        " file:///path/to/jwks.json (http:// is for loopback alone: whoever can change the keys"
        " lets in whom he likes)"
    )


class KeyFile:
    """A JWKS file, read again when it changes."""

    def __init__(self, path: Path, ring: KeyRing) -> None:
        """Raises ConfigError."""
        self._path = path
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self._stamp: tuple[int, int] | None = None
        try:
            self._read()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{SETTING}: {path}: {error}") from error
        except ImportError as error:
            raise ConfigError(NO_LIBRARY) from error

    async def begin(self) -> None:
        """Look at the file at intervals."""
        self._watch()

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def refresh(self) -> None:
        """Read the file if it has changed."""
        try:
            if self._stamped() != self._stamp:
                self._read()
        except (OSError, ValueError, RecursionError) as error:
            log.error("the old keys of tokens stay in force: %s: %s", self._path, error)

    def _watch(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self.refresh()
        self._watch()

    def _read(self) -> None:
        self._stamp = self._stamped()
        self._ring.keys = Keys(json.loads(self._path.read_bytes()))

    def _stamped(self) -> tuple[int, int]:
        found = os.stat(self._path)
        return found.st_mtime_ns, found.st_size


class Pace(NamedTuple):
    """How often keys are fetched, in seconds: as a rule, and after a failure, twice as long after
    each more up to the most.
    """

    refresh: float
    backoff: float
    backoff_max: float

    def after(self, failures: int) -> float:
        """The time to the next fetch after so many failures in a row."""
        if not failures:
            return self.refresh
        return min(self.backoff * 2.0 ** min(failures - 1, 30), self.backoff_max)


class KeyUrl:
    """An issuer's key set, fetched in a thread of its own: at the start, now and then, and when a
    token is signed with a key that is not known (a new one may be in use).
    """

    def __init__(
        self, url: str, ring: KeyRing, pace: Pace, fetch: Callable[[str], bytes] | None = None
    ) -> None:
        """Raises ConfigError."""
        try:
            import jwt  # noqa: F401 - whether it is there
        except ImportError as error:
            raise ConfigError(NO_LIBRARY) from error
        self._url = url
        self._ring = ring
        self._pace = pace
        self._fetch = fetch or fetched
        self._loop = asyncio.get_running_loop()
        self._tried = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._busy = False
        self._closed = False
        self._failures = 0
        self._begun_at = 0.0
        ring.missed = self.missed

    async def begin(self) -> None:
        """Fetch, and return when it is done or has failed."""
        self._begin()
        await self._tried.wait()

    def close(self) -> None:
        """Fetch no more; what is on its way is dropped."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def refresh(self) -> None:
        """Fetch now."""
        self._begin()

    def missed(self) -> None:
        """A token is signed with a key that is not known."""
        if self._loop.time() - self._begun_at >= EXPEDITED_SECONDS:
            self._begin()

    def _begin(self) -> None:
        if self._busy or self._closed:
            return
        self._busy = True
        self._begun_at = self._loop.time()
        if self._timer is not None:
            self._timer.cancel()
        # A daemon: an issuer that does not answer must not hold up the broker's end.
        threading.Thread(target=self._run, name="flowstream-jwks", daemon=True).start()

    def _run(self) -> None:
        found: Keys | Exception
        try:
            found = Keys(json.loads(self._fetch(self._url)))
        except Exception as error:  # noqa: BLE001 - a foreign answer; whoever waits must hear of it
            found = error
        try:
            self._loop.call_soon_threadsafe(self._ended, found)
        except RuntimeError:
            return  # the loop is closed

    def _ended(self, found: Keys | Exception) -> None:
        self._busy = False
        self._tried.set()
        if self._closed:
            return
        if isinstance(found, Keys):
            self._ring.keys = found
            self._failures = 0
        else:
            self._failures += 1
            held = "no token holds" if self._ring.keys is None else "the old keys stay in force"
            log.error("%s: %s: %s: %s", SETTING, self._url, found, held)
        self._timer = self._loop.call_later(self._pace.after(self._failures), self._begin)


class _SameDoor(urllib.request.HTTPRedirectHandler):
    """Follows an issuer to https only: a plain answer could be anybody's."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme != "https":
            fp.close()
            raise ValueError(f"a redirection to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetched(url: str) -> bytes:
    """What an http or https URL holds. Raises OSError, ValueError or HTTPException."""
    secure: Any = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    opener = urllib.request.build_opener(_SameDoor, secure)
    try:
        with opener.open(url, timeout=ANSWER_SECONDS) as answer:
            data: bytes = answer.read(MAX_BYTES + 1)
    except HTTPError as error:
        error.close()  # it is an answer, too
        raise
    if len(data) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes are no key set")
    return data
